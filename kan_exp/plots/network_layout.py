"""Where the units and edges of a network lie in its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.models.importance import Importance

MAX_EDGES = 200  # more cannot be told apart
MAX_UNITS = 64  # of a layer
# Inches.
SMALLEST, LARGEST = 0.24, 0.62  # heights of a diagram
ROWS = 3.4  # of all diagrams above each other, at which they begin to shrink
RATIO = 1.35  # of the width of a diagram to its height
NAME_HEIGHT = 0.2
NARROWEST, WIDEST = 1.7, 6.5  # of a layer
FILLED = 0.8  # share of a column's height that diagrams fill at most
TALLEST = 7.5  # of a network with few names
CLEAR = 1.2  # room of a diagram, times its size
LABEL = 0.15  # inches above a diagram for its label
FROM_NODE = 0.16  # inches between a node and a diagram
SHARED = (0.5, 0.42, 0.58, 0.35, 0.65, 0.3, 0.7)  # where all diagrams of a layer may lie on lines
TRIED = np.linspace(0.0, 1.0, 33)
# Costs of a place: an overlap of whole diagrams, a line below the diagram, the way from the middle.
OVERLAP, CROSSED, AWAY = 60.0, 1.0, 1.0

Points = NDArray[np.float64]


class Edge(NamedTuple):
    """An edge that is drawn: its layer from 0, input, output and importance."""

    layer: int
    i: int
    j: int
    importance: float


def chosen_edges(importance: Importance) -> list[Edge]:
    """All edges that exist; if they are too many, the most important ones of each layer.

    They are sorted, the most important first.
    """
    units: list[set[int]] = [set() for _ in range(len(importance.layers) + 1)]
    chosen: list[Edge] = []
    quotas = _quotas([int(mask.sum()) for mask in importance.masks])
    for depth, quota in reversed([*enumerate(quotas)]):  # from the outputs, which are all there
        found = np.argwhere(importance.masks[depth])
        values = importance.layers[depth][tuple(found.T)]
        edges: list[Edge] = []
        for n in np.argsort(-values, kind="stable"):
            if len(edges) == quota:
                break
            ends = [*enumerate(map(int, found[n]), depth)]
            if all(unit in units[at] or len(units[at]) < MAX_UNITS for at, unit in ends):
                edges.append(Edge(depth, ends[0][1], ends[1][1], float(values[n])))
                for at, unit in ends:
                    units[at].add(unit)
        chosen += edges
    return sorted(chosen, key=lambda edge: -edge.importance)


def _quotas(counts: Sequence[int]) -> list[int]:
    """How many of the edges of each layer are drawn: equally many of those that have too many."""
    quotas, left = [0] * len(counts), MAX_EDGES
    order = sorted(range(len(counts)), key=lambda depth: counts[depth])
    for place, depth in enumerate(order):
        quotas[depth] = min(counts[depth], left // (len(counts) - place))
        left -= quotas[depth]
    return quotas


@dataclass(frozen=True)
class Layout:
    """Places in inches, from the lower left corner of the network."""

    edges: Sequence[Edge]  # those that are drawn
    importance: Importance  # of all edges
    labelled: bool = False  # whether diagrams have labels above them

    @cached_property
    def units(self) -> list[list[int]]:
        """The units of each layer of nodes that are drawn, from top to bottom.

        Hidden units lie near their inputs, which untangles networks without all edges.
        """
        masks = self.importance.masks
        widths = [len(masks[0]), *(mask.shape[1] for mask in masks)]
        units: list[list[int]] = []
        for depth, width in enumerate(widths):
            used = {edge.i for edge in self.edges if edge.layer == depth}
            used |= {edge.j for edge in self.edges if edge.layer == depth - 1}
            shown = [*range(width)] if width <= MAX_UNITS else sorted(used)
            if 0 < depth < len(masks):
                alive = np.any(masks[depth - 1], axis=0) | np.any(masks[depth], axis=1)
                shown = [unit for unit in shown if alive[unit]]
                shown.sort(key=partial(self._mean_place, depth, units[-1]))
            units.append(shown)
        return units

    def _mean_place(self, depth: int, before: Sequence[int], unit: int) -> float:
        """Mean place of a hidden unit's inputs among the units of the layer before."""
        ends = (depth - 1, unit)
        places = [before.index(e.i) for e in self.edges if (e.layer, e.j) == ends]
        return float(np.mean(places)) if places else len(before) / 2

    @cached_property
    def size(self) -> tuple[float, float]:
        """Width and height of a diagram."""
        most = max(len(self._of(depth)) for depth in range(len(self.importance.layers)))
        fitting = min(LARGEST, 0.78 * max(most, 1) ** -0.2, ROWS / max(map(len, self.units)))
        height = max(fitting, SMALLEST)
        return RATIO * height, height

    @cached_property
    def room(self) -> Points:
        """Least distances of the centers of two diagrams."""
        return CLEAR * np.array(self.size) + [0, LABEL * self.labelled]

    @cached_property
    def height(self) -> float:
        rows, (_, height) = max(map(len, self.units)), self.size
        return max(NAME_HEIGHT * rows, min((2.3 * height + LABEL * self.labelled) * rows, TALLEST))

    @cached_property
    def y(self) -> list[dict[int, float]]:
        """Heights of the units in each layer of nodes."""
        return [
            {unit: self.height * (1 - (n + 0.5) / len(shown)) for n, unit in enumerate(shown)}
            for shown in self.units
        ]

    @cached_property
    def x(self) -> list[float]:
        """Position of each layer of nodes."""
        width, height = self.room
        places = [0.0]
        for depth in range(len(self.importance.layers)):
            edges: Sequence[Edge] = self._of(depth)
            columns = 1.0
            if self._shared(depth) is None:  # diagrams need several columns
                fewer = min(len({edge.i for edge in edges}), len({edge.j for edge in edges}))
                columns = max(fewer, len(edges) * height / (FILLED * self.height))
            room = min((1.3 * columns + 0.6) * width + 2 * FROM_NODE, WIDEST)
            places.append(places[-1] + max(room, NARROWEST, 2.2 * width))
        return places

    @cached_property
    def nodes(self) -> list[dict[int, tuple[float, float]]]:
        """Places of the units of each layer of nodes."""
        return [
            {unit: (x, y) for unit, y in column.items()}
            for x, column in zip(self.x, self.y, strict=True)
        ]

    @cached_property
    def lines(self) -> Points:
        """From the input to the output of each edge, `(edges, 2, 2)`."""
        ends = [(self.nodes[e.layer][e.i], self.nodes[e.layer + 1][e.j]) for e in self.edges]
        return np.array(ends, dtype=np.float64).reshape(-1, 2, 2)

    @cached_property
    def diagrams(self) -> Points:
        """Centers of the diagrams, `(edges, 2)`."""
        centers = np.empty((len(self.edges), 2))
        for depth in range(len(self.importance.layers)):
            index = [n for n, edge in enumerate(self.edges) if edge.layer == depth]
            lines, shared = self.lines[index], self._shared(depth)
            if shared is None:
                centers[index] = self._place(self._of(depth), lines)
            else:
                centers[index] = lines[:, 0] + shared * (lines[:, 1] - lines[:, 0])
        return centers

    def _of(self, depth: int) -> list[Edge]:
        return [edge for edge in self.edges if edge.layer == depth]

    def _shared(self, depth: int) -> float | None:
        """Where on their lines all diagrams of a layer lie above each other, if there is room."""
        edges, room = self._of(depth), self.room[1]
        ends = np.array([[self.y[depth][e.i], self.y[depth + 1][e.j]] for e in edges])
        for fraction in SHARED:
            y = np.sort(ends.reshape(-1, 2) @ [1 - fraction, fraction])
            if (np.diff(y) >= room).all():
                return fraction
        return None

    def _place(self, edges: Sequence[Edge], lines: Points) -> Points:
        """Places the diagrams of a layer one after the other, the most important first."""
        size, room = np.array(self.size), self.room
        (left, right), (start, end) = lines[0, :, 0], lines[:, :, 1].T
        margin = (FROM_NODE + size[0] / 2) / (right - left)
        fractions = margin + (1 - 2 * margin) * TRIED
        x = left + fractions * (right - left)
        y = start[:, None] + fractions * (end - start)[:, None]  # (edges, tried)
        # Height of the lines where a diagram at x begins and ends.
        reach = size[0] / 2 / (right - left)
        before, after = (y + side * reach * (end - start)[:, None] for side in (-1, 1))
        low, high = np.minimum(before, after), np.maximum(before, after)
        strongest = max(edge.importance for edge in self.edges) or 1.0
        weights = np.array([0.2 + edge.importance / strongest for edge in edges])
        centers = np.empty((len(edges), 2))
        for n in range(len(edges)):
            crossed = (low < y[n] + size[1] / 2) & (high > y[n] - size[1] / 2)
            crossed[n] = False
            tried = np.stack([x, y[n]], 1)
            overlap = (1 - np.abs(tried[:, None] - centers[:n]) / room).clip(0).prod(-1).sum(-1)
            away = np.abs(fractions - 0.5)
            cost = OVERLAP * overlap + CROSSED * (weights @ crossed) + AWAY * away
            centers[n] = tried[cost.argmin()]
        return centers
