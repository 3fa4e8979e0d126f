"""Regression with outliers."""

from __future__ import annotations

import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.tasks import OLD_SCORING, HuberRegression
from kan_exp.train import prepare
from tests.conftest import read_metrics

SPLINES = ["layer=spline", "smoothing.method=null"]
OPTIMIZERS = {
    "lm": [
        "layer=spline",
        "smoothing.method=null",
        "refine.grids=[4]",
        "refine.num_candidates=[2]",
        "refine.steps=[20]",
    ],
    "adam": ["layer=spline", "optimizer=adam", "optimizer.lr=0.02", "steps=400"],
    "replicas": ["layer=spline", "optimizer=adam", "optimizer.lr=0.02", "steps=400", "replicas=2"],
}


def function(x):
    return torch.sin(3 * x)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """400 rows of a function, of which one in ten is far off."""
    draw = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(400, generator=draw) - 1
    far = torch.rand(400, generator=draw) < 0.1
    y = function(x) + torch.where(far, 20 * torch.rand(400, generator=draw), torch.zeros(400))
    path = tmp_path_factory.mktemp("table") / "t.csv"
    rows = [f"{a:.6f},{b:.6f}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["x,y", *rows]) + "\n")
    return path


def error(table, folder, *options: str) -> float:
    """Mean absolute distance from the function itself."""
    given = ["data=table", f"data.path={table}", "data.target=y", "dims=[1,1]", "logger=none"]
    experiment = prepare([*given, "~callbacks.figures", *options], folder)
    result = experiment.run()
    x = torch.linspace(-0.9, 0.9, 100)[:, None]
    return (result.model.predict(x) - function(x)).abs().mean().item()


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_outliers_cost_less_than_by_the_squared_error(table, tmp_path, options):
    squared = error(table, tmp_path / "squared", *options)
    huber = error(table, tmp_path / "huber", "task=huber", "task.delta=0.1", *options)
    assert huber < 0.5 * squared
    metrics = read_metrics(tmp_path / "huber")
    assert metrics["scoring"]["primary"] == "mae"
    assert metrics["choices"]["task"] == "huber"
    assert metrics["choices"]["task.delta"] == 0.1


@pytest.mark.parametrize("delta", [0, -1, float("nan"), float("inf"), "x", True, None])
def test_bad_deltas_are_told(delta):
    with pytest.raises(KanExpError, match=r"task\.delta must be a number above 0, got "):
        HuberRegression(**OLD_SCORING, delta=delta)
