"""A search by the command, with a trial that fails and trials that are cut, and its going on."""

import json

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.conftest import read_metrics, run_command

SPACE = """# @package _global_
defaults:
  - override /hydra/sweeper: optuna
hydra:
  mode: MULTIRUN
  sweeper:
    pruner: {n_startup_trials: 1, n_warmup_steps: 0}
    params:
      layer: choice(interpo,rbf)
      optimizer: adam
      optimizer.lr: tag(log,interval(1e-3,1e12))
    only:
      layer=interpo: {layer.num_x: "choice(5,9)"}
"""
SMALL = ["dims=[2,1,1]", "steps=40", "evaluations=4", "log_every_n_steps=10", "logger=none"]
SMALL += ["data.num_train=100", "data.num_test=100", "~callbacks.figures"]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search of four trials, and how it went on with a fifth."""
    cwd = tmp_path_factory.mktemp("search")
    (cwd / "mine" / "search").mkdir(parents=True)
    (cwd / "mine" / "search" / "wild.yaml").write_text(SPACE)
    first = run_command(
        "train", "--config-dir", "mine", "search=wild", *SMALL, "hydra.sweeper.n_trials=4", cwd=cwd
    )
    (folder,) = (cwd / "outputs" / "sweeps").glob("*/*")
    second = run_command(
        "train", "--config-dir", "mine", "-m",
        f"sweep.resume={folder}", "hydra.sweeper.n_trials=5",
        cwd=cwd,
    )  # fmt: skip
    return first, second, folder


def test_a_search_runs_fails_prunes_and_goes_on(search):
    first, second, folder = search
    assert "a search of 4 trials; " in first.stdout
    assert "a search of 5 trials, 4 done before; " in second.stdout
    assert "Traceback" not in first.stderr + second.stderr
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    trials = optuna.load_study(study_name="search", storage=storage).trials
    rows = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [row["job"] for row in rows] == [trial.number for trial in trials] == list(range(5))
    states = [trial.state for trial in trials]
    assert {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} == set(states)
    for trial, row in zip(trials, rows, strict=True):
        assert (row["stopped"] == "pruned") == (trial.state == TrialState.PRUNED)
        assert (row["state"] in ("failed", "diverged")) == (trial.state == TrialState.FAIL)
        if trial.state == TrialState.COMPLETE:
            assert (
                trial.value == row["val_rmse"] == read_metrics(folder / row["folder"])["val_rmse"]
            )
        if trial.state == TrialState.FAIL:
            assert "became NaN or infinite" in trial.user_attrs["reason"]
        assert any("num_x" in text for text in row["overrides"]) == (
            "layer=interpo" in row["overrides"]
        )
    assert first.returncode == second.returncode == 1  # as the failed trials say
    assert " jobs diverged:" in second.stderr


def test_the_search_leaves_its_figures_and_names_the_best(search):
    _, second, folder = search
    assert (folder / "figures" / "history.png").is_file()
    assert (folder / "figures" / "parallel.png").is_file()
    lines = second.stdout.splitlines()
    best = next(k for k, line in enumerate(lines) if line.startswith("best: job "))
    assert "validation RMSE" in lines[best]
    assert "test RMSE" in lines[best]
    told = lines[best + 1]
    assert told.startswith("  python -m kan_exp.train ")
    assert "search=" not in told
    assert "pruning" not in told
