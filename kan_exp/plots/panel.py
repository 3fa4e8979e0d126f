"""The diagram of one edge: curves over the density of the data, with a scale left and below.

Matplotlib's axes take six milliseconds each to make and thirteen at every drawing, and a layer has
dozens of edges; a panel takes about one (benchmarks/log_share.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from kan_exp.plots.labels import text_width
from kan_exp.plots.stamps import Label
from kan_exp.plots.style import DPI, plain_formatter, short_number

OFFSETS, LABELS, TITLE = 7, 8, 9  # points
TICK, GAP, ABOVE = 2, 3.5, 11.5  # points: of a tick, to its label, to the middle of the title
NEXT_LINE = 12.5  # points from the tops of the labels below the box to the middle of their offset
DENSITY = 0.22  # largest share of the height that the density of the data takes
TICKS = MaxNLocator(4, prune="both")
TICKS_ACROSS = 3.3  # labels for which there is room below the box
POINT = DPI / 72  # pixels
RESOLUTION = 1e-12  # of a scale, below which values count as one

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """What one diagram shows, in the user's units, and where in the figure, in pixels."""

    box: Bbox  # the rectangle of the curves
    room: tuple[float, float]  # left and right end of what the panel may cover
    title: str
    curve: Points  # (n, 2), joined in order
    truth: Points | None
    domain: tuple[float, float]  # ends of the trained range
    counts: NDArray[np.float64]  # histogram of the data, (bins,)
    bins: NDArray[np.float64]  # ends of its bins, (bins + 1,)

    @cached_property
    def x_limits(self) -> tuple[float, float]:
        left, right = float(self.curve[:, 0].min()), float(self.curve[:, 0].max())
        if right - left <= RESOLUTION * abs(left):
            right = left + max(1.0, RESOLUTION * abs(left))
        return left, right

    @cached_property
    def y_limits(self) -> tuple[float, float]:
        """Leaves room below for the density; gives a flat curve a visible scale."""
        curves = self.curve if self.truth is None else np.concatenate([self.curve, self.truth])
        low, high = float(curves[:, 1].min()), float(curves[:, 1].max())
        pad = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
        return low - 0.35 * pad, high + 0.1 * pad

    def to_pixels(self, points: Points) -> Points:
        """Places of points `(n, 2)` in the figure, in pixels; those outside move to the border."""
        low, high = np.transpose([self.x_limits, self.y_limits]).astype(np.float64)
        return self.box.min + ((points - low) / (high - low)).clip(0, 1) * self.box.size

    def range_outline(self) -> Points:
        """The trained range, as a rectangle in pixels."""
        return self.to_pixels(rectangle(*self.domain, *self.y_limits))

    def density_outline(self) -> Points:
        """The histogram of the data, as a polygon in pixels."""
        heights = DENSITY * self.counts / max(1, self.counts.max())
        x = self.to_pixels(np.stack([self.bins, self.bins], 1))[:, 0].repeat(2)
        y = self.box.y0 + self.box.height * np.concatenate([[0], heights.repeat(2), [0]])
        return np.stack([x, y], 1)

    def scales(self) -> tuple[list[Points], list[Label]]:
        """Lines of both axes with their ticks, in pixels, and all labels of the panel."""
        (left, bottom), (right, top) = self.box.min, self.box.max
        tick, reach = TICK * POINT, (TICK + GAP) * POINT
        start, end = self.room
        half = text_width(self.title, TITLE) / 2
        middle = min(max((left + right) / 2, start + half), end - half)
        labels = [Label(self.title, TITLE, middle, top + ABOVE * POINT)]
        lines = [np.array([[left, top], [left, bottom], [right, bottom]])]

        values, texts, offset = tick_labels(self.x_limits, self.box.width / TICKS_ACROSS)
        free = start  # left end of the room for the next label
        for value, text in zip(values, texts, strict=True):
            x = float(self.to_pixels(np.array([[value, self.y_limits[0]]]))[0, 0])
            lines.append(np.array([[x, bottom], [x, bottom - tick]]))
            half = text_width(text, LABELS) / 2
            if free <= x - half and x + half <= end:
                labels.append(Label(text, LABELS, x, bottom - reach, up=0.85))
                free = x + half + 2 * POINT
        below = bottom - reach - NEXT_LINE * POINT
        labels.append(Label(offset, OFFSETS, end, below, across=1))

        values, texts, offset = tick_labels(self.y_limits, left - reach - start)
        for value, text in zip(values, texts, strict=True):
            y = float(self.to_pixels(np.array([[self.x_limits[0], value]]))[0, 1])
            lines.append(np.array([[left, y], [left - tick, y]]))
            labels.append(Label(text, LABELS, left - reach, y, across=1))
        labels.append(Label(offset, OFFSETS, left + tick, top + 4 * POINT, across=0))
        return lines, labels


def rectangle(left: float, right: float, low: float, high: float) -> Points:
    """The corners of a rectangle, `(4, 2)`."""
    return np.array([[left, low], [right, low], [right, high], [left, high]])


def tick_labels(limits: tuple[float, float], width: float) -> tuple[list[float], list[str], str]:
    """A few round numbers within the limits, and labels of at most a width in pixels.

    Returns:
        The numbers, their labels, and the factor and offset of the labels as matplotlib writes
        them, such as `1e5+1.7e9`; empty if the labels are the numbers.
    """
    low, high = limits
    values = [float(value) for value in TICKS.tick_values(low, high) if low <= value <= high]
    labels = [short_number(value) for value in values]
    tolerance = 1e-3 * (high - low)
    if all(
        abs(float(label) - value) <= tolerance and text_width(label, LABELS) <= width
        for label, value in zip(labels, values, strict=True)
    ):
        return values, labels, ""
    formatter = plain_formatter()
    formatter.create_dummy_axis()
    axis: Any = formatter.axis
    axis.set_view_interval(low, high)
    labels = [label.replace("\u2212", "-") for label in formatter.format_ticks(values)]
    return values, labels, formatter.get_offset().replace("\u2212", "-")
