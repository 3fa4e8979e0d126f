"""Classification, from a table to probabilities."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

import kan_exp
from kan_exp.data import Schema, Split
from kan_exp.data.schema import Column
from kan_exp.errors import KanExpError
from kan_exp.preparing.tasks import with_task
from kan_exp.preparing.translation import composed, translate
from kan_exp.tasks.classification import Classification
from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command

METRICS = {"metrics": ["log_loss", "accuracy"], "primary": "log_loss"}
QUIET = ["logger=none", "~callbacks.figures", "data=table", "data.target=kind"]
PLAIN = ["layer=spline", "smoothing.method=null", "dims=[auto,auto]"]
ADAM = ["layer.num_intervals=8", "optimizer=adam", "optimizer.lr=0.05", "steps=300"]
OPTIMIZERS = {
    "lm": [*PLAIN, "refine.grids=[4]", "refine.num_candidates=[2]", "refine.steps=[15]"],
    "adam": [*PLAIN, "layer.num_intervals=8", "optimizer=adam", "optimizer.lr=0.05", "steps=300"],
    "replicas": [
        *PLAIN,
        "layer.num_intervals=8",
        "optimizer=adam",
        "optimizer.lr=0.05",
        "steps=300",
        "replicas=2",
    ],
    "smoothing": ["layer=spline"],
}


def task(class_weights=None, ridge=1e-4) -> Classification:
    return Classification(**METRICS, class_weights=class_weights, ridge=ridge)


def chances(x: torch.Tensor) -> torch.Tensor:
    """Of three classes, by one input."""
    return torch.stack([3 * x.sin(), torch.zeros_like(x), -2 * x], 1).softmax(1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """1500 rows of three classes, of which the alphabet has another order than their index."""
    draw = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(1500, generator=draw) - 2
    kinds = torch.multinomial(chances(x), 1, generator=draw)[:, 0].tolist()
    path = tmp_path_factory.mktemp("table") / "t.csv"
    names = [("gull", "auk", "tern")[kind] for kind in kinds]
    pl.DataFrame({"x": x.tolist(), "kind": names}).write_csv(path)
    return path


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_probabilities_of_classes_are_learned(table, tmp_path, optimizer):
    result = prepare([*QUIET, f"data.path={table}", *OPTIMIZERS[optimizer]], tmp_path).run()
    model = kan_exp.load(tmp_path)
    assert model.classes == ("auk", "gull", "tern")
    x = torch.linspace(-1.8, 1.8, 50)
    found = model(x[:, None])
    assert torch.equal(found, result.model(x[:, None]))
    torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))
    assert (found - chances(x)[:, [1, 0, 2]]).abs().max() < 0.12
    assert model.predict_class([[-1.8], [1.8]]).tolist() == ["tern", "gull"]
    metrics = read_metrics(tmp_path)
    assert metrics["scoring"]["primary"] == "log_loss"
    assert metrics["choices"]["task"] == "classification"
    assert metrics["outputs"].keys() == {"auk", "gull", "tern"}
    assert metrics["test_log_loss"] < metrics["linear_log_loss"] + metrics["test_log_loss_se"]
    test = result.data.test
    expected = torch.nn.functional.nll_loss(model(test.x).log(), test.y[:, 0].long())
    assert metrics["test_log_loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_two_classes_have_one_logit_and_two_probabilities(table, tmp_path):
    path = tmp_path / "two.csv"
    frame = pl.read_csv(table).with_columns((pl.col("kind") == "tern").alias("kind"))
    frame.write_csv(path)
    options = [*QUIET, *OPTIMIZERS["lm"], f"data.path={path}", "task.primary=accuracy"]
    experiment = prepare(options, tmp_path / "run")
    assert experiment.module.description["dims"] == [1, 1]
    assert experiment.notes == [
        "target 'kind' has 2 classes ('false', 'true'): task=classification"
    ]
    experiment.run()
    model = kan_exp.load(tmp_path / "run")
    assert model.names == ["false", "true"]
    assert model.unit_names()[-1] == ["true"]
    found = model([[-1.8], [1.8]])
    assert found[0, 1] > 0.8 > 0.2 > found[1, 1]
    metrics = read_metrics(tmp_path / "run")
    assert metrics["val_accuracy"] > 0.8
    assert metrics["test_accuracy_se"] > 0


def test_a_stored_run_has_the_task_that_was_recognized(table, tmp_path):
    with composed([*QUIET, f"data.path={table}"], tmp_path) as (cfg, hydra):
        config, context = with_task(*translate(cfg, hydra))
    assert config.task.target == "kan_exp.tasks.Classification"
    assert context.choices["task"] == "classification"
    # As `--from` repeats it, whose choice is still the one that was made.
    again, about = with_task(config, replace(context, choices={"task": "auto"}))
    assert again.task == config.task
    assert about.choices["task"] == "classification"


def split(*classes: int) -> Split:
    y = torch.tensor(classes, dtype=torch.float64)[:, None]
    return Split(torch.zeros_like(y), y)


SCHEMA = Schema((Column("x"),), (Column("y", "class", levels=("no", "yes")),))


def test_balanced_classes_weigh_alike():
    train, val = task("balanced").weigh(split(0, 0, 0, 1), split(1, 0), SCHEMA)
    assert train.weight.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert val.weight.tolist() == pytest.approx([2, 2 / 3])
    known = split(0, 1)._replace(weight=torch.tensor([3.0, 1.0]))
    assert task("balanced").weigh(known, known, SCHEMA)[0].weight.tolist() == pytest.approx([2, 2])


def test_weights_of_classes_multiply_those_of_rows():
    known = split(0, 1, 1)._replace(weight=torch.tensor([1.0, 2.0, 3.0]))
    train, _ = task({"yes": 5}).weigh(known, known, SCHEMA)
    assert train.weight.tolist() == [1, 10, 15]
    plain = split(0, 1)
    assert task().weigh(plain, plain, SCHEMA) == (plain, plain)
    booleans = Schema((), (Column("y", "class", levels=("false", "true")),))
    assert task({True: 4}).weigh(plain, plain, booleans)[0].weight.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("balance", "task.class_weights must be balanced, weights by class"),
        ({"yes": 0}, r"task.class_weights.yes must be a number above 0, got 0"),
        ({"maybe": 2}, "task.class_weights: there is no class 'maybe'. Choose from: 'no', 'yes'"),
    ],
)
def test_bad_weights_are_told(weights, said):
    with pytest.raises(KanExpError, match=said):
        task(weights).weigh(split(0, 1), split(0, 1), SCHEMA)


def test_validation_follows_the_weights():
    """Else the network of the start, which follows the frequencies, would be chosen."""
    outputs, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    zero, one = torch.zeros(1), torch.ones(1)
    weight = torch.tensor([3.0, 1.0])
    losses = [torch.nn.functional.softplus(torch.tensor(v)).item() for v in (0.0, -2.0)]
    expected = (3 * losses[0] + losses[1]) / 4
    found = task().selection_error(outputs, y, zero, one, weight)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    found = task(ridge=0).validation_loss(outputs, y, zero, one, weight)
    assert found == pytest.approx(expected, rel=1e-6)
    score = task().score(torch.tensor([[0.5, 0.5], [0.1, 0.9]]), y, weight=weight)
    assert score["accuracy"] == 1.0


def test_classes_need_their_task():
    with pytest.raises(KanExpError, match="is a number, but the task predicts classes: set task=r"):
        task().check_schema(Schema.of_numbers("x", "y"))
    with pytest.raises(KanExpError, match="rmse judges numbers, but accuracy classes"):
        Classification(["rmse", "accuracy"], "rmse", None, 0.0)
    with pytest.raises(KanExpError, match="rmse judges numbers, but the task predicts classes"):
        Classification(["rmse"], "rmse", None, 0.0)


def test_predictions_are_written_by_class(table, tmp_path):
    prepare([*QUIET, *OPTIMIZERS["lm"], f"data.path={table}"], tmp_path / "run").run()
    (tmp_path / "new.csv").write_text("x,kind\n-1.8,tern\n1.8,gull\n")
    run_command("predict", "run=run", "input=new.csv", "output=out.csv", cwd=tmp_path)
    written = pl.read_csv(tmp_path / "out.csv")
    assert written["kind_predicted"].to_list() == ["tern", "gull"]
    names = [f"kind_probability_{name}" for name in ("auk", "gull", "tern")]
    assert written.columns == ["x", "kind", "kind_predicted", *names]
    assert written.select(names).sum_horizontal().to_list() == pytest.approx([1, 1])
    evaluate = ("evaluate", "run=run", "data=table", "data.path=new.csv")
    done = run_command(*evaluate, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "accuracy  1.000" in said
    (tmp_path / "new.csv").write_text("x,kind\n-1.8,tern\n1.8,puffin\n")
    refused = run_command(*evaluate, cwd=tmp_path)
    assert refused.returncode == 1
    assert (
        "'puffin' in row 2, line 3 of new.csv, a class that training did not see" in refused.stderr
    )


def test_a_sweep_compares_jobs_by_the_metric_of_the_recognized_task(table, tmp_path):
    options = [*QUIET, *OPTIMIZERS["adam"], f"data.path={table}", "steps=3", "evaluations=1"]
    swept = ["-m", "optimizer.lr=0.01,0.1", "hydra.sweep.dir=sweep"]
    done = run_command("train", *options, *swept, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_csv(tmp_path / "sweep" / "sweep.csv")
    assert rows.select("test_log_loss", "linear_log_loss").null_count().sum_horizontal().item() == 0
    assert "test log-loss" in done.stdout
    stored = OmegaConf.load(next((tmp_path / "sweep").glob("0_*/.hydra/config.yaml")))
    assert stored.task._target_ == "kan_exp.tasks.Classification"


def test_several_processes_share_a_table(table, tmp_path):
    """They are forks of a process that must not have read it: polars' threads are not theirs."""
    steps = ["steps=4", "evaluations=1", "trainer=ddp", "trainer.devices=2", "hydra.run.dir=run"]
    options = [*QUIET, *OPTIMIZERS["adam"], f"data.path={table}", *steps]
    done = run_command("train", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path / "run")["choices"]["task"] == "classification"
