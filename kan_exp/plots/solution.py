"""The solution of a differential equation over its domain, with residual and error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.plots.style import LEARNED, TRUE, log_scale, new_figure, short_number, tidy

Array = NDArray[np.float64]
WIDTH, HEIGHT, HEAD = 3.5, 2.9, 0.35  # inches: of a panel, and of the title above
LABELS = 10  # points
DECADES = 6  # of a logarithmic scale, at most
MAX_OUTPUTS = 4


@dataclass(frozen=True)
class Fields:
    """Values on a grid over one or two inputs."""

    names: tuple[str, ...]  # of these inputs
    axes: tuple[Array, ...]  # their values, each `(n,)`
    outputs: tuple[str, ...]  # names of the unknown functions
    solution: Array  # `(outputs, n)` or `(outputs, n, m)`; NaN outside the domain
    residual: Array  # largest size of the residuals of the equations, `(n,)` or `(n, m)`
    exact: Array | None = None  # as `solution`; None if it is not known
    where: str = ""  # what the other inputs are, in words; empty if there are none


def solution_figure(fields: Fields, caption: str) -> Figure:
    """Draws each unknown function, its error where the exact solution is known, and the residual.

    Args:
        fields: What is drawn.
        caption: A short result for the title.
    """
    count = min(MAX_OUTPUTS, len(fields.outputs))
    columns = 2 if fields.exact is None else 3
    figure = new_figure(columns * WIDTH, count * HEIGHT + HEAD)
    figure.suptitle(", ".join(part for part in (caption, fields.where) if part), fontsize=11)
    panels = figure.subplots(count, columns, squeeze=False)
    draw = _draw_curve if len(fields.axes) == 1 else _draw_map
    for k, row in enumerate(panels):
        draw(row[0], fields, fields.solution[k], fields.outputs[k], fields.exact, k)
        if fields.exact is not None:
            error = np.abs(fields.solution[k] - fields.exact[k])
            draw(row[1], fields, error, f"error of {fields.outputs[k]}", None, None)
        if k == 0:
            draw(row[-1], fields, fields.residual, "residual", None, None)
        else:
            row[-1].set_axis_off()
    return figure


def _draw_curve(
    axes: Axes, fields: Fields, values: Array, title: str, exact: Array | None, place: int | None
) -> None:
    tidy(axes)
    if exact is not None and place is not None:
        axes.plot(fields.axes[0], exact[place], color=TRUE, linewidth=2.5, label="exact")
    axes.plot(fields.axes[0], values, color=LEARNED, linewidth=1.2, label="found")
    if exact is not None:
        axes.legend(fontsize=8, frameon=False)
    if place is None:
        log_scale(axes, "y", values[values > 0])
    axes.set_title(title, fontsize=LABELS)
    axes.set_xlabel(fields.names[0], fontsize=LABELS)


def _draw_map(
    axes: Axes, fields: Fields, values: Array, title: str, exact: Array | None, place: int | None
) -> None:
    scale: dict[str, object] = {"cmap": "RdBu_r"}
    known = values[np.isfinite(values)]
    if place is None:
        largest = max(float(known.max(initial=0.0)), np.finfo(float).tiny)
        least = max(float(known[known > 0].min(initial=largest)), largest * 10.0**-DECADES)
        scale = {"cmap": "viridis", "norm": LogNorm(least / 1.01, largest)}
        values = np.maximum(values, least)
    else:
        largest = float(np.abs(known).max(initial=0.0)) or 1.0
        scale |= {"vmin": -largest, "vmax": largest}
    first, second = fields.axes
    image = axes.pcolormesh(first, second, values.T, shading="nearest", rasterized=True, **scale)  # type: ignore[arg-type]
    bar = axes.figure.colorbar(image, ax=axes, format=lambda value, _: short_number(value))
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
    tidy(axes)
    axes.set_title(title, fontsize=LABELS)
    axes.set_xlabel(fields.names[0], fontsize=LABELS)
    axes.set_ylabel(fields.names[1], fontsize=LABELS)
