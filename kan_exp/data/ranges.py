"""Inputs outside of the training range, where outputs of a network are unreliable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.columns import FloatArray, shown

MARGIN = 0.1  # of a range's width, by which values may lie outside
MARKED = "outside_trained_range"  # name of a column that marks rows
MAX_COLUMNS = 3


def marks(ranges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values `(in,)` below and above which rows lie far outside of training ranges `(in, 2)`."""
    low, high = ranges.T
    room = MARGIN * (high - low)
    return np.nan_to_num(low - room, nan=-np.inf), np.nan_to_num(high + room, nan=np.inf)


class FarRows:
    """Counts the rows that lie far outside of the training ranges, a part of them at a time.

    Args:
        ranges: Smallest and largest value of each input in training, `(in, 2)`.
        names: Of the inputs.
    """

    def __init__(self, ranges: FloatArray, names: Sequence[str]) -> None:
        self.ranges, self.names = ranges, names
        self.count, self.rows = 0, 0
        width = len(names)
        self.counts, self.worst = np.zeros(width, dtype=int), np.zeros(width)
        self.least, self.most = np.full(width, np.inf), np.full(width, -np.inf)

    def find(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which rows of inputs `(n, in)` lie outside."""
        low, high = marks(self.ranges)
        return np.asarray(((x < low) | (x > high)).any(1))

    def add(self, x: FloatArray, found: NDArray[np.bool_]) -> None:
        """Adds rows `(n, in)`, of which those that are `found` lie outside."""
        self.count += len(x)
        self.least = np.fmin(self.least, np.fmin.reduce(x, 0, initial=np.inf))
        self.most = np.fmax(self.most, np.fmax.reduce(x, 0, initial=-np.inf))
        if not found.any():
            return
        x, (low, high) = x[found], self.ranges.T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            beyond = np.maximum(low - x, x - high).clip(min=0)
            # How far each value lies outside, in widths of the range; 0 inside.
            distance = np.where(beyond > 0, beyond / (high - low), 0.0)
        self.rows += len(x)
        self.counts += (distance > MARGIN).sum(0)
        self.worst = np.fmax(self.worst, distance.max(0))

    def lines(self) -> list[str]:
        """One line that says how many rows and in which columns, or none."""
        if not self.rows:
            return []
        order = np.lexsort((-self.worst, -self.counts))[: np.count_nonzero(self.counts)]
        parts = []
        for column in order[:MAX_COLUMNS]:
            low, high = self.ranges[column]
            ends = [low, high, self.least[column], self.most[column]]
            a, b, c, d = _numbers(ends, float(high - low))
            many = f" in {self.counts[column]:,}" if len(order) > 1 else ""
            name = shown(self.names[column])
            parts.append(f"{name}{many} (trained on {a} to {b}, got {c} to {d})")
        more = len(order) - MAX_COLUMNS
        also = f" and {more:,} more column{'s' if more > 1 else ''}" if more > 0 else ""
        verb = "row lies" if self.rows == 1 and self.count == 1 else "rows lie"
        return [
            f"{self.rows:,} of {self.count:,} {verb} far outside of what the network was trained "
            f"on, where its output is a guess: {', '.join(parts)}{also}."
        ]


def outside(x: FloatArray, ranges: FloatArray, names: Sequence[str]) -> list[str]:
    """Describes in a line, if there are any, the rows `(n, in)` far outside of the training ranges.

    For `ranges` and `names` see `FarRows`.
    """
    rows = FarRows(ranges, names)
    rows.add(x, rows.find(x))
    return rows.lines()


def _numbers(values: Sequence[float], width: float) -> list[str]:
    """Numbers with enough digits to show a thousandth of the width, at most 15."""
    largest = max(map(abs, values[:2])) or 1.0
    digits = 4
    if 0 < width < largest:
        digits += math.ceil(math.log10(largest / width))
    return [f"{value:.{min(digits, 15)}g}" for value in values]
