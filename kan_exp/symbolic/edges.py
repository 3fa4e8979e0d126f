"""Names for the edges of a trained network, one by one."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kan_exp.models.views import LayerView
from kan_exp.symbolic.expression import Array, Constant, Expression, exact
from kan_exp.symbolic.naming import name_curve
from kan_exp.symbolic.notation import Notation

NAMED = 0.01  # largest error of a name, in deviations of the edge
EXACT = 3e-3  # a trained edge is hardly ever closer to a function
COST = 0.12  # decades of error for which one more part of a name is taken
LEAST_VALUES = 8  # different inputs of an edge, below which any function would fit
TABLE = "table"  # what an edge without a name is


class EdgeName(NamedTuple):
    """What is known of one edge."""

    edge: str  # such as `x → h1`
    formula: str  # of its input, without its scale; `TABLE` if it is not known
    error: float | None  # of the best name, in deviations of the edge; None if none was tried
    remark: str = ""  # why there is no name


def name_edges(views: Sequence[LayerView], seconds: float) -> list[EdgeName]:
    """Names the edges of a network, in their order; at most so many as figures show.

    A name is what an edge looks like on the data, in digits of no more than that: it is no part of
    a formula that was fitted as a whole.

    Args:
        views: Of each layer, with the values that the data have there.
        seconds: After which the other edges are left as tables.
    """
    deadline, names = time.monotonic() + seconds, []
    for view, (i, j) in [(one, edge) for one in views for edge in one.shown()]:
        try:
            names.append(_name(view, i, j, late=time.monotonic() > deadline))
        except KeyboardInterrupt:  # which ends the naming, and keeps the formula
            deadline = -math.inf
            names.append(_name(view, i, j, late=True))
    return names


def _name(view: LayerView, i: int, j: int, late: bool) -> EdgeName:
    z, curve = view.x[:, i], view.y[:, i, j]
    edge = view.name(i, j)
    if np.ptp(curve) <= 1e-9 * max(1.0, float(np.abs(curve).max())):
        return EdgeName(edge, f"{curve.mean():.4g}", None, "constant")
    if len(np.unique(z)) < LEAST_VALUES:
        return EdgeName(edge, TABLE, None, "seen at too few values")
    if late:
        return EdgeName(edge, TABLE, None, "not tried: no time left")
    names = [name for name in name_curve(z, curve) if math.isfinite(name.error)]
    good = [name for name in names if name.error <= NAMED]
    if not good:
        error = min((name.error for name in names), default=None)
        return EdgeName(edge, TABLE, error, "like no function that is known")
    # A longer name must fit clearly better.
    best = min(good, key=lambda one: math.log10(max(one.error, EXACT)) + COST * one.cost)
    expression = _simplified(best.expression, z, curve, 2 * best.error + 1e-6)
    digits = np.abs(expression.constants) * max(best.error, 1e-4)
    notation = Notation(expression, [view.input_names[i]], digits, [bool(z.min() > 0)])
    return EdgeName(edge, notation.text(), best.error)


def _simplified(expression: Expression, z: Array, curve: Array, limit: float) -> Expression:
    """The formula without the constants that are 0 or 1 as far as the curve shows."""
    place = 0
    while place < len(expression.constants):
        for simple in (0, 1):
            values: list[Constant | float] = list(expression.constants)
            values[place] = exact(simple)
            trial = expression.with_constants(values)
            error = float(np.sqrt(np.mean((trial(z[:, None]) - curve) ** 2)))
            if error <= limit * float(curve.std()):
                expression = trial
                break
        else:
            place += 1
    return expression
