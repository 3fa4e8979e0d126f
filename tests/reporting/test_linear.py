"""The report says how a linear model does, how sure an error is, and survives its figures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from kan_exp.config import config_folder
from kan_exp.report import report
from kan_exp.reporting.comparison import compare_runs
from kan_exp.reporting.statistics import Bootstrap
from kan_exp.reporting.table_columns import linear_text
from kan_exp.reporting.tables import print_tables, runs_csv, settings_csv
from kan_exp.runs.records import read_records
from tests.reporting.conftest import write_run


def write(root, errors, linear=51.2, **more):
    for seed, (layer, error) in enumerate(errors):
        own = {"linear_rmse": linear, "linear_r2": 0.4, "test_rmse_se": error / 10, **more}
        write_run(root / f"{layer}{seed}", error, seed=seed, typed={"layer": layer}, more=own)


def summary_of(root, metric="test_rmse"):
    return compare_runs(read_records([root]), metric, None, Bootstrap(0.95, 50, 0))


def printed(summary) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_tables(summary, [], console, 20)
    return console.file.getvalue()


def said(root, **options) -> str:
    summary = summary_of(root, **options)
    return linear_text(summary, summary.sections[0])


def test_the_linear_model_stands_below_the_table(tmp_path):
    write(tmp_path, [("mlp", 60.0), ("mlp", 61.0), ("spline", 50.0)])
    error = "Linear model on the same data: test_rmse 51.2"
    assert said(tmp_path) == f"{error}, not beaten by the median of 1 of 2 settings."
    assert said(tmp_path) in printed(summary_of(tmp_path))
    rows = list(csv.DictReader(io.StringIO(settings_csv(summary_of(tmp_path)))))
    assert [row["linear"] for row in rows] == ["51.2", "51.2"]
    rows = list(csv.DictReader(io.StringIO(runs_csv(read_records([tmp_path]).records))))
    assert {row["linear_rmse"] for row in rows} == {"51.2"}
    assert [row["test_rmse_se"] for row in rows] == ["6.0", "6.1", "5.0"]


def test_settings_that_are_all_better_are_not_counted(tmp_path):
    write(tmp_path, [("mlp", 50.0)])
    assert said(tmp_path) == "Linear model on the same data: test_rmse 51.2."


def test_other_training_points_have_another_linear_model(tmp_path):
    write(tmp_path / "a", [("mlp", 50.0)], linear=48.0)
    write(tmp_path / "b", [("spline", 60.0)], linear=52.0)
    assert "test_rmse 48 to 52, not beaten by the median of 2 of 2 settings." in said(tmp_path)


def test_more_may_be_better(tmp_path):
    write(tmp_path, [("mlp", 0.5)])  # whose R2 is 1 - 0.5
    assert said(tmp_path, metric="test_r2") == "Linear model on the same data: test_r2 0.4."


@pytest.mark.parametrize("metric", ["test_mae", "parameters"])
def test_a_metric_without_one_says_nothing(tmp_path, metric):
    write(tmp_path, [("mlp", 50.0)], test_mae=1.0)
    assert said(tmp_path, metric=metric) == ""
    assert "std. error" not in printed(summary_of(tmp_path, metric=metric))


def test_older_runs_have_neither(tmp_path):
    write_run(tmp_path / "a", 0.5)
    assert said(tmp_path) == ""
    assert "std. error" not in printed(summary_of(tmp_path))


def test_the_standard_error_of_a_run_is_next_to_its_median(tmp_path):
    write(tmp_path, [("mlp", 60.0), ("mlp", 40.0), ("mlp", 50.0)])
    summary = summary_of(tmp_path)
    assert summary.settings[0].standard_error == 5.0
    heading = printed(summary).splitlines()[1]
    assert heading.split()[:5] == ["setting", "seeds", "median", "std.", "error"]


def test_a_figure_that_fails_is_missing_and_named(tmp_path, monkeypatch, capsys):
    write(tmp_path / "runs", [("mlp", 60.0), ("spline", 50.0)])
    config = OmegaConf.load(Path(config_folder()) / "report.yaml")
    for name in ("defaults", "hydra"):
        config.pop(name, None)
    config.output = str(tmp_path / "out" / "report.html")

    def fail(*_):
        raise RuntimeError("no such glyph")

    monkeypatch.setattr("kan_exp.reporting.report_figures.cost_figure", fail)
    report([str(tmp_path / "runs")], config)
    page = (tmp_path / "out" / "report.html").read_text()
    said = capsys.readouterr().out
    for name in ("parameters", "time"):
        note = f"the figure of error against {name} could not be drawn: no such glyph."
        assert page.count(note) == 1
        assert said.count(f"Note: {note}") == 1
    assert page.count("<figure") == 1  # histories are not there either
    assert "Linear model on the same data: test_rmse 51.2" in page
    assert "std. error" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html", "report.csv", "report_runs.csv"
    }  # fmt: skip
