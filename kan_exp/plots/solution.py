"""The solution of a differential equation over its domain, with residual and error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.plots.style import LEARNED, TRUE, log_scale, new_figure, short_number, tidy

Array = NDArray[np.float64]
WIDTH, HEIGHT, HEAD = 3.5, 2.9, 0.35  # inches: of a panel, and of the title above
LABELS = 10  # points
DECADES = 5  # of a logarithmic scale, at most
MAX_OUTPUTS = 4


@dataclass(frozen=True)
class Fields:
    """Values on a grid over one or two inputs."""

    names: tuple[str, ...]  # of these inputs
    axes: tuple[Array, ...]  # their values, each `(n,)`
    outputs: tuple[str, ...]  # names of the unknown functions
    solution: Array  # `(outputs, n)` or `(outputs, n, m)`; NaN outside the domain
    residual: Array  # largest size of the residuals of the equations, `(n,)` or `(n, m)`
    exact: Array | None = None  # as `solution`; None if it is not known on the grid
    # Points `(inputs, n)` at which it is known instead, its values `(outputs, n)`, and the sizes of
    # the errors there.
    table: tuple[Array, Array, Array] | None = None
    where: str = ""  # what the other inputs are, in words; empty if there are none


def solution_figure(fields: Fields, caption: str) -> Figure:
    """Draws each unknown function, its error where the exact solution is known, and the residual.

    Args:
        fields: What is drawn.
        caption: A short result for the title.
    """
    count = min(MAX_OUTPUTS, len(fields.outputs))
    compares = fields.exact is not None or fields.table is not None
    columns = 3 if compares else 2
    figure = new_figure(columns * WIDTH, count * HEIGHT + HEAD)
    figure.suptitle(", ".join(part for part in (caption, fields.where) if part), fontsize=11)
    panels = figure.subplots(count, columns, squeeze=False)
    is_curve = len(fields.axes) == 1
    for k, row in enumerate(panels):
        name = fields.outputs[k]
        if is_curve:
            _draw_curves(row[0], fields, k)
        else:
            size = float(np.nanmax(np.abs(fields.solution[k]), initial=0.0)) or 1.0
            signed_map(row[0], fields, fields.solution[k], size)
        row[0].set_title(name, fontsize=LABELS)
        if fields.exact is not None:
            _draw_size(row[1], fields, np.abs(fields.solution[k] - fields.exact[k]))
        elif fields.table is not None:
            _draw_points(row[1], fields, k)
        if compares:
            row[1].set_title(f"error of {name}", fontsize=LABELS)
        if k == 0:
            _draw_size(row[-1], fields, fields.residual)
            row[-1].set_title("residual", fontsize=LABELS)
        else:
            row[-1].set_axis_off()
    return figure


def _draw_curves(axes: Axes, fields: Fields, place: int) -> None:
    tidy(axes)
    at = fields.axes[0]
    if fields.exact is not None:
        axes.plot(at, fields.exact[place], color=TRUE, linewidth=2.5, label="exact")
    if fields.table is not None:
        points, values, _ = fields.table
        axes.plot(points[0], values[place], ".", color=TRUE, markersize=4, label="exact")
    axes.plot(at, fields.solution[place], color=LEARNED, linewidth=1.2, label="found")
    if fields.exact is not None or fields.table is not None:
        axes.legend(fontsize=8, frameon=False)
    axes.set_xlabel(fields.names[0], fontsize=LABELS)


def signed_map(axes: Axes, fields: Fields, values: Array, largest: float) -> QuadMesh:
    """Draws values of both signs, `(n, m)`, up to a largest size."""
    scale = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    return _draw_map(axes, fields, values, scale)


def _draw_size(axes: Axes, fields: Fields, values: Array) -> None:
    """Draws sizes on a logarithmic scale."""
    values, scale = _on_log_scale(values)
    if len(fields.axes) == 2:
        _draw_map(axes, fields, values, {"cmap": "viridis", "norm": scale})
        return
    tidy(axes)
    axes.plot(fields.axes[0], values, color=LEARNED, linewidth=1.2)
    log_scale(axes, "y", values)
    axes.set_xlabel(fields.names[0], fontsize=LABELS)


def _draw_points(axes: Axes, fields: Fields, place: int) -> None:
    """Draws the errors at the points of a table."""
    assert fields.table is not None
    points, _, errors = fields.table
    sizes, scale = _on_log_scale(errors[place])
    tidy(axes)
    axes.set_xlabel(fields.names[0], fontsize=LABELS)
    if len(fields.axes) == 1:
        axes.plot(points[0], sizes, ".", color=LEARNED, markersize=3)
        log_scale(axes, "y", sizes)
        return
    area = float(np.clip(30_000 / len(sizes), 2, 30))
    image = axes.scatter(
        points[0], points[1], c=sizes, s=area, marker="s", norm=scale, linewidths=0
    )
    axes.set_ylabel(fields.names[1], fontsize=LABELS)
    _add_bar(axes, image)


def _on_log_scale(values: Array) -> tuple[Array, LogNorm]:
    """Sizes, cut off where they are too small to be drawn, and their scale."""
    known = values[np.isfinite(values)]
    largest = max(float(known.max(initial=0.0)), np.finfo(float).tiny)
    least = max(float(known[known > 0].min(initial=largest)), largest * 10.0**-DECADES)
    return np.maximum(values, least), LogNorm(least / 1.01, largest)


def _draw_map(axes: Axes, fields: Fields, values: Array, scale: Mapping[str, Any]) -> QuadMesh:
    first, second = fields.axes
    if np.isclose(np.ptp(first), np.ptp(second)):
        axes.set_box_aspect(1)
    image = axes.pcolormesh(first, second, values.T, shading="nearest", rasterized=True, **scale)
    tidy(axes)
    axes.set_xlabel(fields.names[0], fontsize=LABELS)
    axes.set_ylabel(fields.names[1], fontsize=LABELS)
    _add_bar(axes, image)
    return image


def _add_bar(axes: Axes, image: Any) -> None:
    bar = axes.figure.colorbar(image, ax=axes, format=lambda value, _: short_number(value))
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
