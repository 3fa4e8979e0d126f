"""Options that follow the seed, from the sweep to the report."""

from __future__ import annotations

import csv
import json

import pytest

from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command

SMALL = ["layer=interpo", "optimizer=adam", "dims=[2,1,1]", "steps=40", "evaluations=2"]
SMALL += ["log_every_n_steps=20", "data.num_train=100", "data.num_test=100", "logger=none"]
SMALL += ["~callbacks.figures"]


def rows(folder):
    return json.loads((folder / "sweep.json").read_text())["jobs"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("sweep")
    swept = ["data.seed=${seed}", "seed=0,1", "hydra.sweep.dir=s"]
    result = run_command("train", "-m", *SMALL, *swept, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd


def test_each_seed_is_trained_on_its_own_data(sweep, tmp_path):
    second = rows(sweep / "s")[1]
    assert second["stacked"] == 1
    prepare([*SMALL, "seed=1", "data.seed=1"], tmp_path).run()
    alone = read_metrics(tmp_path)
    run = read_metrics(sweep / "s" / second["folder"])
    for name in ("test_rmse", "val_rmse", "test_points"):
        assert run[name] == alone[name], name
    status = json.loads((sweep / "s" / second["folder"] / "status.json").read_text())
    assert status["key"] == second["key"]


def test_going_on_runs_what_is_missing_and_keeps_the_rest(sweep):
    folder = sweep / "s" / rows(sweep / "s")[1]["folder"]
    before = read_metrics(folder)
    (folder / "metrics.json").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed", "reason": "x"}))
    result = run_command("train", "-m", "sweep.resume=s", cwd=sweep)
    assert result.returncode == 0, result.stderr
    assert "2 jobs, 1 done before" in result.stdout
    assert read_metrics(folder)["test_rmse"] == before["test_rmse"]


def test_the_report_folds_them(sweep):
    result = run_command("report", "folders=[s]", cwd=sweep)
    assert result.returncode == 0, result.stderr
    assert "different sets of test points" not in result.stdout
    with (sweep / "s" / "report.csv").open() as file:
        (setting,) = csv.DictReader(file)
    assert (setting["test_points"], setting["runs"]) == ("of each seed", "2")
