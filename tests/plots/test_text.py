# ruff: noqa: RUF001
"""Names and numbers in figures: whatever they are, they are drawn, readable and in their place."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kan_exp.models.views import LayerView
from kan_exp.plots import (
    LayerFigure,
    history_figure,
    importance_figure,
    parallel_figure,
    prediction_figure,
    replicas_figure,
    search_history_figure,
)
from kan_exp.plots.panel import tick_labels
from kan_exp.plots.search import Axis
from tests.plots.drawn import check_texts, texts

LONG = "Blast Furnace Slag (component 2)(kg in a m^3 mixture), measured at noon"
NAMES = [
    "Temp", "Year", "Time", "Jumps", "_id", "sin(T)*a", "jj", "T", "",
    "cost_$_per_$_sold", "income ($)", "price ($), list ($)", "$", "$\\frac{", "a_{b}^{c}",
    "\\alpha", "{", "^", "%", "#1 & co", "~", "a\nb", "a\tb", "\r\n", "\0", "\x1b[31mred",
    "\ud800", "\uffff", "温度", "产量", "😀", "👩\u200d💻", "درجة الحرارة", "טמפרטורה", "हिन्दी",
    "e\u0301", "Z" + "\u0335" * 40, "\u202eabc", "\ufeffx", "\u200b", "   ", "∂ψ/∂t ∈ ℝ²",
    "𝔘𝔫𝔦", "x" * 200, "W" * 200, LONG, "温" * 200,
]  # fmt: skip
ANY_NAME = st.one_of(
    st.sampled_from(NAMES),
    st.text(st.characters(), max_size=60),
    st.text("$_^{}\\% aTj", max_size=30),
    st.text("ab温😀ا", min_size=100, max_size=250),
)
FEW = settings(max_examples=12, deadline=None, derandomize=True)
SCALES = [(0, 1), (1.7e9, 3e5), (101325, 20), (2000, 20), (-1e-4, 2e-4), (12345, 3), (-5e12, 1e13),
          (0.001, 0.004), (-1e300, 1e299), (1e16, 2), (3.0, 0)]  # fmt: skip


def layer(inputs, outputs, low=0.0, width=1.0, truth=False):
    x = np.linspace(0, 1, 40)[:, None].repeat(len(inputs), 1)
    y = np.sin(3 * x[:, :, None] + np.arange(len(outputs)))
    moved = low + width * x
    domain = np.array([[low, low + width]] * len(inputs))
    return LayerView(1, inputs, outputs, moved, y, moved, y, domain, x**2 if truth else None)


def numbers_of(offset):
    """Factor and shift of `1e5+1.7e9`, of `1e5` and of `+1.7e9`."""
    found = re.fullmatch(r"(1e-?\d+)?(?:([+-][\d.]+)(e-?\d+)?)?", offset)
    factor, shift, power = found.groups()
    return float(factor or 1), float((shift or "0") + (power or ""))


def names_of(count):
    return st.lists(ANY_NAME, min_size=count, max_size=count)


@pytest.mark.parametrize("name", NAMES)
def test_edges_of_inputs_with_any_name_are_drawn(name):
    check_texts(LayerFigure(layer([name, "b", name], [name, "h2"], truth=True)).figure)


@FEW
@given(names_of(5))
def test_any_names_of_edges_fit(names):
    check_texts(LayerFigure(layer(names[:3], names[3:], truth=True)).figure)


@pytest.mark.parametrize(("low", "width"), SCALES)
def test_ticks_of_edges_tell_values_apart(low, width):
    layer_drawn = LayerFigure(layer(["a", "b"], ["h1", "h2", "h3"], low, width))
    shown = check_texts(layer_drawn.figure)
    assert {"a → h1", "b → h3", "Layer 1", "learned", "data"} <= set(shown)
    (panel,) = (panel for panel in layer_drawn.panels if panel.title == "a → h1")
    for limits in (panel.x_limits, panel.y_limits):
        values, labels, offset = tick_labels(limits, 43)
        assert len(set(labels)) == len(values) >= 2
        factor, shift = numbers_of(offset)
        np.testing.assert_allclose(
            [factor * float(label) + shift for label in labels],
            values,
            rtol=1e-12,
            atol=1e-3 * (limits[1] - limits[0]),
        )
        assert shown.count(offset) >= (1 if offset else 0)


@FEW
@given(ANY_NAME, st.sampled_from(SCALES))
def test_any_target_can_be_predicted(name, scale):
    low, width = scale
    truth = low + width * np.linspace(0, 1, 30)[:, None]
    predicted = truth + 0.02 * width * np.sin(np.arange(30))[:, None]
    check_texts(prediction_figure(truth, predicted, [name], "RMSE 1.23e-05, R² 0.999999999"))


def test_titles_are_above_the_curves_and_ticks_outside():
    layer_drawn = LayerFigure(layer(["Temp", "b"], ["h1", "h2", "h3"], 1.7e9, 3e5))
    found = texts(layer_drawn.figure)
    for panel in layer_drawn.panels:
        (title,) = (one for one in found if one.text == panel.title)
        assert title.low >= panel.box.y1
        assert panel.room[0] <= title.left
        assert title.right <= panel.room[1]
    boxes = [panel.box.extents for panel in layer_drawn.panels]
    ticks = [one for one in found if re.fullmatch(r"-?[\d.]+", one.text)]
    assert len(ticks) > 20
    for one in ticks:
        assert not any(
            min(one.right, right) > max(one.left, left) and min(one.high, top) > max(one.low, low)
            for left, low, right, top in boxes
        )


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    st.floats(-1e12, 1e12) | st.floats(-10, 10) | st.integers(-300_000, 300_000),
    st.floats(-7, 12).map(lambda power: 10**power),
)
@example(-80_000, 1e5)
@example(0.0, 1e10)
@example(-930479698359.4219, 1e10)
@example(123_456, 1.0)
@example(-0.00123, 1e-3)
def test_any_numbers_are_ticked(low, width):
    check_texts(LayerFigure(layer(["a", "b"], ["h1", "h2"], float(low), width, truth=True)).figure)
    truth = float(low) + width * np.linspace(0, 1, 30)[:, None]
    check_texts(prediction_figure(truth, truth + width * np.sin(truth), [LONG], ""))
    losses = [(k, abs(float(value)) + 1e-12) for k, value in enumerate(truth[:, 0])]
    check_texts(history_figure(losses, [], None))
    check_texts(search_history_figure(list(truth[:, 0]), [False] * 30, LONG))
    axes = [Axis("a", list(truth[:, 0])), Axis("b", list(truth[:, 0]), log=True)]
    check_texts(parallel_figure(axes, list(truth[:, 0]), "c"))


@pytest.mark.parametrize("steps", [1, 100, 200_000, 20_000_000])
@pytest.mark.parametrize("losses", [(1e-12, 3.0), (0.501, 0.502), (0.9, 2.0), (0.0, 0.0)])
def test_losses_are_drawn(steps, losses):
    train = [(steps * k, losses[k % 2]) for k in range(5)]
    check_texts(history_figure(train, train, steps))
    bands = [(step, np.array([loss, loss * 1.1])) for step, loss in train]
    errors, fine = np.array(losses), np.array([False, False])
    check_texts(replicas_figure(bands, bands, errors, fine, kept=0, seed=2**31, error="test RMSE"))


@FEW
@given(ANY_NAME, st.sampled_from([(0.5, 0.9), (0.50121, 0.50125), (1e-9, 1e3), (0.0, 1.0)]))
def test_any_metric_of_a_search_is_drawn(name, errors):
    low, high = errors
    tried = [None, high, low, high, None]
    check_texts(search_history_figure(tried, [False, True, False, False, False], name))


@FEW
@given(st.lists(ANY_NAME, min_size=1, max_size=7, unique=True))
@example(["a" * 100 + "b" * k + "c" * 100 for k in range(5)])
@example(["$x$", "_a", "layer.num_intervals (layer=spline)", "optimizer.lr"])
def test_any_options_have_their_own_bar(names):
    shares = {name: (k + 1) / 30 for k, name in enumerate(names)}
    figure = importance_figure(shares, 1000)
    check_texts(figure)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == list(shares.values())
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(labels)) == len(labels) == len(names)


@FEW
@given(names_of(4), names_of(4))
@example([LONG] * 4, ["exp($x)*y", "_y", "x" * 200, "x" * 201])
@example(["a (b=c)"] * 4, [str(k) for k in range(4)])
def test_any_options_and_values_are_parallel(names, values):
    axes = [
        Axis(names[0], values),
        Axis(names[1], [0.50121, 0.50123, 0.50122, 0.50125]),
        Axis(names[2], [1e-5, 1e-2, None, 1.0], log=True),
    ]
    check_texts(parallel_figure(axes, [0.1, 0.2, 0.3, 0.4], names[3]))


def test_many_values_of_an_option_do_not_lie_on_each_other():
    axis = Axis("target.formula", [f"sin({k}*x)" for k in range(90)])
    check_texts(parallel_figure([axis], [1.0 + k for k in range(90)], "test RMSE"))


def test_a_search_shows_all_its_trials_also_those_that_failed_first_or_last():
    figure = search_history_figure([None, None, 0.5, None], [False] * 4, "test RMSE")
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert low < 0
    assert high > 3
    assert {"0", "3"} <= set(check_texts(figure))


# The users' own settings of matplotlib


def test_settings_of_the_user_do_not_turn_names_into_formulas(monkeypatch):
    for name, value in {
        "text.usetex": True,
        "text.parse_math": True,
        "axes.formatter.use_mathtext": True,
        "font.family": ["serif"],
    }.items():
        monkeypatch.setitem(mpl.rcParams, name, value)
    truth = 1e9 + np.linspace(0, 1, 30)[:, None]
    shown = check_texts(prediction_figure(truth, truth, ["cost_$_per_$_sold"], ""))
    assert shown.count("cost_$_per_$_sold, true") == 2
    assert "+1e9" in shown
    assert mpl.rcParams["text.usetex"] is True
    assert mpl.rcParams["font.family"] == ["serif"]
