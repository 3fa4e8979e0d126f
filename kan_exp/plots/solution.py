"""The solution of a differential equation over its domain, with residual and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.plots.labels import shorten
from kan_exp.plots.style import (
    DPI,
    LEARNED,
    TRUE,
    log_scale,
    log_ticks,
    new_figure,
    plain_formatter,
    tidy,
)

Array = NDArray[np.float64]
WIDTH, HEIGHT, HEAD = 3.5, 2.9, 0.35  # inches: of a panel, and of the title above
LABELS, CAPTION = 10, 11  # points
ACROSS, UP = 2.6, 2.2  # inches of names below and above a panel, and beside it
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
    caption = ", ".join(part for part in (caption, fields.where) if part)
    figure.suptitle(shorten(caption, (columns * WIDTH - HEAD) * DPI, CAPTION), fontsize=CAPTION)
    panels = figure.subplots(count, columns, squeeze=False)
    is_curve = len(fields.axes) == 1
    for k, row in enumerate(panels):
        name = fields.outputs[k]
        if is_curve:
            _draw_curves(row[0], fields, k)
        else:
            draw_map(row[0], fields, fields.solution[k], limits(fields.solution[k]))
        name_panel(row[0], name)
        if fields.exact is not None:
            _draw_size(row[1], fields, np.abs(fields.solution[k] - fields.exact[k]))
        elif fields.table is not None:
            _draw_points(row[1], fields, k)
        if compares:
            name_panel(row[1], f"error of {name}")
        if k == 0:
            _draw_size(row[-1], fields, fields.residual)
            name_panel(row[-1], "residual")
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
    name_axes(axes, fields.names)


def name_panel(axes: Axes, name: str) -> None:
    """Writes a name above a panel."""
    axes.set_title(shorten(name, ACROSS * DPI, LABELS), fontsize=LABELS)


def name_axes(axes: Axes, names: Sequence[str]) -> None:
    """Writes the names of one or two inputs below a panel, and beside it."""
    axes.set_xlabel(shorten(names[0], ACROSS * DPI, LABELS), fontsize=LABELS)
    if len(names) > 1:
        axes.set_ylabel(shorten(names[1], UP * DPI, LABELS), fontsize=LABELS)


def limits(*values: Array) -> tuple[float, float]:
    """Least and largest of values, of which some are NaN."""
    return min(map(np.nanmin, values)), max(map(np.nanmax, values))


def draw_map(axes: Axes, fields: Fields, values: Array, ends: tuple[float, float]) -> QuadMesh:
    """Draws values `(n, m)`, in two hues around 0 unless they vary little around another value."""
    low, high = ends
    largest = max(abs(low), abs(high)) or 1.0
    if high - low >= largest:
        return _draw_map(
            axes, fields, values, {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        )
    middle, half = (low + high) / 2, max((high - low) / 2, 1e-6 * largest)
    scale = {"cmap": "viridis", "vmin": middle - half, "vmax": middle + half}
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
    name_axes(axes, fields.names)


def _draw_points(axes: Axes, fields: Fields, place: int) -> None:
    """Draws the errors at the points of a table."""
    assert fields.table is not None
    points, _, errors = fields.table
    sizes, scale = _on_log_scale(errors[place])
    tidy(axes)
    name_axes(axes, fields.names)
    if len(fields.axes) == 1:
        axes.plot(points[0], sizes, ".", color=LEARNED, markersize=3)
        log_scale(axes, "y", sizes)
        return
    area = float(np.clip(30_000 / len(sizes), 2, 30))
    image = axes.scatter(
        points[0], points[1], c=sizes, s=area, marker="s", norm=scale, linewidths=0
    )
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
    name_axes(axes, fields.names)
    _add_bar(axes, image)
    return image


def _add_bar(axes: Axes, image: Any) -> None:
    bar = axes.figure.colorbar(image, ax=axes, format=plain_formatter())
    least, largest = image.get_clim()
    if isinstance(image.norm, LogNorm):
        log_ticks(bar.ax.yaxis, largest / least)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.yaxis.get_offset_text().set_fontsize(8)
    bar.outline.set_visible(False)
