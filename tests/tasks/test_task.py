"""What a task says of metrics, and how training, sweeps and reports follow it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.tasks import OLD_SCORING, Regression, Scoring, scoring_of


@pytest.mark.parametrize(
    ("metrics", "primary", "said"),
    [
        (["rmes"], "rmes", "task.metrics: there is no metric 'rmes'. Did you mean 'rmse'?"),
        (["rmse", "rmse"], "rmse", "task.metrics has a metric twice: rmse, rmse."),
        (["rmse"], "mae", "task.primary=mae must be one of task.metrics: rmse."),
        (["r2", "accuracy"], "r2", "r2 judges numbers, but accuracy classes: set task.metrics="),
        ([], "rmse", r"task.metrics must be a list of metrics, got \[\]"),
        ("rmse", "rmse", "task.metrics must be a list of metrics, got 'rmse'"),
        (3, "rmse", "task.metrics must be a list of metrics, got 3"),
    ],
)
def test_bad_metrics_are_told(metrics, primary, said):
    with pytest.raises(KanExpError, match=said) as caught:
        Regression(metrics, primary)
    assert str(caught.value).isprintable()


def test_names_follow_from_the_metrics():
    task = Regression(["mae", "r2"], "mae")
    assert (task.judged_by, task.chosen_by) == ("test_mae", "val_mae")
    assert task.results == ("test_mae", "test_mae_se", "test_r2", "val_mae")
    assert [one.name for one in task.curves] == ["mae", "r2"]
    assert {"linear_r2", "train_seconds", *task.results} <= {*task.numbers}


def test_it_comes_back_from_metrics_json():
    task = Regression(["mae", "r2"], "mae")
    stored = json.loads(json.dumps({"scoring": task.describe()}))
    found = scoring_of(stored)
    assert (found.metrics, found.primary) == (task.metrics, task.primary)


@pytest.mark.parametrize(
    "content",
    [{}, {"scoring": None}, {"scoring": {"metrics": ["new"], "primary": "new"}}, {"scoring": {}}],
)
def test_older_and_later_versions_get_the_default(content):
    assert scoring_of(content).describe() == Scoring(**OLD_SCORING).describe() | {
        "metrics": list(OLD_SCORING["metrics"])
    }


def test_selection_is_by_the_primary_metric_in_the_users_units():
    draw = torch.Generator().manual_seed(0)
    outputs, y = torch.randn(2, 50, 1, generator=draw, dtype=torch.float64)
    mean, std = torch.tensor([3.0]), torch.tensor([2.0])
    for task in (Regression(["rmse", "mae"], "rmse"), Regression(["rmse", "mae"], "mae")):
        found = task.selection_error(outputs, y, mean, std).item()
        scores = task.score(outputs * std + mean, y * std + mean)
        assert found == pytest.approx(scores[task.primary.name], rel=1e-12)


def test_metrics_are_known_without_torch():
    code = "import sys; import kan_exp.tasks as t; t.Regression(['rmse'], 'rmse'); t.scoring_of({})"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
