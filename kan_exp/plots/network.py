"""The whole network: every edge as a small curve on its line, wide where it is important."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import CircleCollection, LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.models.importance import Importance
from kan_exp.models.views import IDENTITY, LayerView
from kan_exp.plots.labels import find_fonts, shorten, shorten_all, text_width, wrap
from kan_exp.plots.network_layout import Edge, Layout, chosen_edges
from kan_exp.plots.style import DPI, LEARNED, new_figure

# Inches.
MARGIN, NAME_GAP, WIDEST_NAME, LINE = 0.15, 0.13, 2.4, 0.15
NARROWEST = 4.8  # of the figure
NODE, PRODUCT_NODE = 0.09, 0.22  # diameters
BELOW, HIDDEN_ROOM = 0.08, 0.45  # from a hidden unit to its name, and between units with names
NAMES, HIDDEN, NOTES = 9, 7, 8  # points
WIDEST_LABEL, ABOVE = 1.6, 0.02  # of a diagram's width; inches
HINTED = 1.08  # the most by which matplotlib's spacing of letters is wider than measured
THIN, THICK = 0.5, 8.5  # points: of the thinnest line, and of the others per inch of a diagram
FAINT = 0.15  # opacity of an edge without importance
FILL = 0.82  # of its diagram by a curve
FEW = 8  # values of an input
# Of the range of the largest edge of its node: an edge with less does not fill its diagram.
FLAT = 0.05
BACKGROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}  # over lines
INK, GRAY = "#333b44", "#8a949f"

Points = NDArray[np.float64]


def network_figure(views: Sequence[LayerView], importance: Importance) -> Figure:
    """Draws a network from left to right.

    Edges that the mask removes are left out, and hidden units without any edge. Of more than
    `MAX_EDGES` edges the most important are drawn, and of layers with more than `MAX_UNITS` units
    those with such edges; the caption says so. A curve fills its diagram, since its line shows how
    important it is; only edges that are almost constant look flat. Edges that are known functions
    have these as labels, and those that pass on a value have no diagram.

    Raises:
        ValueError: The importance or the values of an edge are not finite.
    """
    parts = [*importance.layers, *(view.curve_y for view in views)]
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("the edges have values that are not finite")
    return _Drawing(views, importance).figure


class _Drawing:
    """A figure and what is drawn in it, in inches."""

    def __init__(self, views: Sequence[LayerView], importance: Importance) -> None:
        self.views, self.importance = views, importance
        self.edges = chosen_edges(importance)
        self.layout = Layout(self.edges, importance, any(view.labels for view in views))
        self.strongest = max((edge.importance for edge in self.edges), default=0.0)
        ends = [[importance.names[end][unit] for unit in self.layout.units[end]] for end in (0, -1)]
        find_fonts([*ends[0], *ends[1]])
        self.names = [shorten_all(names, WIDEST_NAME * DPI / HINTED, NAMES) for names in ends]
        room = [
            MARGIN + NAME_GAP + HINTED * max(text_width(name, NAMES) for name in names) / DPI
            for names in self.names
        ]
        width = room[0] + self.layout.x[-1] + room[1]
        left = room[0] + max(NARROWEST - width, 0) / 2
        width = max(width, NARROWEST)
        caption = wrap(self._caption(), (width - 2 * MARGIN) * DPI / HINTED, NOTES, lines=5)
        bottom = 1.5 * MARGIN + LINE * (caption.count("\n") + 1)
        self.figure = new_figure(width, bottom + self.layout.height + MARGIN, layout=None)
        self.origin = np.array([left, bottom])
        self._draw_edges()
        self._draw_units()
        self._draw_labels()
        self._write(width / 2, MARGIN, caption, NOTES, GRAY, ha="center", va="bottom")

    def _caption(self) -> str:
        total = sum(int(mask.sum()) for mask in self.importance.masks)
        estimated = " (estimated by gradients)" if self.importance.estimated else ""
        width = (
            f"Line width: effect on the prediction{estimated}, at most {self.strongest:.2g} of its "
            "deviation."
        )
        if not all(map(self._has_diagram, self.edges)):
            width += " Lines without a diagram pass a value on."
        if len(self.edges) == total:
            return width
        return f"{width} The {len(self.edges)} strongest of {total:,} edges, by layer."

    def _draw_edges(self) -> None:
        importance = np.array([edge.importance for edge in self.edges])
        strength = importance / (self.strongest or 1.0)
        order = np.argsort(strength, kind="stable")  # the strongest lie on top
        strength = strength[order]
        ink, blue = _faded(INK, strength), _faded(LEARNED, strength)
        drawn = [place for place, n in enumerate(order) if self._has_diagram(self.edges[n])]
        centers = self.layout.diagrams[order][drawn] + self.origin
        half = np.array(self.layout.size) / 2
        corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        # Of about a hundred samples: wide layers have many edges.
        samples = [view.y[:: -(-len(view.y) // 100)] for view in self.views]
        ranges = [np.ptp(y, axis=0).max(axis=0) for y in samples]  # (out,)
        curves = [
            FILL * half * _curve(self.views[edge.layer], edge, ranges[edge.layer][edge.j])
            for edge in (self.edges[n] for n in order[drawn])
        ]
        style: dict[str, Any] = {"capstyle": "round", "joinstyle": "round"}
        self._add(
            LineCollection(
                self.layout.lines[order] + self.origin,
                colors=ink,
                linewidths=THIN + THICK * self.layout.size[1] * strength,
                **style,
            )
        )
        boxes = centers[:, None] + corners
        self._add(PolyCollection(boxes, facecolors="white", edgecolors=ink[drawn], linewidths=0.8))
        shifted = [center + curve for center, curve in zip(centers, curves, strict=True)]
        self._add(LineCollection(shifted, colors=blue[drawn], linewidths=1.3, **style))

    def _label(self, edge: Edge) -> str:
        labels = self.views[edge.layer].labels
        return labels[edge.i][edge.j] if labels else ""

    def _has_diagram(self, edge: Edge) -> bool:
        return self._label(edge) != IDENTITY

    def _draw_labels(self) -> None:
        width, height = self.layout.size
        find_fonts(map(self._label, self.edges))
        for edge, (x, y) in zip(self.edges, self.layout.diagrams + self.origin, strict=True):
            if (label := self._label(edge)) and self._has_diagram(edge):
                text = shorten(label, WIDEST_LABEL * width * DPI / HINTED, HIDDEN)
                above = y + height / 2 + ABOVE
                self._write(x, above, text, HIDDEN, INK, ha="center", va="bottom", bbox=BACKGROUND)

    def _draw_units(self) -> None:
        last = len(self.views)
        places = [
            {unit: self.origin + place for unit, place in nodes.items()}
            for nodes in self.layout.nodes
        ]
        products = [
            place
            for view, nodes in zip(self.views, places[1:], strict=True)
            for unit, place in nodes.items()
            if _is_product(view, unit)
        ]
        self._circles([place for nodes in places for place in nodes.values()], NODE, INK)
        self._circles(products, PRODUCT_NODE, "white")
        reach = 0.23 * PRODUCT_NODE
        strokes = reach * np.array([[[-1, -1], [1, 1]], [[-1, 1], [1, -1]]])
        crosses = [place + stroke for place in products for stroke in strokes]
        self._add(LineCollection(crosses, colors=INK, linewidths=1.4, capstyle="round"))
        used: NDArray[np.bool_] = np.any(self.importance.masks[0], axis=1)
        for (unit, (x, y)), name in zip(places[0].items(), self.names[0], strict=True):
            color = INK if used[unit] else GRAY
            self._write(x - NAME_GAP, y, name, NAMES, color, ha="right", va="center_baseline")
        for (x, y), name in zip(places[last].values(), self.names[1], strict=True):
            is_product = any((place == (x, y)).all() for place in products)
            gap = NAME_GAP + is_product * (PRODUCT_NODE - NODE) / 2
            self._write(x + gap, y, name, NAMES, INK, ha="left", va="center_baseline")
        for depth in range(1, last):
            if len(places[depth]) * HIDDEN_ROOM <= self.layout.height:
                for unit, (x, y) in places[depth].items():
                    below = BELOW + PRODUCT_NODE / 4
                    name = self.importance.names[depth][unit]
                    place: dict[str, Any] = {"ha": "center", "va": "top", "bbox": BACKGROUND}
                    self._write(x, y - below, name, HIDDEN, GRAY, **place)

    def _circles(self, places: Sequence[Points], diameter: float, color: str) -> None:
        circles = CircleCollection(
            [np.pi / 4 * (72 * diameter) ** 2],  # square points
            offsets=np.reshape(places, (-1, 2)),
            offset_transform=self.figure.dpi_scale_trans,
            facecolors=color,
            edgecolors=INK,
            linewidths=1.1,
        )
        self._add(circles, placed=True)

    def _add(self, shapes: Any, placed: bool = False) -> None:
        """Adds a collection on top of those that are there."""
        shapes.set_zorder(len(self.figure.artists))
        if not placed:
            shapes.set_transform(self.figure.dpi_scale_trans)
        self.figure.add_artist(shapes)

    def _write(
        self, x: float, y: float, text: str, points: float, color: str, **place: Any
    ) -> None:
        transform = self.figure.dpi_scale_trans
        self.figure.text(
            x, y, text, fontsize=points, color=color, transform=transform, zorder=9, **place
        )


def _is_product(view: LayerView, unit: int) -> bool:
    return view.products is not None and bool(view.products[unit])


def _faded(color: str, strength: Points) -> Points:
    """A color on white, `(n, 3)`. It is opaque, so that lines do not show through each other."""
    opacity = FAINT + (1 - FAINT) * np.sqrt(strength[:, None])
    return 1 - opacity * (1 - np.array(to_rgb(color)))


def _curve(view: LayerView, edge: Edge, largest: float) -> Points:
    """An edge over the range of the data that reach it, within -1 to 1 in both directions.

    Of an input with few values, such as a category, only those are joined. `largest` is the range
    of the largest edge of the same node.
    """
    x, y = view.curve_x[:, edge.i], view.curve_y[:, edge.i, edge.j]
    values, places = np.unique(view.x[:, edge.i], return_index=True)
    if len(values) == 1:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])
    if len(values) <= FEW:
        x, y = values, view.y[places, edge.i, edge.j]
    points = np.stack([x, y], 1)[(x >= values[0]) & (x <= values[-1])]
    # Factors of a product are compared with their own size, terms of a sum with each other.
    size = np.abs(points[:, 1]).max() if _is_product(view, edge.j) else largest
    span = np.maximum(np.ptp(points, axis=0), [0, FLAT * size])
    middle = (points.max(0) + points.min(0)) / 2
    return 2 * np.divide(points - middle, span, out=np.zeros_like(points), where=span > 0)
