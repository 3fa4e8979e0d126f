"""One small diagram: curves over the density of the data, with a scale at the left and below.

Matplotlib's own axes would take ten milliseconds each to make and as many again at every drawing,
most of it for texts and ticks, and a layer has dozens of edges. This one takes about one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray

from kan_exp.plots.labels import text_width
from kan_exp.plots.stamps import draw_text, drawn_width
from kan_exp.plots.style import DATA, DOMAIN, DPI, LEARNED, TRUE, plain_formatter, short_number

OFFSETS, LABELS, TITLE = 7, 8, 9  # points
TICK, GAP, ABOVE = 2, 3.5, 11.5  # points: of a tick, to its label, to the middle of the title
NEXT_LINE = 12.5  # points from the tops of the labels below the box to the middle of their offset
DENSITY = 0.22  # of the height is the most that the data's density takes
TICKS = MaxNLocator(4, prune="both")
TICKS_ACROSS = 3.3  # labels for which there is room below the box
POINT = DPI / 72  # pixels

Points = NDArray[np.float64]


class Panel(Artist):
    """The diagram of one edge, at a fixed place in a figure.

    Args:
        left, bottom, width, height: Of the rectangle in which the curves lie, in pixels.
        room: From the left to the right end of what the panel may cover, in pixels.

    Shape:
        `curve` and `truth` `(n, 2)` are points in the user's units, joined in order; `domain` the
        two ends of the trained range; `counts` `(bins,)` and `bins` `(bins + 1,)` the data's
        histogram; `x_limits` and `y_limits` what is shown.
    """

    def __init__(
        self, left: float, bottom: float, width: float, height: float, room: tuple[float, float]
    ) -> None:
        super().__init__()
        self.room = room
        self.box = Bbox.from_bounds(round(left), round(bottom), round(width), round(height))
        self.title = ""
        self.curve: Points = np.empty((0, 2))
        self.truth: Points | None = None
        self.domain = (0.0, 1.0)
        self.counts: NDArray[np.float64] = np.zeros(1)
        self.bins: NDArray[np.float64] = np.array([0.0, 1.0])
        self.x_limits = self.y_limits = (0.0, 1.0)

    def to_pixels(self, points: Points) -> Points:
        """Where points `(n, 2)` in the user's units lie in the figure, in pixels."""
        low, high = np.transpose([self.x_limits, self.y_limits]).astype(np.float64)
        placed: Points = self.box.min + (points - low) / (high - low) * self.box.size
        return placed

    def draw(self, renderer: RendererAgg) -> None:  # type: ignore[override]
        low, high = self.y_limits
        pen = Pen(renderer, self.box)
        pen.fill(self.to_pixels(corners(*self.domain, low, high)), DOMAIN)
        pen.fill(self._density(), DATA, 0.5)
        pen.line(self.to_pixels(self.curve), LEARNED, 1.8)
        if self.truth is not None:
            pen.line(self.to_pixels(self.truth), TRUE, 1.0)
        self._draw_scales(renderer, Pen(renderer))
        half = drawn_width(self.title, TITLE) / 2
        left, right = self.room
        middle = min(max((self.box.x0 + self.box.x1) / 2, left + half), right - half)
        draw_text(renderer, self.title, TITLE, middle, self.box.y1 + ABOVE * POINT)

    def _density(self) -> Points:
        """The outline of the histogram, in pixels."""
        heights = DENSITY * self.counts / max(1, self.counts.max())
        x = self.to_pixels(np.stack([self.bins, self.bins], 1))[:, 0].repeat(2)
        y = self.box.y0 + self.box.height * np.concatenate([[0], heights.repeat(2), [0]])
        return np.stack([x, y], 1)

    def _draw_scales(self, renderer: RendererAgg, pen: Pen) -> None:
        left, bottom = self.box.min
        pen.edges([[(left, self.box.y1), (left, bottom), (self.box.x1, bottom)]])
        reach = (TICK + GAP) * POINT
        ticks = []
        values, labels, offset = tick_labels(self.x_limits, self.box.width / TICKS_ACROSS)
        end = self.room[0]
        for value, label in zip(values, labels, strict=True):
            x, _ = self.to_pixels(np.array([[value, self.y_limits[0]]]))[0]
            ticks.append([(x, bottom), (x, bottom - TICK * POINT)])
            half = text_width(label, LABELS) / 2
            if end <= x - half and x + half <= self.room[1]:
                draw_text(renderer, label, LABELS, x, bottom - reach, up=1 - 0.15)
                end = x + half + 2 * POINT
        below = bottom - reach - NEXT_LINE * POINT
        draw_text(renderer, offset, OFFSETS, self.room[1], below, across=1)
        values, labels, offset = tick_labels(self.y_limits, left - reach - self.room[0])
        for value, label in zip(values, labels, strict=True):
            _, y = self.to_pixels(np.array([[self.x_limits[0], value]]))[0]
            ticks.append([(left, y), (left - TICK * POINT, y)])
            draw_text(renderer, label, LABELS, left - reach, y, across=1)
        draw_text(renderer, offset, OFFSETS, left + TICK * POINT, self.box.y1 + 4 * POINT, across=0)
        pen.edges(ticks)


class Pen:
    """Draws lines and surfaces that are given in pixels `(n, 2)`, cut to a box if there is one."""

    def __init__(self, renderer: RendererAgg, box: Bbox | None = None) -> None:
        self.renderer, self.box = renderer, box

    def fill(self, points: Points, color: str, alpha: float = 1.0) -> None:
        self._draw(Path(points), 0, color, fill=to_rgba(color, alpha))

    def line(self, points: Points, color: str, width: float) -> None:
        self._draw(Path(points), width, color)

    def edges(self, lines: Sequence[Sequence[tuple[float, float]]]) -> None:
        """Thin black lines that lie on whole pixels."""
        if lines:
            paths = [Path(np.array(points)) for points in lines]
            self._draw(Path.make_compound_path(*paths), 0.8, "black", snap=True)

    def _draw(
        self,
        path: Path,
        width: float,
        color: str,
        fill: tuple[float, float, float, float] | None = None,
        snap: bool = False,
    ) -> None:
        graphics = self.renderer.new_gc()
        graphics.set_foreground(color)
        graphics.set_linewidth(width)
        graphics.set_snap(snap)
        graphics.set_joinstyle("round")
        graphics.set_capstyle("butt" if snap else "projecting")
        if fill is not None:
            graphics.set_alpha(fill[3])
            graphics.set_linewidth(0)
        if self.box is not None:
            graphics.set_clip_rectangle(self.box)
        self.renderer.draw_path(graphics, path, IdentityTransform(), fill)
        graphics.restore()


def tick_labels(limits: tuple[float, float], width: float) -> tuple[list[float], list[str], str]:
    """A few round numbers within the limits, and labels that tell them apart.

    Args:
        limits: What is shown.
        width: Room for a label, in pixels.

    Returns:
        The numbers, their labels, and what must be multiplied with these and added, as matplotlib
        writes it: `1e5+1.7e9`; empty if they are the numbers.
    """
    low, high = limits
    values = [float(value) for value in TICKS.tick_values(low, high) if low <= value <= high]
    labels = [short_number(value) for value in values]
    exact = 1e-3 * (high - low)
    if all(
        abs(float(label) - value) <= exact and text_width(label, LABELS) <= width
        for label, value in zip(labels, values, strict=True)
    ):
        return values, labels, ""
    formatter = plain_formatter()
    formatter.create_dummy_axis()
    axis: Any = formatter.axis
    axis.set_view_interval(low, high)
    labels = [label.replace("\u2212", "-") for label in formatter.format_ticks(values)]
    return values, labels, formatter.get_offset().replace("\u2212", "-")


def corners(left: float, right: float, low: float, high: float) -> Points:
    """A rectangle's."""
    return np.array([[left, low], [right, low], [right, high], [left, high]])
