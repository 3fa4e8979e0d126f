"""Predictions on the test points, drawn by the figures that a task names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure

from kan_exp.plots.labels import shorten
from kan_exp.plots.style import DPI, LEARNED, TRUE, new_figure, place_labels, tidy

MAX_POINTS = 2000
LABELS = 10  # points
WIDEST = 2.3, 1.75  # inches: of the name below and at the left
MARGINS = {"left": 0.1, "right": 0.965, "bottom": 0.17, "top": 0.885, "wspace": 0.3}


def prediction_figure(truth: np.ndarray, predicted: np.ndarray, name: str, caption: str) -> Figure:
    """Draws predictions `(n, out)` against the truth `(n, out)`, and their errors.

    Args:
        truth: In the user's units.
        predicted: Of the network at the same points.
        name: Of the target.
        caption: A short result for the title, such as the error.
    """
    truth, predicted = truth[:MAX_POINTS].ravel(), predicted[:MAX_POINTS].ravel()
    figure = new_figure(7.6, 3.7, layout=None)
    left, right = figure.subplots(1, 2, gridspec_kw=MARGINS)
    for axes in (left, right):
        tidy(axes)
    dots = {"s": 8, "alpha": 0.5, "color": LEARNED, "linewidths": 0}
    both = np.concatenate([truth, predicted])
    ends = [float(both.min()), float(both.max())]
    left.plot(ends, ends, color=TRUE, linewidth=1.0)
    left.scatter(truth, predicted, **dots)
    below, upright = (shorten(name, width * DPI, LABELS) for width in WIDEST)
    left.set(xlabel=f"{below}, true", ylabel=f"{upright}, predicted")
    right.axhline(0, color=TRUE, linewidth=1.0)
    right.scatter(truth, predicted - truth, **dots)
    right.set(xlabel=f"{below}, true", ylabel="predicted - true")
    for axes in (left, right):
        axes.xaxis.label.set_fontsize(LABELS)
        axes.yaxis.label.set_fontsize(LABELS)
        place_labels(axes)
    figure.suptitle(f"Test points: {caption}", fontsize=11, y=0.99)
    return figure


# The figures that `Task.figures` can name, which take the same arguments.
TASK_FIGURES: Mapping[str, Callable[[np.ndarray, np.ndarray, str, str], Figure]] = {
    "prediction": prediction_figure
}
