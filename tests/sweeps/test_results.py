"""What a sweep and a search show of the results of their jobs."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from kan_exp.sweeps.jobs import Job
from kan_exp.sweeps.outcomes import Outcome
from kan_exp.sweeps.search_figures import draw_search
from kan_exp.sweeps.summary import print_table, write_summary


def outcome(number: int, error: float, linear: float | None, **metrics) -> Outcome:
    own = {"test_rmse": error, "test_rmse_se": error / 10, "test_max_error": 9 * error, **metrics}
    if linear is not None:
        own |= {"linear_rmse": linear, "linear_r2": 0.4}
    job = Job(number, (f"dims=[{number},1]",), str(number), "", 0)
    return Outcome(job, "done", None, str(number), None, 1, 2.0, own)


def shown(metric: str, *found: Outcome) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    print_table(console, metric, found)
    return console.file.getvalue().strip().splitlines()


def test_the_files_have_the_uncertainty_and_the_linear_model(tmp_path):
    write_summary(tmp_path, [], "test_rmse", [outcome(0, 60.0, 51.2), outcome(1, 50.0, None)])
    first, second = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    names = ("test_rmse", "test_rmse_se", "test_max_error", "linear_rmse")
    assert [first[name] for name in names] == [60.0, 6.0, 540.0, 51.2]
    assert second["linear_rmse"] is None
    rows = list(csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines()))
    assert [rows[0][name] for name in names] == ["60.0", "6.0", "540.0", "51.2"]


def test_one_linear_model_is_a_line_and_several_are_a_column():
    *_, last = shown("test_rmse", outcome(0, 60.0, 51.2), outcome(1, 50.0, 51.2))
    assert last == "linear model: test RMSE 51.2"
    heading, *rows = shown("test_rmse", outcome(0, 60.0, 51.2), outcome(1, 50.0, 48.0))
    assert heading.split() == ["job", "dims", "test", "RMSE", "linear", "model", "seconds"]
    assert [row.split()[2:4] for row in rows] == [["50", "48"], ["60", "51.2"]]


@pytest.mark.parametrize("metric", ["test_rmse", "test_mae", "val_rmse"])
def test_where_no_linear_model_is_known_nothing_is_said(metric):
    linear = None if metric == "test_rmse" else 51.2
    text = shown(metric, outcome(0, 60.0, linear, test_mae=5.0, val_rmse=6.0))
    assert not any("linear" in line for line in text)


def test_a_metric_that_has_its_own_linear_model_is_compared_with_it():
    *_, last = shown("test_r2", outcome(0, 60.0, 51.2, test_r2=0.3))
    assert last == "linear model: test R² 0.4"


def test_a_figure_of_a_search_that_fails_costs_nothing_else(tmp_path, monkeypatch):
    trial = create_trial(state=TrialState.COMPLETE, value=0.5)
    study = SimpleNamespace(
        trials=lambda: [trial, trial],
        importances=lambda: {}["missing"],
        settings=SimpleNamespace(metric="val_rmse"),
    )

    def fail(*_):
        raise ValueError("a\nlong story")

    monkeypatch.setattr("kan_exp.sweeps.search_figures.parallel_figure", fail)
    history = tmp_path / "figures" / "history.png"
    assert draw_search(tmp_path, study) == [
        str(history),
        f"Note: {tmp_path}/figures/importance.png could not be drawn: KeyError 'missing'.",
        f"Note: {tmp_path}/figures/parallel.png could not be drawn: a long story.",
    ]
    assert list(history.parent.iterdir()) == [history]
