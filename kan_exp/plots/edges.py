"""Every edge of a layer as a small curve, over the data that reach it."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray

from kan_exp.models.views import MAX_EDGES, LayerView
from kan_exp.plots.labels import distinct, find_fonts, literal, shorten, text_width
from kan_exp.plots.panel import LABELS, POINT, RESOLUTION, TITLE, Panel, Points, rectangle
from kan_exp.plots.stamps import Label, Labels
from kan_exp.plots.style import DATA, DOMAIN, DPI, LEARNED, TRUE, new_figure
from kan_exp.tasks.numbers import near_one

MAX_COLUMNS = 6
HISTOGRAM_BINS = 30
# Inches: a panel with the room around its curves, the figure's title and legend.
MIN_WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 5.4, 1.95, 1.75
LEFT, RIGHT, ABOVE, BELOW = 0.47, 0.1, 0.27, 0.28
HEAD, FOOT = 0.28, 0.3
APART = 0.05  # between texts of neighboring panels
HEADING = 11  # points
# Shapes by their names in the legend, which leaves out the last.
CURVE, TRUTH, RANGE, DENSITY = "learned", "true, best scale and shift", "trained range", "data"
SCALES = "scales"


class LayerFigure:
    """The figure of one layer, drawn once and then updated by views with the same edges.

    A row per input and a column per output; wrapped if they are many.
    """

    def __init__(self, view: LayerView) -> None:
        find_fonts([*view.input_names, *view.output_names])
        self.shape = view.y.shape[1:]
        self._edges = view.shown()
        columns, rows = _shape(view, len(self._edges))
        width = max(MIN_WIDTH, columns * PANEL_WIDTH)
        height = rows * PANEL_HEIGHT + HEAD + FOOT
        self.figure: Figure = new_figure(width, height, layout=None)
        self._places = [
            _place(column * width / columns, height - HEAD - row * PANEL_HEIGHT, width / columns)
            for row, column in (divmod(n, columns) for n in range(len(self._edges)))
        ]
        total = len(view.input_names) * len(view.output_names)
        cut = f", the {len(self._edges)} strongest of {total:,} edges" if total > MAX_EDGES else ""
        self.title = f"Layer {view.number}{cut}"
        self.legend = [CURVE, *([] if view.truth is None else [TRUTH]), RANGE, DENSITY]
        # Later ones lie on top.
        self._shapes: dict[str, PolyCollection | LineCollection] = {
            RANGE: PolyCollection([], facecolors=DOMAIN, linewidths=0),
            DENSITY: PolyCollection([], facecolors=DATA, linewidths=0, alpha=0.5),
            CURVE: LineCollection([], colors=LEARNED, linewidths=1.8, joinstyle="round"),
            TRUTH: LineCollection([], colors=TRUE, linewidths=1.0, joinstyle="round"),
            SCALES: LineCollection([], colors="black", linewidths=0.8),
        }
        self._shapes[SCALES].set_snap(True)
        self._labels = Labels()
        for order, artist in enumerate([*self._shapes.values(), self._labels]):
            artist.set(zorder=order, transform=IdentityTransform())
            self.figure.add_artist(artist)
        self.update(view)

    def update(self, view: LayerView) -> None:
        """Shows another state of the same layer."""
        if not all(np.isfinite(part).all() for part in (view.x, view.curve_y)):
            raise ValueError("the edges have values that are not finite")
        histograms = [histogram(view, i) for i in range(len(view.input_names))]
        orders = np.argsort(view.x, axis=0)
        truths: dict[tuple[int, int], Points] = {}
        agreements = dict.fromkeys(self._edges, "")
        for i, j in self._edges:
            agreement = view.agreement(i, j)
            if agreement is not None:
                r2, fitted = agreement
                truths[i, j] = np.stack([view.x[:, i], fitted], 1)[orders[:, i]]
                agreements[i, j] = f"   R² {near_one(r2)}"
        _, (left, right) = self._places[0]  # all have the same width

        def name(edge: tuple[int, int], reserved: float) -> str:
            # All digits have one width: with zeros, few texts are ever measured.
            agreement = text_width(re.sub(r"\d", "0", agreements[edge]), TITLE)
            return edge_title(view, *edge, right - left - agreement - reserved)

        titles = distinct(self._edges, name, TITLE)
        self.panels = [
            Panel(
                *place,
                title=title + agreements[i, j],
                curve=np.stack([view.curve_x[:, i], view.curve_y[:, i, j]], 1),
                truth=truths.get((i, j)),
                domain=(float(view.domain[i, 0]), float(view.domain[i, 1])),
                counts=histograms[i][0],
                bins=histograms[i][1],
            )
            for place, (i, j), title in zip(self._places, self._edges, titles, strict=True)
        ]
        self._draw()

    def _draw(self) -> None:
        """Gives the artists the shapes and labels of the panels and the legend."""
        shapes: dict[str, list[Points]] = {name: [] for name in self._shapes}
        labels: list[Label] = []
        for panel in self.panels:
            shapes[RANGE].append(panel.range_outline())
            shapes[DENSITY].append(panel.density_outline())
            shapes[CURVE].append(panel.to_pixels(panel.curve))
            if panel.truth is not None:
                shapes[TRUTH].append(panel.to_pixels(panel.truth))
            lines, texts = panel.scales()
            shapes[SCALES] += lines
            labels += texts
        width, height = self.figure.bbox.size
        labels.append(Label(self.title, HEADING, width / 2, height - 15 * POINT / 2 - 4))
        sample, gap, between = 20 * POINT, 6 * POINT, 18 * POINT
        lengths = [sample + gap + text_width(name, LABELS) for name in self.legend]
        x = (width - sum(lengths) - (len(lengths) - 1) * between) / 2
        y, half = 12 * POINT, 2.8 * POINT
        for name, length in zip(self.legend, lengths, strict=True):
            line, box = np.array([[x, y], [x + sample, y]]), (x, x + sample, y - half, y + half)
            shapes[name].append(line if name in (CURVE, TRUTH) else rectangle(*box))
            labels.append(Label(name, LABELS, x + sample + gap, y, across=0))
            x += length + between
        for name, outlines in shapes.items():
            self._shapes[name].set_verts(outlines)
        self._labels.labels = labels


def edge_title(view: LayerView, i: int, j: int, width: float) -> str:
    """The edge's name, shortened to a width in pixels."""
    start, end, arrow = view.input_names[i], view.output_names[j], " → "
    room = width - text_width(arrow, TITLE)
    # A short name leaves its room to the other.
    start = shorten(start, max(room / 2, room - text_width(literal(end), TITLE)), TITLE)
    end = shorten(end, room - text_width(start, TITLE), TITLE)
    return f"{start}{arrow}{end}"


def histogram(view: LayerView, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts `(bins,)` of an input's values, and the ends of the bins `(bins + 1,)`."""
    low, high = float(view.x[:, i].min()), float(view.x[:, i].max())
    if high - low <= RESOLUTION * abs(low):
        half = max(0.5, RESOLUTION * abs(low))
        low, high = low - half, high + half
    counts, bins = np.histogram(view.x[:, i], bins=HISTOGRAM_BINS, range=(low, high))
    return counts.astype(np.float64), bins


def _shape(view: LayerView, count: int) -> tuple[int, int]:
    """Columns and rows of panels."""
    inputs, outputs = len(view.input_names), len(view.output_names)
    if count == inputs * outputs and 1 < outputs <= MAX_COLUMNS:
        return outputs, inputs
    columns = min(MAX_COLUMNS, count)
    return columns, -(-count // columns)


def _place(left: float, top: float, width: float) -> tuple[Bbox, tuple[float, float]]:
    """Box and room of a panel whose upper left corner is given in inches."""
    low, high = top - PANEL_HEIGHT + BELOW, top - ABOVE
    box = np.array([[left + LEFT, low], [left + width - RIGHT, high]])
    return Bbox(np.round(box * DPI)), (DPI * (left + APART), DPI * (left + width - APART))
