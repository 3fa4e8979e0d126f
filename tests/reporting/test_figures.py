"""What the figures show, and that they stand by themselves on light and dark pages."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import numpy as np
import pytest

from kan_exp.plots.style import LEARNED, new_figure
from kan_exp.reporting.comparison import compare_runs
from kan_exp.reporting.curves import band
from kan_exp.reporting.report_figures import (
    cost_figure,
    curves_figure,
    error_figure,
    network_figure,
    pareto,
)
from kan_exp.reporting.statistics import Bootstrap
from kan_exp.reporting.svg import DARK, svg
from kan_exp.runs.records import read_records
from tests.reporting.conftest import write_run

ERRORS = {"a": [0.1, 0.2, 0.4], "b": [0.5, None, 0.9], "c": [None]}
PARAMETERS = {"a": 100, "b": 20, "c": 5}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for layer, errors in ERRORS.items():
        for seed, error in enumerate(errors):
            state = "failed" if error is None else "done"
            more = {"parameters": PARAMETERS[layer]}
            typed = {"layer": layer}
            folder = root / f"{layer}{seed}"
            write_run(folder, error, state=state, seed=seed, typed=typed, more=more)
    (section,) = compare_runs(
        read_records([root]), "test_rmse", None, Bootstrap(0.95, 100, 0)
    ).sections
    return section.settings


def test_every_seed_is_a_dot(settings):
    figure = error_figure(settings, "test_rmse", most=9)
    (axes,) = figure.figure.axes
    dots = np.concatenate([part.get_offsets()[:, 0] for part in axes.collections])
    assert sorted(dots) == [0.1, 0.2, 0.4, 0.5, 0.9]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  1", "b  2"]
    assert "1 unfinished" in {text.get_text() for text in axes.texts}
    assert "Of 1 more settings no run finished" in figure.caption
    assert error_figure(settings[2:], "test_rmse", most=9) is None


def test_the_front_names_the_settings_that_no_other_beats(settings):
    figure = cost_figure(settings, "e", "t", "x", lambda one: one.parameters)
    (axes,) = figure.figure.axes
    assert {text.get_text() for text in axes.texts} == {"1", "2"}
    assert "Hollow" in figure.caption
    *_, dots = axes.collections
    assert (dots.get_facecolors()[:, 3] > 0).tolist() == [True, False]
    assert (dots.get_edgecolors()[:, 3] > 0).all()
    same = cost_figure(settings, "e", "t", "x", lambda one: one.seconds)
    assert same is None  # all took as long


def test_pareto_is_what_trying_all_pairs_gives():
    points = [tuple(p) for p in np.random.default_rng(0).integers(0, 9, size=(60, 2)).tolist()]

    def beaten(p):
        return any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)

    found = pareto(points)
    assert {points[n] for n in found} == {p for p in points if not beaten(p)}
    assert [points[n][0] for n in found] == sorted({points[n][0] for n in found})


def test_curves_are_bands_with_a_line_each():
    bands = [band(name, [[(1, 1.0), (2, 0.5)], [(1, 2.0), (2, 0.1)]]) for name in "ab"]
    figure = curves_figure(bands, " Skipped.")
    (axes,) = figure.figure.axes
    assert [line.get_label() for line in axes.lines] == ["a: 2", "b: 2"]
    assert len(axes.collections) == 2
    assert figure.caption.endswith(" Skipped.")
    assert curves_figure([], "") is None


def test_a_figure_holds_both_themes_and_needs_nothing_else(settings):
    text = svg(error_figure(settings, "test_rmse", most=9).figure)
    root = ElementTree.fromstring(text)
    style = next(part.text for part in root.iter() if part.tag.endswith("style"))
    assert "prefers-color-scheme:dark" in style
    assert DARK[LEARNED] in style
    body = text.replace(style, "")
    assert not any(color in body for color in DARK)
    links = [value for part in root.iter() for n, value in part.attrib.items() if "href" in n]
    assert all(link.startswith("#") for link in links)
    assert "DOCTYPE" not in text


def test_the_same_figure_is_the_same_text():
    def draw():
        figure = new_figure(2, 2)
        figure.subplots().plot([1, 2], [1, 2])
        return svg(figure)

    assert draw() == draw()


@pytest.mark.parametrize(("metric", "best"), [("test_rmse", "a0"), ("test_r2", "a2")])
def test_the_picture_of_the_best_network_is_embedded(settings, metric, best):
    assert network_figure(settings, metric) is None  # an older run has none
    for record in settings[0].finished:
        record.metrics[metric] = record.metrics["test_rmse"]
        (record.folder / "figures").mkdir(exist_ok=True)
        (record.folder / "figures" / "network.svg").write_text(f"<svg>{record.folder.name}é</svg>")
    try:
        figure = network_figure(settings, metric)
        content = base64.b64decode(figure.address.removeprefix("data:image/svg+xml;base64,"))
        assert content.decode() == f"<svg>{best}é</svg>"
        assert best in figure.caption
    finally:
        for record in settings[0].finished:
            (record.folder / "figures" / "network.svg").unlink()
    assert network_figure(settings[2:], metric) is None
