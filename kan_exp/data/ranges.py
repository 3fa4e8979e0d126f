"""Inputs outside of the training range, where outputs of a network are unreliable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kan_exp.data.columns import FloatArray, shown

MARGIN = 0.1  # of a range's width, by which values may lie outside
MAX_COLUMNS = 3


def far(x: FloatArray, ranges: FloatArray) -> FloatArray:
    """How far values lie outside of the training ranges, in widths of the range; 0 where near.

    Args:
        x: Inputs `(n, in)`.
        ranges: Smallest and largest value of each input in training, `(in, 2)`.
    """
    low, high = ranges.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        beyond = np.maximum(low - x, x - high).clip(min=0)
        distance: FloatArray = np.where(beyond > 0, beyond / (high - low), 0.0)
    return np.where(distance > MARGIN, distance, 0.0)


def outside(x: FloatArray, ranges: FloatArray, names: Sequence[str]) -> list[str]:
    """Describes the rows that lie far outside of the training ranges, and in which columns.

    Args:
        x: Inputs `(n, in)`.
        ranges: Smallest and largest value of each input in training, `(in, 2)`.
        names: Of the inputs.

    Returns:
        One line, or none.
    """
    low, high = ranges.T
    width = high - low
    distance = far(x, ranges)
    rows = int(distance.any(1).sum())
    if not rows:
        return []
    counts, worst = np.count_nonzero(distance, axis=0), distance.max(0)
    order = np.lexsort((-worst, -counts))[: np.count_nonzero(counts)]
    parts = []
    for column in order[:MAX_COLUMNS]:
        ends = [low[column], high[column], x[:, column].min(), x[:, column].max()]
        a, b, c, d = _numbers(ends, float(width[column]))
        many = f" in {counts[column]:,}" if len(order) > 1 else ""
        parts.append(f"{shown(names[column])}{many} (trained on {a} to {b}, got {c} to {d})")
    more = len(order) - MAX_COLUMNS
    also = f" and {more:,} more column{'s' if more > 1 else ''}" if more > 0 else ""
    verb = "row lies" if rows == 1 and len(x) == 1 else "rows lie"
    return [
        f"{rows:,} of {len(x):,} {verb} far outside of what the network was trained on, where its "
        f"output is a guess: {', '.join(parts)}{also}."
    ]


def _numbers(values: Sequence[float], width: float) -> list[str]:
    """Numbers with enough digits to show a thousandth of the width, at most 15."""
    largest = max(map(abs, values[:2])) or 1.0
    digits = 4
    if 0 < width < largest:
        digits += math.ceil(math.log10(largest / width))
    return [f"{value:.{min(digits, 15)}g}" for value in values]
