"""One small diagram: curves over the density of the data, with a scale at the left and below.

Matplotlib's own axes would take ten milliseconds each to make and as many again at every drawing,
most of it for texts and ticks, and a layer has dozens of edges. This one takes about one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray

from kan_exp.plots.stamps import draw_text
from kan_exp.plots.style import DATA, DOMAIN, DPI, LEARNED, TRUE, short_number

LABELS, TITLE = 8, 9  # points
TICK, GAP, ABOVE = 2, 3.5, 11.5  # points: of a tick, to its label, to the middle of the title
DENSITY = 0.22  # of the height is the most that the data's density takes
TICKS = MaxNLocator(4, prune="both")
POINT = DPI / 72  # pixels

Points = NDArray[np.float64]


class Panel(Artist):
    """The diagram of one edge, at a fixed place in a figure.

    Args:
        left, bottom, width, height: Of the rectangle in which the curves lie, in pixels.

    Shape:
        `curve` and `truth` `(n, 2)` are points in the user's units, joined in order; `domain` the
        two ends of the trained range; `counts` `(bins,)` and `bins` `(bins + 1,)` the data's
        histogram; `x_limits` and `y_limits` what is shown.
    """

    def __init__(self, left: float, bottom: float, width: float, height: float) -> None:
        super().__init__()
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
        middle = (self.box.x0 + self.box.x1) / 2
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
        for value in _ticks(self.x_limits):
            x, _ = self.to_pixels(np.array([[value, self.y_limits[0]]]))[0]
            ticks.append([(x, bottom), (x, bottom - TICK * POINT)])
            draw_text(renderer, short_number(value), LABELS, x, bottom - reach, up=1 - 0.15)
        for value in _ticks(self.y_limits):
            _, y = self.to_pixels(np.array([[self.x_limits[0], value]]))[0]
            ticks.append([(left, y), (left - TICK * POINT, y)])
            draw_text(renderer, short_number(value), LABELS, left - reach, y, across=1)
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


def _ticks(limits: tuple[float, float]) -> list[float]:
    """A few round numbers within the limits."""
    low, high = limits
    return [float(value) for value in TICKS.tick_values(low, high) if low <= value <= high]


def corners(left: float, right: float, low: float, high: float) -> Points:
    """A rectangle's."""
    return np.array([[left, low], [right, low], [right, high], [left, high]])
