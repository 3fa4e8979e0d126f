"""Every edge of a layer as a small curve, over the data that reach it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.models.views import MAX_EDGES, LayerView
from kan_exp.plots.labels import find_fonts, literal, shorten, text_width
from kan_exp.plots.panel import LABELS, POINT, TITLE, Panel, Pen, corners
from kan_exp.plots.stamps import draw_text
from kan_exp.plots.style import DATA, DOMAIN, DPI, LEARNED, TRUE, new_figure
from kan_exp.tasks.numbers import near_one

MAX_COLUMNS = 6
HISTOGRAM_BINS = 30
RESOLUTION = 1e-12  # of a scale, below which values count as one
# Inches: a panel with the room around its curves, the figure's title and legend.
MIN_WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 5.4, 1.95, 1.75
LEFT, RIGHT, ABOVE, BELOW = 0.47, 0.1, 0.27, 0.28
HEAD, FOOT = 0.28, 0.3
APART = 0.05  # between texts of neighbouring panels
# What the colours mean: label, colour, width of the line or 0 for a surface, opacity.
Entry = tuple[str, str, float, float]
LEGEND: tuple[Entry, ...] = (
    ("learned", LEARNED, 1.8, 1.0),
    ("trained range", DOMAIN, 0, 1.0),
    ("data", DATA, 0, 0.5),
)
LEGEND_TRUE: Entry = ("true, best scale and shift", TRUE, 1.0, 1.0)


class LayerFigure:
    """The figure of one layer, drawn once and then only updated.

    Args:
        view: The layer as it is now; later views must have the same edges.
    """

    def __init__(self, view: LayerView) -> None:
        find_fonts([*view.input_names, *view.output_names])
        self._edges = view.shown()
        columns, rows = _shape(view, len(self._edges))
        width = max(MIN_WIDTH, columns * PANEL_WIDTH)
        height = rows * PANEL_HEIGHT + HEAD + FOOT
        self.figure: Figure = new_figure(width, height, layout=None)
        self.panels = [
            Panel(
                DPI * (column * width / columns + LEFT),
                DPI * (height - HEAD - (row + 1) * PANEL_HEIGHT + BELOW),
                DPI * (width / columns - LEFT - RIGHT),
                DPI * (PANEL_HEIGHT - ABOVE - BELOW),
                (
                    DPI * (column * width / columns + APART),
                    DPI * ((column + 1) * width / columns - APART),
                ),
            )
            for row, column in (divmod(n, columns) for n in range(len(self._edges)))
        ]
        for panel in self.panels:
            self.figure.add_artist(panel)
        total = len(view.input_names) * len(view.output_names)
        cut = f", the {len(self._edges)} strongest of {total:,} edges" if total > MAX_EDGES else ""
        self.title = f"Layer {view.number}{cut}"
        self.legend = [*LEGEND] if view.truth is None else [LEGEND[0], LEGEND_TRUE, *LEGEND[1:]]
        self.figure.add_artist(_Frame(self.title, self.legend))
        self.update(view)

    def update(self, view: LayerView) -> None:
        """Shows another state of the same layer."""
        if not all(np.isfinite(part).all() for part in (view.x, view.curve_y)):
            raise ValueError("the edges have values that are not finite")
        spread = [histogram(view, i) for i in range(len(view.input_names))]
        orders = np.argsort(view.x, axis=0)
        titles: list[tuple[str, str, float]] = []
        for panel, (i, j) in zip(self.panels, self._edges, strict=True):
            curve_x, curve_y = view.curve_x[:, i], view.curve_y[:, i, j]
            agreement = ""
            panel.domain = float(view.domain[i, 0]), float(view.domain[i, 1])
            panel.curve = np.stack([curve_x, curve_y], 1)
            panel.counts, panel.bins = spread[i]
            shown = [curve_y]
            found = view.agreement(i, j)
            panel.truth = None
            if found is not None:
                r2, fitted = found
                order = orders[:, i]
                panel.truth = np.stack([view.x[order, i], fitted[order]], 1)
                shown.append(fitted)
                agreement = f"   R² {near_one(r2)}"
            left, right = panel.room
            # All digits are of one width: so few texts are ever measured.
            room = right - left - text_width(re.sub(r"\d", "0", agreement), TITLE)
            titles.append((edge_title(view, i, j, room), agreement, room))
            panel.x_limits, panel.y_limits = _limits(curve_x, np.concatenate(shown))
        self._set_titles(view, titles)

    def _set_titles(self, view: LayerView, titles: Sequence[tuple[str, str, float]]) -> None:
        """Titles of the panels; those of different edges that are shortened alike get numbers."""
        count = Counter(title for title, _, _ in titles)
        number: Counter[str] = Counter()
        for panel, (i, j), (title, agreement, room) in zip(
            self.panels, self._edges, titles, strict=True
        ):
            if count[title] > 1:
                number[title] += 1
                mark = f" ({number[title]})"
                title = edge_title(view, i, j, room - text_width(mark, TITLE)) + mark
            panel.title = title + agreement


def edge_title(view: LayerView, i: int, j: int, width: float) -> str:
    """The edge's name, shortened to a width in pixels."""
    start, end, arrow = view.input_names[i], view.output_names[j], " → "
    room = width - text_width(arrow, TITLE)
    # A short name leaves its room to the other.
    start = shorten(start, max(room / 2, room - text_width(literal(end), TITLE)), TITLE)
    end = shorten(end, room - text_width(start, TITLE), TITLE)
    return f"{start}{arrow}{end}"


def histogram(view: LayerView, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the values of an input are spread: counts `(bins,)` and the bins' ends."""
    low, high = float(view.x[:, i].min()), float(view.x[:, i].max())
    if high - low <= RESOLUTION * abs(low):
        half = max(0.5, RESOLUTION * abs(low))
        low, high = low - half, high + half
    counts, bins = np.histogram(view.x[:, i], bins=HISTOGRAM_BINS, range=(low, high))
    return counts.astype(np.float64), bins


def layer_figure(view: LayerView) -> Figure:
    """Draws one layer: a row per input and a column per output, wrapped where they are many."""
    return LayerFigure(view).figure


def _shape(view: LayerView, count: int) -> tuple[int, int]:
    inputs, outputs = len(view.input_names), len(view.output_names)
    if count == inputs * outputs and 1 < outputs <= MAX_COLUMNS:
        return outputs, inputs
    columns = min(MAX_COLUMNS, count)
    return columns, -(-count // columns)


class _Frame(Artist):
    """What stands above and below the panels: the layer's name, and what the colours mean."""

    def __init__(self, title: str, legend: Sequence[Entry]) -> None:
        super().__init__()
        self.title, self.legend = title, legend

    def draw(self, renderer: RendererAgg) -> None:  # type: ignore[override]
        width, height = renderer.width, renderer.height
        draw_text(renderer, self.title, 11, width / 2, height - 15 * POINT / 2 - 4)
        sample, gap, between = 20 * POINT, 6 * POINT, 18 * POINT
        lengths = [text_width(label, LABELS) for label, *_ in self.legend]
        total = sum(lengths) + len(lengths) * (sample + gap) + (len(lengths) - 1) * between
        x, y, pen = (width - total) / 2, 12 * POINT, Pen(renderer)
        for (label, color, line_width, alpha), length in zip(self.legend, lengths, strict=True):
            if line_width:
                pen.line(np.array([[x, y], [x + sample, y]]), color, line_width)
            else:
                half = 2.8 * POINT
                pen.fill(corners(x, x + sample, y - half, y + half), color, alpha)
            x += sample + gap
            draw_text(renderer, label, LABELS, x, y, across=0)
            x += length + between


def _limits(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits with room below for the density; a flat edge gets a visible scale."""
    low, high = float(np.min(y)), float(np.max(y))
    pad = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
    left, right = float(x.min()), float(x.max())
    if right - left <= RESOLUTION * abs(left):
        right = left + max(1.0, RESOLUTION * abs(left))
    return (left, right), (low - 0.35 * pad, high + 0.1 * pad)
