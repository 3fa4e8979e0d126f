"""Where the units and edges of a network lie in its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
TALLEST = 7.5  # of a network with few names
# A diagram takes its size times this. It lies on its line between these fractions of the way from
# the side of a layer with fewer units, where lines are close, to the other.
CLEAR = 1.2
NEAREST, FARTHEST = 0.6, 0.86
ENDS = 0.12  # at both ends of a line, without diagrams
TRIED = np.linspace(ENDS, 1 - ENDS, 39)

Points = NDArray[np.float64]


class Edge(NamedTuple):
    """An edge that is drawn: its layer from 0, input, output and importance."""

    layer: int
    i: int
    j: int
    importance: float


def chosen_edges(importance: Importance) -> list[Edge]:
    """All edges that exist, or the most important ones if they are too many; the first is that."""
    found = [np.argwhere(mask) for mask in importance.masks]
    layer = np.repeat(np.arange(len(found)), [len(one) for one in found])
    ends = np.concatenate(found)
    values = np.concatenate(
        [one[mask] for one, mask in zip(importance.layers, importance.masks, strict=True)]
    )
    units: list[set[int]] = [set() for _ in range(len(found) + 1)]
    chosen: list[Edge] = []
    for n in np.argsort(-values, kind="stable"):
        depth, (i, j) = int(layer[n]), map(int, ends[n])
        before, after = units[depth] | {i}, units[depth + 1] | {j}
        if len(chosen) < MAX_EDGES and max(len(before), len(after)) <= MAX_UNITS:
            units[depth], units[depth + 1] = before, after
            chosen.append(Edge(depth, i, j, float(values[n])))
    return chosen


@dataclass(frozen=True)
class Layout:
    """Places in inches, from the lower left corner of the network.

    Args:
        edges: That are drawn.
        importance: Of all edges.
    """

    edges: Sequence[Edge]
    importance: Importance

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
                alive = masks[depth - 1].any(0) | masks[depth].any(1)
                shown = [unit for unit in shown if alive[unit]]
                above = {unit: place for place, unit in enumerate(units[-1])}
                inputs = {
                    unit: [above[e.i] for e in self.edges if (e.layer, e.j) == (depth - 1, unit)]
                    for unit in shown
                }
                middle = len(above) / 2
                shown.sort(key=lambda unit: np.mean(inputs[unit] or [middle]))
            units.append(shown)
        return units

    @cached_property
    def size(self) -> tuple[float, float]:
        """Width and height of a diagram."""
        most = max(len(self._of(depth)) for depth in range(len(self.importance.layers)))
        rows = max(map(len, self.units))
        height = min(LARGEST, 0.78 * max(most, 1) ** -0.2, ROWS / rows)
        height = max(height, SMALLEST)
        return RATIO * height, height

    @cached_property
    def height(self) -> float:
        rows, (_, height) = max(map(len, self.units)), self.size
        return max(NAME_HEIGHT * rows, min(CLEAR * height / NEAREST * rows, TALLEST))

    @cached_property
    def x(self) -> list[float]:
        """Of each layer of nodes."""
        width, height = self.size
        places = [0.0]
        for depth in range(len(self.importance.layers)):
            edges = self._of(depth)
            columns = min(len({e.i for e in edges}), len({e.j for e in edges}))
            needed = CLEAR * width * (columns - 1) / (FARTHEST - NEAREST)
            area = len(edges) * CLEAR**2 * width * height / (0.5 * self.height)
            room = max(NARROWEST, 2.6 * width, min(max(needed, area), WIDEST))
            places.append(places[-1] + room)
        return places

    @cached_property
    def nodes(self) -> list[dict[int, tuple[float, float]]]:
        """Places of the units of each layer of nodes."""
        return [
            {
                unit: (x, self.height * (1 - (place + 0.5) / len(shown)))
                for place, unit in enumerate(shown)
            }
            for x, shown in zip(self.x, self.units, strict=True)
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
            edges = [self.edges[n] for n in index]
            centers[index] = self._place(edges, self.lines[index])
        return centers

    def _of(self, depth: int) -> list[Edge]:
        return [edge for edge in self.edges if edge.layer == depth]

    def _place(self, edges: Sequence[Edge], lines: Points) -> Points:
        """Places the diagrams of a layer so that none lies on another, if there is room."""
        room = CLEAR * np.array(self.size)
        start, way = lines[:, 0], lines[:, 1] - lines[:, 0]
        # At the same place on all lines: that of trees.
        for fraction in (0.5, 0.4, 0.6):
            centers = start + fraction * way
            apart = np.abs(centers[:, None] - centers) >= room
            if (apart.any(-1) | np.eye(len(edges), dtype=bool)).all():
                return centers
        # In columns, one for each unit of the side with fewer.
        inputs, outputs = {edge.i for edge in edges}, {edge.j for edge in edges}
        by_input = len(inputs) <= len(outputs)
        order = [unit for unit in self.units[edges[0].layer + (not by_input)]
                 if unit in (inputs if by_input else outputs)]
        columns = np.linspace(NEAREST, FARTHEST, len(order)) if len(order) > 1 else [NEAREST]
        for n, edge in enumerate(edges):
            column = columns[order.index(edge.i if by_input else edge.j)]
            fraction = column if by_input else 1 - column
            tried = TRIED[np.argsort(np.abs(TRIED - fraction), kind="stable")]
            places = start[n] + np.concatenate([[fraction], tried])[:, None] * way[n]
            overlap = (room - np.abs(places[:, None] - centers[:n])).clip(0).prod(-1).sum(-1)
            centers[n] = places[overlap.argmin()]
        return centers
