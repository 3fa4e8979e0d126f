"""Networks are made smaller by what the validation error says, in training and afterwards."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import kan_exp
from kan_exp.config import RunContext
from kan_exp.data import Split
from kan_exp.errors import KanExpError
from kan_exp.layers import KANInterpoLayer, KANLinearLayer
from kan_exp.preparing.checks import check
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.translation import run_config
from kan_exp.prune import read_arguments
from kan_exp.tasks.losses import Squared
from kan_exp.training.pruning import pruning_lines
from kan_exp.training.smooth_pruning import SmoothSearch
from kan_exp.training.sparse_fit import Clock, Recipe, SparseFit
from kan_exp.training.sparse_search import SparseSearch
from tests.conftest import read_metrics

SMALL = ["layer=spline", "layer.num_intervals=8", "refine.grids=[4,8]", "refine.steps=[10]"]
SMALL += ["refine.num_candidates=[4,2]", "logger=none", "~callbacks.figures", "data.num_test=100"]
TARGET = ["target=formula", "target.formula='exp(sin(2*x)+y)'", "target.inputs=[x,idle,y]"]
NETWORK = ["dims=[auto,2,auto]", "points=150", "data.num_val=100"]


def config(*overrides, folder="run"):
    made = run_config([*SMALL, *overrides], folder)
    check(made, RunContext())
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained network and its folder, and the result of pruning it in the training."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    asked = config(*TARGET, *NETWORK, "prune=auto", folder=str(folder))
    return folder, make_experiment(asked, folder).run()


def test_an_input_without_effect_and_its_edges_are_removed(run):
    folder, result = run
    found = result.metrics["pruning"]
    before, after = found["error"]
    assert after <= 1.02 * before
    assert found["stopped"] == "done"
    assert found["without_effect"] == ["idle"]
    assert found["edges"] == [8, 3]
    loaded = kan_exp.load(folder)
    assert [layer.mask.int().tolist() for layer in loaded.network] == [[[1], [0], [1]], [[1]]]
    x = result.data.test.x
    assert torch.equal(loaded(x), result.predictions)
    moved = x + torch.tensor([0.0, 0.3, 0.0])
    assert torch.equal(loaded(moved), loaded(x))
    assert result.metrics["parameters"] == sum(layer.num_parameters for layer in loaded.network)
    assert result.metrics["choices"]["dims"] == [3, 2, 1]  # as it was asked for
    assert read_metrics(folder)["pruning"]["edges"] == [8, 3]


def test_edges_are_lines_where_noise_hides_their_bends():
    options = ["target=formula", "target.formula='sin(3*x)-y'", "target.noise=0.1", "dims=[2,1]"]
    result = make_experiment(config(*options, "points=150", "prune=auto")).fit()
    (layer,) = result.model.network
    assert layer.straight.int().tolist() == [[0], [1]]
    found = result.metrics["pruning"]
    assert [row["form"] for row in found["after"]] == ["curve", "line"]
    assert found["error"][1] <= 1.02**2 * found["error"][0]


def test_edges_are_written_before_and_after(run):
    folder, result = run
    with (folder / "edges.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["before"] * 8 + ["after"] * 3
    assert rows[-1]["input"] == "h1"
    lines = pruning_lines(result.metrics["pruning"])
    assert lines[0].startswith("Pruned: 3 of 8 edges are left")
    assert lines[-1] == "Without effect: idle"


def test_a_network_that_has_learned_nothing_is_left_alone():
    steps = ["optimizer=adam", "scheduler=none", "steps=1", "optimizer.lr=1e-9", "prune=auto"]
    result = make_experiment(config(*TARGET, *NETWORK, *steps)).fit()
    found = result.metrics["pruning"]
    assert found["stopped"] == "nothing learned"
    assert found["edges"] == [8, 8]
    (line,) = pruning_lines(found)
    assert "predicts no better than a constant" in line


def test_a_network_that_has_learned_little_loses_nothing_that_it_could_learn():
    steps = ["optimizer=adam", "scheduler=none", "steps=3", "prune=auto", "dims=[2,1]"]
    target = ["target=formula", "target.formula='x+0.1*sin(3*y)'", "points=150", "data.num_val=100"]
    found = make_experiment(config(*target, *steps)).fit().metrics["pruning"]
    assert found["stopped"] == "done"
    assert found["without_effect"] == []
    assert found["error"][1] < 0.01 * found["error"][0]


def test_time_that_is_over_gives_the_best_so_far():
    options = ["pruning.seconds=0.001", "prune=auto"]
    result = make_experiment(config(*TARGET, *NETWORK, *options)).fit()
    found = result.metrics["pruning"]
    assert found["stopped"] == "seconds"
    assert found["error"][1] <= 1.02 * found["error"][0]
    assert "pruning.seconds" in pruning_lines(found)[1]


def test_curves_of_idle_columns_are_removed_from_a_table(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(250, 3, generator=generator)
    y = (2 * x[:, 0]).sin() + 0.2 * torch.randn(250, generator=generator)
    path = tmp_path / "table.csv"
    lines = [",".join(f"{v:.5f}" for v in [*row, t]) for row, t in zip(x.tolist(), y, strict=True)]
    path.write_text("\n".join(["a,b,c,y", *lines]))
    options = ["data=table", f"data.path={path}", "data.target=y", "layer=spline", "dims=null"]
    quiet = ["logger=none", "~callbacks.figures", "smoothing.hidden=0", "prune=auto"]
    asked = run_config([*options, *quiet], str(tmp_path / "run"))
    result = make_experiment(asked).fit()
    found = result.metrics["pruning"]
    assert found["without_effect"] == ["b", "c"]
    assert found["error"][1] <= 1.02 * found["error"][0]
    # The error from before the network has seen the validation points.
    assert result.metrics["val_rmse"] == pytest.approx(found["error"][1])
    assert result.metrics["effective_parameters"] < 10


def test_pruned_edges_of_a_table_are_straight_lines_beyond_its_rows(tmp_path):
    x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)).double()
    lines = [f"{a},{b},{math.sin(3 * a)}" for a, b in x.tolist()]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,y", *lines]))
    table = ["data=table", f"data.path={tmp_path / 'table.csv'}", "data.target=y", "dims=[2,1]"]
    quiet = ["layer=mlp", "optimizer=adam", "steps=9", "logger=none", "~callbacks.figures"]
    result = make_experiment(run_config([*table, *quiet, "prune=auto"], str(tmp_path))).fit()
    ends = torch.stack([result.data.train.x.amin(0), result.data.train.x.amax(0)], 1)
    scaled = result.data.scaling.standardize_bounds(ends)
    assert torch.equal(result.model.network[0].limits, scaled.to(result.model.network[0].limits))


def test_the_errors_of_retrained_networks_are_those_of_edges():
    points = Split(torch.rand(20, 2).double(), torch.rand(20, 2).double(), None)
    network = nn.Sequential(KANLinearLayer(2, 2, activation="none").double())
    clock = Clock(60.0)
    recipe = Recipe([], None, {}, 0, 0, 1, 0)
    fit = SparseFit([], Squared(), points, points, None, recipe, clock)
    module = SimpleNamespace(validated=(0.04, {"r2": 0.96}))
    experiment = SimpleNamespace(best=SimpleNamespace(checkpoint={}), module=module)
    retrained = SmoothSearch(lambda dims, masks: experiment, fit, 1.02).run(network)
    assert retrained.errors == pytest.approx((0.2, 0.2))


class Steps:
    """Stands for an optimizer: counts its steps."""

    stalled = False

    def __init__(self, modules, loss, quadratic):
        self.modules, self.quadratic, self.taken = modules, quadratic, 0

    def step(self, closure):
        self.taken += 1


@pytest.mark.parametrize(("width", "seconds", "taken"), [(4, 1.0, 3), (100, 1e5, 3), (100, 1.0, 0)])
def test_no_step_begins_that_would_exceed_the_time(width, seconds, taken):
    """Of 100 x 100 edges, 200 points take 1.6e13 multiplications."""
    points = Split(torch.rand(200, width).double(), torch.rand(200, width).double(), None)
    network = nn.Sequential(KANInterpoLayer(width, width, num_x=4).double())
    made = []

    def optimizer(*arguments, **options):
        made.append(Steps(*arguments, **options))
        return made[-1]

    recipe = Recipe([], optimizer, {2: 1.0}, 0, 0, 1, 0)
    fit = SparseFit([], Squared(), points, points, None, recipe, Clock(seconds))
    (fitted,) = fit.refit([network], 3)
    assert fitted.network is network
    (engine,) = made
    assert engine.taken == taken
    # The penalty's matrix is for small networks only.
    assert (engine.quadratic is None) == (width == 100)


def test_many_edges_are_ranked_by_an_estimate():
    x = torch.rand(3000, 40).double()
    network = nn.Sequential(*(KANInterpoLayer(40, 40).double() for _ in range(2)))
    points = Split(x, network(x).detach(), None)
    fit = SparseFit([], Squared(), points, points, None, None, Clock(60.0))
    errors = SparseSearch(fit, 1.02)._importances(network)
    assert [each.shape for each in errors] == [(40, 40), (40, 40)]
    assert all((each > 0).all() for each in errors)


def test_one_edge_is_an_edge():
    row = {"input": "x", "output": "y", "form": "line", "error_without": 1.0}
    metrics = {"edges": [1, 1], "error": [0.5, 0.5], "stopped": "done", "after": [row]}
    lines = pruning_lines(metrics | {"without_effect": ["L" * 200]})
    assert lines[0].startswith("Pruned: 1 of 1 edge is left;")
    assert max(map(len, lines)) < 80


# The command


def test_flags_follow_the_options(run, monkeypatch):
    monkeypatch.setattr("kan_exp.prune.from_folder", lambda words: ("train", words))
    _, words = read_arguments([f"run={run[0]}", "--cfg", "job"])
    assert [word for word in words if word.startswith("hydra.run.dir=")]
    assert words[-2:] == ["--cfg", "job"]


def test_the_command_is_a_training_that_takes_the_network(run, tmp_path):
    folder, result = run
    pruned = config(*TARGET, *NETWORK, "prune=auto", f"pruning.run={folder}")
    again = make_experiment(pruned, tmp_path / "again").run()
    assert again.metrics["steps"] == result.metrics["steps"]
    assert again.metrics["stopped"] == result.metrics["stopped"]
    assert again.metrics["pruning"]["edges"][0] == 3
    other = config(*TARGET, *NETWORK, "prune=auto", f"pruning.run={folder}", "data.seed=5")
    with pytest.raises(KanExpError, match="the data of that run have changed"):
        make_experiment(other).fit()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pruning.seconds=5"], "run is needed: run=FOLDER"),
        (["run=nowhere"], "nowhere: there is no such folder of a run."),
        (["run={run}", "dims=[2,2,1]"], "dims=[2,2,1]: the network is that of"),
        (["run={run}", "prune=null"], "prune=null: the network is that of"),
    ],
)
def test_wrong_arguments_are_one_line(run, arguments, message):
    words = [word.format(run=run[0]) for word in arguments]
    with pytest.raises(KanExpError) as caught:
        read_arguments(words)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["prune=yes"], "prune must be auto or null, got 'yes'."),
        (["pruning.max_rise=0.5"], "pruning.max_rise must be at least 1, got 0.5."),
        (["pruning.seconds=0"], "pruning.seconds must be above 0, got 0.0."),
        (["prune=auto", "replicas=3", "optimizer=adam"], "prune=auto does not go with replicas=3"),
        (
            ["prune=auto", "trainer=ddp", "optimizer=adam"],
            "prune=auto does not go with trainer=ddp",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(options, message):
    with pytest.raises(KanExpError) as caught:
        config(*options)
    assert str(caught.value).startswith(message)
