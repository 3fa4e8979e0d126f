"""Predictions of numbers on the test points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kan_exp.plots.labels import shorten
from kan_exp.plots.style import DPI, LEARNED, TRUE, new_figure, place_labels, tidy

MAX_POINTS = 2000
MAX_OUTPUTS = 6
LABELS = 10  # points
WIDEST = 2.3, 1.75  # inches: of the name below and at the left
WIDTH, HEIGHT, HEAD = 7.6, 3.3, 0.4  # inches: of the figure, a row, and the title above them
MARGINS = {"left": 0.1, "right": 0.965, "wspace": 0.3}
FOOT, GAP = 0.63, 0.72  # inches: below the last row, and between rows
DOTS: dict[str, Any] = {"s": 8, "alpha": 0.5, "color": LEARNED, "linewidths": 0}


def prediction_figure(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], caption: str
) -> Figure:
    """Draws predictions `(n, out)` against the truth `(n, out)`, and their errors, by output.

    Args:
        truth: In the user's units.
        predicted: Of the network at the same points.
        names: Of the outputs.
        caption: A short result for the title, such as the error.
    """
    figure, panels = _new_figure(min(MAX_OUTPUTS, len(names)), caption, len(names), MAX_OUTPUTS)
    for k, (left, right) in enumerate(panels):
        _draw_output(left, right, truth[:MAX_POINTS, k], predicted[:MAX_POINTS, k], names[k])
    return figure


def quantiles_figure(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], caption: str
) -> Figure:
    """Draws the truth `(n, 1)` against each predicted quantile `(n, quantiles)`.

    The share of the points on or below the diagonal should be the quantile. Arguments as those of
    `prediction_figure`.
    """
    count = min(2 * MAX_OUTPUTS, len(names))
    figure, panels = _new_figure(-(-count // 2), caption, len(names), 2 * MAX_OUTPUTS)
    for k, axes in enumerate(panels.flat[:count]):
        x, y = predicted[:, k], truth[:, 0]
        _draw_diagonal(axes, x, y)
        axes.scatter(x[:MAX_POINTS], y[:MAX_POINTS], **DOTS)
        share = f"{100 * np.mean(y <= x):.0f}% at or below"
        _name(axes, f"{shorten(names[k], 1.3 * DPI, LABELS)}, {share}", "true")
    for axes in panels.flat[count:]:
        axes.set_axis_off()
    return figure


def _new_figure(rows: int, caption: str, outputs: int, most: int) -> tuple[Figure, np.ndarray]:
    """A figure and its panels `(rows, 2)`, which have the same size in any number of rows."""
    height = rows * HEIGHT + HEAD
    figure = new_figure(WIDTH, height, layout=None)
    cut = f" (the first {most} of {outputs} outputs)" if outputs > most else ""
    figure.suptitle(f"Test points: {caption}{cut}", fontsize=11, y=1 - 0.037 / height)
    top, bottom = 1 - (HEAD + 0.03) / height, FOOT / height
    panel = ((top - bottom) * height - (rows - 1) * GAP) / rows
    margins = {**MARGINS, "top": top, "bottom": bottom, "hspace": GAP / panel}
    return figure, figure.subplots(rows, 2, squeeze=False, gridspec_kw=margins)


def _draw_output(
    left: Axes, right: Axes, truth: np.ndarray, predicted: np.ndarray, name: str
) -> None:
    _draw_diagonal(left, truth, predicted)
    left.scatter(truth, predicted, **DOTS)
    below, upright = (shorten(name, width * DPI, LABELS) for width in WIDEST)
    tidy(right)
    right.axhline(0, color=TRUE, linewidth=1.0)
    right.scatter(truth, predicted - truth, **DOTS)
    _name(left, f"{below}, true", f"{upright}, predicted")
    _name(right, f"{below}, true", "predicted - true")


def _draw_diagonal(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    tidy(axes)
    both = np.concatenate([x, y])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color=TRUE, linewidth=1.0)


def _name(axes: Axes, below: str, upright: str) -> None:
    axes.set_xlabel(below, fontsize=LABELS)
    axes.set_ylabel(upright, fontsize=LABELS)
    place_labels(axes)
