"""Every edge of a layer as a small curve, over the data that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kan_exp.plots.style import (
    DATA,
    DOMAIN,
    LEARNED,
    TRUE,
    new_figure,
    short_number,
    short_r2,
    tidy,
)

MOST_EDGES = 36  # more small axes than this can neither be read nor drawn quickly
MOST_COLUMNS = 6
HISTOGRAM_BINS = 30
NAME_LENGTH = 11
# Inches: a panel with the room around its axes, the figure's title and legend.
LEAST_WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 5.4, 1.95, 1.75
LEFT, RIGHT, TITLE, BELOW = 0.47, 0.1, 0.27, 0.28
HEAD, FOOT = 0.28, 0.3


@dataclass(frozen=True)
class LayerView:
    """What a layer's edges do.

    Shape:
        `x` `(n, in)` values that reach the layer, `y` `(n, in, out)` what the edges make of them;
        `curve_x` `(points, in)` and `curve_y` `(points, in, out)` the curves to draw; `domain`
        `(in, 2)` the range on which they were trained; `truth` `(n, in)` the known true edge of
        each input at the same points, or `None`.
    """

    number: int
    input_names: list[str]
    output_names: list[str]
    x: np.ndarray
    y: np.ndarray
    curve_x: np.ndarray
    curve_y: np.ndarray
    domain: np.ndarray
    truth: np.ndarray | None

    def name(self, i: int, j: int) -> str:
        return f"{self.input_names[i]} → {self.output_names[j]}"

    def title(self, i: int, j: int) -> str:
        """The edge's name, cut to the width of a panel."""
        names = self.input_names[i], self.output_names[j]
        return " → ".join(n if len(n) <= NAME_LENGTH else f"{n[: NAME_LENGTH - 1]}…" for n in names)

    def agreement(self, i: int, j: int) -> tuple[float, np.ndarray] | None:
        """R2 between an edge and the true one at its best scale and shift, and its values there.

        Edges are only defined up to scale and shift: the next layer can undo both.
        """
        if self.truth is None:
            return None
        learned, true = self.y[:, i, j], self.truth[:, i]
        centred = true - true.mean()
        spread = float(centred @ centred)
        variation = float(((learned - learned.mean()) ** 2).sum())
        if spread == 0:
            return None  # any constant would do
        if variation == 0:
            return 0.0, np.full_like(true, learned.mean())
        scale = float(centred @ learned) / spread
        fitted = learned.mean() + scale * centred
        return 1 - float(((learned - fitted) ** 2).sum()) / variation, fitted

    def shown(self) -> list[tuple[int, int]]:
        """The edges to draw: all, or those that vary most if there are too many."""
        inputs, outputs = len(self.input_names), len(self.output_names)
        every = [(i, j) for i in range(inputs) for j in range(outputs)]
        if len(every) <= MOST_EDGES:
            return every
        variation = self.y.std(axis=0)
        strongest = sorted(every, key=lambda edge: -variation[edge])[:MOST_EDGES]
        return sorted(strongest)


class LayerFigure:
    """The figure of one layer, drawn once and then only updated: that is much faster.

    Args:
        view: The layer as it is now; later views must have the same edges.
    """

    def __init__(self, view: LayerView) -> None:
        self._edges = view.shown()
        columns, rows = _shape(view, len(self._edges))
        width = max(LEAST_WIDTH, columns * PANEL_WIDTH)
        height = rows * PANEL_HEIGHT + HEAD + FOOT
        # Laid out by hand: matplotlib's own layout costs twice what drawing does.
        self.figure: Figure = new_figure(width, height, layout=None)
        grid = self.figure.subplots(rows, columns, squeeze=False)
        inner_width, inner_height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TITLE - BELOW
        self.figure.subplots_adjust(
            left=LEFT / width,
            right=1 - RIGHT / width,
            bottom=(FOOT + BELOW) / height,
            top=1 - (HEAD + TITLE) / height,
            wspace=(LEFT + RIGHT) / inner_width,
            hspace=(TITLE + BELOW) / inner_height,
        )
        for axes in grid.flat[len(self._edges) :]:
            axes.set_visible(False)
        self._panels = [
            _Panel(axes, view, edge) for axes, edge in zip(grid.flat, self._edges, strict=False)
        ]
        total = len(view.input_names) * len(view.output_names)
        cut = f", the {len(self._edges)} strongest of {total:,} edges" if total > MOST_EDGES else ""
        self.figure.suptitle(f"Layer {view.number}{cut}", fontsize=11, y=1 - 0.08 / height)
        self.figure.legend(
            handles=list(_legend(view.truth is not None)),
            loc="lower center",
            ncols=4,
            fontsize=8,
            frameon=False,
        )
        self.update(view)

    def update(self, view: LayerView) -> None:
        """Shows another state of the same layer."""
        for panel in self._panels:
            panel.update(view)


class _Panel:
    """One edge: its curve, the data's range and density behind it, the truth beside it."""

    def __init__(self, axes: Axes, view: LayerView, edge: tuple[int, int]) -> None:
        self.axes, self.edge = axes, edge
        tidy(axes)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, prune="both"))
            axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
            axis.set_label_coords(0, 0)  # there is no label, and looking for its place takes long
        self.domain = axes.axvspan(0, 1, color=DOMAIN, zorder=0)
        self.density = axes.stairs(
            np.zeros(HISTOGRAM_BINS),
            np.linspace(0, 1, HISTOGRAM_BINS + 1),
            transform=axes.get_xaxis_transform(),
            fill=True,
            color=DATA,
            alpha=0.5,
            zorder=1,
        )
        (self.truth,) = axes.plot([], [], color=TRUE, linewidth=1.0, zorder=4)
        (self.curve,) = axes.plot([], [], color=LEARNED, linewidth=1.8, zorder=3)

    def update(self, view: LayerView) -> None:
        i, j = self.edge
        x, curve_x, curve_y = view.x[:, i], view.curve_x[:, i], view.curve_y[:, i, j]
        low, high = float(x.min()), float(x.max())
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.domain.set_x(view.domain[i, 0])
        self.domain.set_width(view.domain[i, 1] - view.domain[i, 0])
        counts, bins = np.histogram(x, bins=HISTOGRAM_BINS, range=(low, high))
        self.density.set_data(0.22 * counts / max(1, counts.max()), bins)
        self.curve.set_data(curve_x, curve_y)
        seen = [curve_y]
        title = view.title(i, j)
        found = view.agreement(i, j)
        if found is not None:
            r2, fitted = found
            order = np.argsort(x)
            self.truth.set_data(x[order], fitted[order])
            seen.append(fitted)
            title += f"   R² {short_r2(r2)}"
        self.axes.set_title(title, fontsize=9, y=1.03)
        _limit(self.axes, curve_x, np.concatenate(seen))


def layer_figure(view: LayerView) -> Figure:
    """Draws one layer: a row per input and a column per output, wrapped where they are many."""
    return LayerFigure(view).figure


def _shape(view: LayerView, count: int) -> tuple[int, int]:
    inputs, outputs = len(view.input_names), len(view.output_names)
    if count == inputs * outputs and 1 < outputs <= MOST_COLUMNS:
        return outputs, inputs
    columns = min(MOST_COLUMNS, count)
    return columns, -(-count // columns)


def _legend(with_truth: bool) -> Iterator[Line2D | Patch]:
    yield Line2D([], [], color=LEARNED, linewidth=1.8, label="learned")
    if with_truth:
        yield Line2D([], [], color=TRUE, linewidth=1.0, label="true, best scale and shift")
    yield Patch(color=DOMAIN, label="trained range")
    yield Patch(color=DATA, alpha=0.5, label="data")


def _limit(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Sets limits with room below for the density; a flat edge gets a visible scale."""
    low, high = float(np.min(y)), float(np.max(y))
    pad = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
    axes.set_xlim(float(x.min()), float(x.max()) if x.max() > x.min() else float(x.min()) + 1)
    axes.set_ylim(low - 0.35 * pad, high + 0.1 * pad)
