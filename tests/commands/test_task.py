"""Runs, sweeps, searches and reports follow the metrics of the task."""

from __future__ import annotations

import csv

import pytest

from tests.conftest import read_metrics

QUICK = ["layer=interpo", "optimizer=adam", "dims=[2,1,1]", "steps=40", "points=100"]
QUICK += ["data.num_val=30", "data.num_test=40", "logger=none", "~callbacks.figures"]
TASK = ["task.metrics=[mae,r2]", "task.primary=mae"]


def test_a_sweep_of_another_task_is_compared_by_its_primary_metric(command, tmp_path):
    done = command("train", "-m", *QUICK, *TASK, "seed=1,2", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stderr
    assert "test MAE" in done.stdout
    assert "RMSE" not in done.stdout
    (folder,) = {path.parent for path in (tmp_path / "s").glob("*/metrics.json")}
    metrics = read_metrics(folder)
    names = {name for name in metrics if name.startswith(("test_", "val_", "linear_"))}
    assert names == {
        *("test_mae", "test_mae_se", "test_r2", "val_mae", "linear_mae", "linear_r2"),
        "test_points",
    }
    with (tmp_path / "s" / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["test_mae"] for row in rows] == [
        str(one["test_mae"]) for one in metrics["replicas"]["each"]
    ]
    assert "test_rmse" not in rows[0]

    report = command("report", "s", "output=r")
    assert report.returncode == 0, report.stderr
    assert "test_mae by" in report.stdout


def test_a_run_shows_its_metrics_and_evaluate_shows_the_same(command):
    done = command("train", *QUICK, *TASK, "hydra.run.dir=r")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "test MAE" in line]
    again = command("evaluate", "run=r")
    assert again.returncode == 0, again.stderr
    (own,) = [line for line in again.stdout.splitlines() if "MAE" in line]
    assert own.split("MAE")[1].strip() == row.split("MAE")[1].split("(")[0].strip()
    assert "RMSE" not in done.stdout + again.stdout


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("task.primary=accuracy", "task.primary=accuracy must be one of task.metrics: rmse, mae"),
        ("task.metrics=[rmse,mse]", "there is no metric 'mse'. Did you mean 'rmse'?"),
        ("task.metrics=rmse", "task.metrics must be a list of metrics, got 'rmse'"),
        ("task.metrics=[]", "task.metrics must be a list of metrics, got []"),
        ("task=regresion", "Did you mean 'regression'?"),
        ("~task", "task is needed: choose one by task=..., without ~task."),
        ("+task.delta=1", "task.delta"),
    ],
)
def test_mistakes_are_reported_without_torch(light, option, message):
    done = light("train", option)
    *_, line = done.stderr.strip().splitlines()
    assert message in line
    assert "Traceback" not in done.stderr


def test_a_sweep_by_an_unknown_metric_is_refused(command):
    done = command("train", "-m", *QUICK, *TASK, "seed=1,2", "sweep.metric=test_rmse")
    assert done.returncode == 1
    assert "sweep.metric=test_rmse: runs have no such metric." in done.stderr
