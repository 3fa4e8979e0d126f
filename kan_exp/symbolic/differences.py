"""How far formula, network and data are from each other, and where a formula is defined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kan_exp.runs.printable import printable
from kan_exp.symbolic.expression import Array, Expression

PROBES = 2000  # points near the data at which a formula's domain is probed
BEYOND = 0.1  # of an input's range: how far from the data these lie


class Difference(NamedTuple):
    """How far two of formula, network and data are from each other."""

    between: str  # such as `formula - network`
    points: int  # at which both are known
    undefined: int  # of these, where the formula is not finite; the other numbers leave them out
    rmse: float  # in units of the target
    largest: float  # absolute difference


def difference(between: str, left: Array, right: Array) -> Difference:
    """Compares values `(n,)`, at the points where those on the right are finite."""
    known = np.isfinite(right)
    defined = known & np.isfinite(left)
    gap = np.abs(left[defined] - right[defined])
    largest = float(gap.max()) if len(gap) else math.nan
    # Relative to the largest, whose square may be beyond float64.
    rmse = largest * math.sqrt(float(np.mean((gap / largest) ** 2))) if largest > 0 else largest
    points = int(known.sum())
    return Difference(between, points, points - len(gap), rmse, largest)


def domain_note(expression: Expression, names: Sequence[str], ranges: Array) -> str | None:
    """Says where a formula is not finite near the data; None if it is everywhere."""
    low, high = ranges.T
    margin, rows = BEYOND * (high - low), np.arange(PROBES)
    around = np.random.default_rng(0).uniform(low - margin, high + margin, (len(rows), len(low)))
    points = around.clip(low, high)
    beyond = rows % len(low)  # one input at a time: all at once would be further away
    points[rows, beyond] = around[rows, beyond]
    broken = ~np.isfinite(expression(points))
    if not broken.any():
        return None
    outside = np.maximum(low - points, points - high) / np.where(high > low, high - low, 1)
    distance = outside.max(1)
    nearest = points[broken][distance[broken].argmin()]
    at = ", ".join(f"{printable(names[k])}={nearest[k]:.3g}" for k in expression.inputs)
    where = "within" if distance[broken].min() <= 0 else "beyond"
    return f"the formula is not defined {where} the ranges of the data, as at {at}."


def finite_or_none(value: float) -> float | None:
    """A number for a file; None if it is not finite."""
    return float(value) if math.isfinite(value) else None
