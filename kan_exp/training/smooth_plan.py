"""Sizes of a training that finds the smoothness of edges; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

INNER = 5  # functions of an edge to a hidden unit before grids are refined
# Coefficients of all curves, and of all edges to hidden units: many inputs have fewer each.
MAX_CURVE_NUMBERS, MAX_INNER_NUMBERS = 600, 450


class Plan(NamedTuple):
    """Sizes of the networks and of the training; see `smoothing` in conf/train.yaml.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        hidden: Number of hidden units.
        straight: Whether edges from the inputs are straight lines.
        intervals: Of the grids at the start.
        max_intervals: Of the finest grids.
        num_candidates: Starts of networks with hidden units, and how many of them are continued.
        steps: For curves, for starts, for the best of them, on each finer grid, for the last fit.
    """

    inputs: int
    outputs: int
    hidden: int
    straight: bool
    intervals: int
    max_intervals: int
    num_candidates: Sequence[int]
    steps: Sequence[int]

    def functions(self, intervals: int, hidden: int) -> tuple[int, int, int]:
        """Numbers of functions of a curve, of an edge to a hidden unit, and of one from it."""
        most = 1 if self.straight else intervals + 2
        additive = min(most, max(1, MAX_CURVE_NUMBERS // (self.inputs * self.outputs)))
        inner = min(most, INNER) if intervals == self.intervals else most
        inner = min(inner, max(1, MAX_INNER_NUMBERS // (self.inputs * max(1, hidden))))
        return additive, inner, intervals + 2

    @property
    def total_steps(self) -> int:
        """At most so many steps are taken."""
        curves, starts, kept, finer, again = self.steps
        hidden = starts + kept if self.hidden else 0
        doublings = int(math.log2(max(1, self.max_intervals // self.intervals)))
        return curves + hidden + doublings * finer + max(hidden, again)

    def multiplications(self, rows: int) -> float:
        """About all multiplications of the training, without those on finer grids."""
        curves, starts, kept, _, again = self.steps
        total = curves * self._step(rows, 0)
        if self.hidden:
            first, rest = self.num_candidates
            total += 2 * (starts * first + kept * rest) * self._step(rows, self.hidden)
        return total + again * self._step(rows, 0)

    def _step(self, rows: int, hidden: int) -> float:
        additive, inner, outer = self.functions(self.intervals, hidden)
        size = self.outputs * (1 + self.inputs * additive)
        size += hidden * (self.inputs * inner + outer * self.outputs)
        return float(size) ** 2 * (rows * self.outputs + size)
