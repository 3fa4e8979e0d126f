"""A formula and its curves: everything is drawn, within the figure, whatever the names are."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text

from kan_exp.plots import formula_figure
from kan_exp.plots.formula import MAX_CURVES, MAX_LINES, Curve, _terms
from kan_exp.plots.style import MATH, pixels
from kan_exp.symbolic.expression import Call, Constant, Input
from tests.symbolic.made import WAVE, explained

X = np.linspace(0.5, 2, 30)


def curve(name="x", network=True, formula=np.exp):
    values = formula(X)
    return Curve(name, X, values, values + 0.01 if network else None, X[::3], values[::3] + 0.1)


def drawn(explanation, *curves):
    text = f"{explanation.target} = {explanation.formula}"
    return formula_figure(explanation.latex(), text, explanation.target, curves, "Found")


def formulas(figure):
    return [text for text in figure.findobj(Text) if text.get_gid() == MATH]


def check_inside(figure):
    """Every text of the figure lies within it, and none of its own texts on another."""
    height, width = pixels(figure).shape[:2]
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.get_tightbbox() for axes in figure.axes]
    for box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    for k, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[k + 1 :])


def test_curves_of_formula_network_and_data_are_drawn():
    one = curve("Temp (°C)")
    figure = drawn(explained(WAVE), one, curve("y", network=False))
    first, second = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in first.lines}
    assert np.array_equal(lines["formula"], one.formula)
    assert np.array_equal(lines["network"], one.network)
    assert np.array_equal(first.collections[0].get_offsets(), np.stack([one.data_x, one.data_y], 1))
    assert [line.get_label() for line in second.lines] == ["formula"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("Temp (°C)", "f")
    (formula,) = formulas(figure)
    assert formula.get_text() == f"${explained(WAVE).latex()}$"
    check_inside(figure)


LONG = sum((Constant(1.5 + k) * Call("sin", Input(k % 3) + k) for k in range(8)), start=Input(0))


def test_a_long_formula_is_broken_before_signs():
    figure = drawn(explained(LONG, ("speed", "mass", "length")), curve())
    lines = [text.get_text().strip("$").strip() for text in formulas(figure)]
    assert 1 < len(lines) <= MAX_LINES
    assert all(line[0] in "+-" for line in lines[1:])
    check_inside(figure)
    assert _terms(r"a + \left(b + c\right) - \frac{d - 1}{2}") == [
        "a",
        r" + \left(b + c\right)",
        r" - \frac{d - 1}{2}",
    ]


@pytest.mark.parametrize(
    ("names", "is_math"),
    [
        (("a_{b}^2\\", "$\\frac", "#%&~_"), True),
        (("温度", "b", "c"), False),
        (('"`', "b", "c"), True),
        (tuple(f"a very long name of a column, number {k}" for k in range(3)), False),
    ],
)
def test_any_names_are_drawn(names, is_math):
    short = Input(0) * Input(1) + Input(2) ** 2
    expression = LONG if "long" in names[0] else short
    figure = drawn(explained(expression, names, target="$x_1$ % {"), curve(names[0]))
    assert bool(formulas(figure)) == is_math
    check_inside(figure)


def test_many_inputs_are_cut_and_poles_do_not_flatten_the_rest():
    figure = drawn(explained(), *[curve(f"x{k}") for k in range(MAX_CURVES + 2)])
    assert len(figure.axes) == MAX_CURVES
    assert any("the first 9 of 11 inputs" in text.get_text() for text in figure.texts)
    check_inside(figure)
    pole = curve(formula=lambda x: np.where(np.abs(x - 1) < 0.03, 1e9, x), network=False)
    _, high = drawn(explained(), pole).axes[0].get_ylim()
    assert high < 1e9
    broken = Curve("x", X, np.full(30, np.nan), None, X[:0], X[:0])
    check_inside(drawn(explained(), broken))
    check_inside(drawn(explained(Constant(2.5))))
