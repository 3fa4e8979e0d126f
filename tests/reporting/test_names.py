"""A report of runs whose options are called anything: page, tables, CSV and figures."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from kan_exp.reporting.comparison import compare_runs
from kan_exp.reporting.curves import band
from kan_exp.reporting.notes import make_notes
from kan_exp.reporting.page import page
from kan_exp.reporting.report_figures import cost_figure, curves_figure, error_figure
from kan_exp.reporting.statistics import Bootstrap
from kan_exp.reporting.svg import svg
from kan_exp.reporting.tables import print_tables, runs_csv, settings_csv
from kan_exp.runs.printable import printable
from kan_exp.runs.records import read_records
from tests.plots.drawn import check_texts
from tests.reporting.conftest import write_run
from tests.reporting.test_page import Reader

ODD = ["[bold]", "[/]", "$x$", "_id", "<b>&amp;\"'", "a\nb\r", "\udcff", "x" * 200, "x" * 199 + "y"]
ANY = st.text(st.characters(), min_size=1, max_size=60)
NAMES = st.lists(ANY | st.sampled_from([*ODD, "温度", ":warning:", "-"]), min_size=2, max_size=5)


def summary_of(root, names, option="layer"):
    for k, name in enumerate(names):
        for seed in (0, 1):
            more = {"parameters": 10 * (k + 1), "choices": {option: name, "seed": seed}}
            error = 0.1 * (k + 1) + 0.01 * seed
            write_run(root / f"{k}{seed}", error, typed={option: name}, seed=seed, more=more)
    write_run(root / "failed", None, typed={option: names[0]}, state="failed", reason=names[-1])
    return compare_runs(read_records([root]), "test_rmse", None, Bootstrap(0.95, 50, 0))


@settings(max_examples=6, deadline=None, derandomize=True)
@given(NAMES.filter(lambda names: len(set(names)) == len(names)))
@example(ODD)
def test_settings_of_any_name_are_reported(tmp_path_factory, names):
    summary = summary_of(tmp_path_factory.mktemp("runs"), names)
    (section,) = summary.sections
    notes = make_notes(summary)
    figures = [
        error_figure(section.settings, "test_rmse", 9),
        cost_figure(section.settings, "test_rmse", "t", "x", lambda one: one.parameters),
        curves_figure([band(name, [[(1, 1.0), (2, 0.5)]]) for name in names[:6]], ""),
    ]
    reader = Reader()
    html = page(summary, notes, [names[0]], [figures], 99, 99, 0.95)
    reader.feed(html.encode().decode())
    reader.close()
    assert not reader.open
    assert {"script", "b"} & set(reader.tags) == {"b"}
    for name in names:
        assert printable(name) in reader.text
    console = Console(file=io.StringIO(), width=2000, markup=False, emoji=False)
    print_tables(summary, notes, console, 99)
    shown = console.file.getvalue().encode().decode()
    for name in names:
        assert printable(name).strip() in shown
    rows = list(csv.DictReader(io.StringIO(settings_csv(summary), newline="")))
    assert {row["layer"] for row in rows} == {printable(name) for name in names}
    runs_csv(summary.records.records).encode()
    for figure in figures:
        check_texts(figure.figure)


def test_all_lines_of_a_figure_are_in_its_legend():
    names = ["_hidden", "$x_{", "[/]"]
    figure = curves_figure([band(name, [[(1, 1.0), (2, 0.5)]]) for name in names], "").figure
    assert {"_hidden: 1", "$x_{: 1", "[/]: 1"} <= set(check_texts(figure))
    assert svg(figure).startswith("<svg")


@pytest.mark.parametrize("name", ["[bold]", "[/]", "$a$", 'y<x & "z"', ":smile:"])
def test_options_of_any_name_are_reported(tmp_path, name):
    summary = summary_of(tmp_path, ["a", "b"], option=name)
    console = Console(file=io.StringIO(), width=200)
    print_tables(summary, make_notes(summary), console, 99)
    assert f"test_rmse by {name}" in console.file.getvalue()
    assert name in settings_csv(summary).replace('""', '"')
    reader = Reader()
    reader.feed(page(summary, [], ["runs"], [[]], 9, 9, 0.95))
    assert f"by {name};" in reader.text
    assert ("data-name", name) in reader.attributes
