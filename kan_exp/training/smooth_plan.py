"""Sizes of a training that finds the smoothness of edges; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

INNER = 5  # functions of an edge to a hidden unit before grids are refined
MOST_CURVES, MOST_INNER = 600, 450  # coordinates: of many inputs each edge has fewer functions


class Plan(NamedTuple):
    """Sizes of the networks and of the training; see `smoothing` in conf/train.yaml.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        hidden: Number of hidden units.
        straight: Whether edges from the inputs are straight lines.
        intervals: Of the grids at the start.
        max_intervals: Of the finest grids.
        num_candidates: Starts of networks with hidden units, and how many of them go on.
        steps: For curves, for starts, for those that go on, on each finer grid, for the last fit.
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
        """How many functions make up a curve, an edge to a hidden unit, and one from it."""
        most = 1 if self.straight else intervals + 2
        additive = min(most, max(1, MOST_CURVES // (self.inputs * self.outputs)))
        inner = min(most, INNER) if intervals == self.intervals else most
        inner = min(inner, max(1, MOST_INNER // (self.inputs * max(1, hidden))))
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
