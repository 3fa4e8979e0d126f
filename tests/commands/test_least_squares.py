"""optimizer=lm from the command line: it finds the function, and tells when it cannot be used."""

from __future__ import annotations

import pytest
import torch

import kan_exp
from kan_exp.targets import Target
from kan_exp.train import prepare
from kan_exp.train import train as whole
from tests.conftest import read_metrics, run_folders


@pytest.mark.parametrize(
    ("arguments", "rmse"),
    [
        (["layer=spline", "dims=[2,1,1]"], 2e-5),
        (["layer=spline", "dims=[2,1,1]", "seed=3"], 2e-5),
        (["layer=interpo", "dims=[2,1,1]"], 1.5e-3),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_least_squares_find_the_function_and_its_edges(command, tmp_path, arguments, rmse):
    result = command("train", "optimizer=lm", "logger=none", "~callbacks.figures", *arguments)
    assert result.returncode == 0, result.stderr
    assert "did not find" not in result.stdout
    (folder,) = run_folders(tmp_path)
    metrics = read_metrics(folder)
    assert metrics["test_rmse"] < rmse
    assert min(metrics["edge_r2"].values()) > 0.9999
    model = kan_exp.load(folder)
    size = model.network[0].num_intervals
    assert size in (64, 32)  # refined, and loaded as large as it was kept
    x = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    true = torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)
    assert (model(x) - true).abs().max() < 20 * rmse
    assert command("evaluate", f"run={folder}").returncode == 0


def test_the_same_seed_gives_the_same_bits(command, tmp_path):
    for name in ("a", "b"):
        arguments = [
            "layer=spline",
            "steps=12",
            f"hydra.run.dir={name}",
            "logger=none",
            "~callbacks.figures",
        ]
        assert command("train", "optimizer=lm", *arguments).returncode == 0
    first, second = (read_metrics(tmp_path / name) for name in ("a", "b"))
    assert first["test_rmse"] == second["test_rmse"]
    assert first["steps"] == second["steps"] == 12


def test_a_training_that_goes_no_further_ends_and_says_why(command, tmp_path):
    arguments = ["layer=linear", "dims=[1,1]", "target=formula", "target.formula=2*x-1"]
    result = command(
        "train", "optimizer=lm", "logger=none", "~callbacks.figures", "points=50", *arguments
    )
    assert result.returncode == 0, result.stderr
    (folder,) = run_folders(tmp_path)
    metrics = read_metrics(folder)
    assert metrics["stopped"] in ("converged (loss)", "converged (gradient)")
    assert metrics["steps"] < 50
    assert metrics["test_rmse"] < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch_size=10"], "batch_size=null"),
        (["scheduler=cosine"], "scheduler=none"),
        (["scheduler=onecycle"], "scheduler=none"),
        (["layer=mlp", "penalty.roughness=1"], "penalty.roughness does not go with optimizer=lm"),
        (["layer=spline", "penalty.l1_edges=1"], "penalty.l1_edges does not go with optimizer=lm"),
        (["layer=spline", "layer.base=silu", "penalty.group=1"], "spline with layer.base=none"),
        (["layer=spline", "refine.grids=[4,6]"], "a multiple of the one before, got [4, 6]"),
        (["layer=interpo", "layer.num_x=1"], "num_x"),
        (["optimizer.damping=0"], "needs damping above 0"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_does_not_go_together_is_reported_in_one_line(train, tmp_path, arguments, message):
    assert message in train("optimizer=lm", *arguments, task=whole).line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "seeds"),
    [
        # Draws whose outermost points are far from the border, or from where the sum is largest.
        (["layer=spline", "dims=[2,1,1]"], [0, 3, 5]),
        (["layer=interpo", "dims=[2,5,1]"], [0]),
    ],
    ids=["spline", "interpo"],
)
def test_the_reported_error_is_that_of_other_points(tmp_path, options, seeds):
    target = Target("exp(sin(pi*x) + y**2)")
    x = target.sample(100_000, torch.Generator().manual_seed(2**40))
    for seed in seeds:
        folder = tmp_path / str(seed)
        chosen = [*options, f"seed={seed}", f"data.seed={seed}", "logger=none", "callbacks={}"]
        prepare(chosen, folder).run()
        error = (kan_exp.load(folder).predict(x) - target(x)).double()
        reported = read_metrics(folder)["test_rmse"]
        assert reported == pytest.approx(error.square().mean().sqrt().item(), rel=0.1)
