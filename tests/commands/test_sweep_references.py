"""Options that follow the seed, from the sweep to the report."""

from __future__ import annotations

import csv
import json

import pytest

import kan_exp
from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command, run_folders

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


def test_a_layer_of_ones_own_in_layers_refers_to_the_options_of_the_run(command, tmp_path):
    own = tmp_path / "my_conf" / "layer" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "# @package _global_\nlayer:\n  _target_: kan_exp.layers.KANChebyshevLayer\n"
        "  degree: ${seed}\n  x_min: -2.0\n  x_max: 2.0\n"
    )
    small = ["optimizer=adam", "steps=4", "points=50", "data.num_val=20", "data.num_test=20"]
    small += ["~callbacks.figures"]
    options = ["--config-dir", "my_conf", "layers=[mine,mine]", "dims=[2,2,1]", "logger=none"]
    result = command("train", *options, *small, "-m", "seed=2,3")
    assert result.returncode == 0, result.stderr
    assert "stacked" not in result.stdout
    degrees = {
        read_metrics(folder)["choices"]["seed"]: kan_exp.load(folder).network[1].degree
        for folder in run_folders(tmp_path)
    }
    assert degrees == {2: 2, 3: 3}
    refused = command("train", *options, *small, "replicas=2", "seed=2")
    assert refused.returncode == 1
    assert "replicas=2: replica k is the run with seed+k, and layers=" in refused.stderr
