"""Predicted probabilities of classes on the test points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from kan_exp.plots.labels import shorten, shorten_all, text_width
from kan_exp.plots.style import DATA, DPI, GRID, LEARNED, TRUE, new_figure, tidy

LABELS = 8  # points
CELL = 0.42  # inches, of a class in the confusion matrix
FEWEST, MOST = 3.0, 9.0  # inches, of its side
MAX_COUNTED = 25  # classes whose counts can be read
MAX_NAMED = 40  # classes whose names can be read
WIDEST = 1.6  # inches, of the name of a class
SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", LEARNED])
MAX_CURVES = 10  # of classes, named and in a color each
COLORS = (
    *(LEARNED, TRUE, "#2a8a57", "#c03a2b", "#7d57a8", "#8a6d3b", "#d277ae", "#6b7785"),
    *("#a8a02a", "#2fa3b3"),
)
BINS, POINTS = 10, 10  # of probabilities: most bins, and the least number of points in one
LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (0, 1),
    "borderaxespad": 0,
    "frameon": False,
    "fontsize": LABELS,
    "title_fontsize": LABELS,
    "alignment": "left",
}


def confusion_figure(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], caption: str
) -> Figure:
    """Draws how often each class was taken for each.

    Args:
        truth: Indices of classes, `(n, 1)`.
        predicted: Probabilities of classes, `(n, K)`.
        names: Of the classes.
        caption: A short result for the title, such as the accuracy.
    """
    count = len(names)
    counts = np.zeros((count, count))
    np.add.at(counts, (truth[:, 0].astype(int), predicted.argmax(1)), 1)
    side = float(np.clip(CELL * count, FEWEST, MOST))
    legible = count <= MAX_NAMED
    shown = shorten_all(names, WIDEST * DPI, LABELS) if legible else []
    widest = max((text_width(name, LABELS) / DPI for name in shown), default=0.0)
    # Names below stand upright where one of them is wider than its column.
    upright = widest > 0.92 * side / count
    left, below = widest + 0.55, (widest if upright else 0.15) + 0.55
    width, height = left + side + 0.95, below + side + 0.45
    figure = new_figure(max(width, 4.6), height, layout=None)
    width = figure.get_figwidth()
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    total = counts.sum(1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    image = axes.imshow(shares, cmap=SHARES, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(count) if legible else [], shown, rotation=90 if upright else 0)
    axes.set_yticks(range(count) if legible else [], shown)
    axes.tick_params(labelsize=LABELS, length=0)
    axes.spines[:].set_color(GRID)
    if count <= MAX_COUNTED:
        for i, j in np.argwhere(counts > 0):
            color = "white" if shares[i, j] > 0.55 else "black"
            text = f"{counts[i, j]:.0f}" if counts[i, j] < 1e4 else f"{counts[i, j]:.0e}"
            axes.text(j, i, text, ha="center", va="center", fontsize=LABELS, color=color)
    right = (left + side + 0.15) / width
    bar = figure.add_axes((right, below / height, 0.12 / width, side / height))
    figure.colorbar(image, cax=bar, format=PercentFormatter(1.0)).outline.set_visible(False)
    bar.tick_params(labelsize=LABELS, length=2)
    bar.set_ylabel("of the true class", fontsize=LABELS)
    x, y = (left + side / 2) / width, (below + side / 2) / height
    figure.supxlabel("predicted class", x=x, y=0.1 / height, fontsize=10)
    figure.supylabel("true class", x=0.12 / width, y=y, fontsize=10)
    _title(figure, caption)
    return figure


def roc_figure(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], caption: str
) -> Figure:
    """Draws each class's ROC curve against all others; of two classes, that of the second.

    Arguments as those of `confusion_figure`.
    """
    figure, axes, side = _square(caption)
    axes.plot([0, 1], [0, 1], color=DATA, linewidth=1.0, linestyle="--")
    curves = {}
    for k in range(int(len(names) == 2), len(names)):
        own = truth[:, 0] == k
        if own.any() and not own.all():
            curves[k] = roc(own, predicted[:, k])
    areas = {k: float(np.trapezoid(y, x)) for k, (x, y) in curves.items()}
    # The worst are named where there are too many.
    named = sorted(sorted(areas, key=lambda k: areas[k])[:MAX_CURVES])
    for k in curves.keys() - {*named}:
        axes.plot(*curves[k], color=DATA, linewidth=0.8)
    shown = shorten_all([names[k] for k in named], 1.25 * DPI, LABELS)
    for color, k, name in zip(COLORS, named, shown, strict=False):
        axes.plot(*curves[k], color=color, linewidth=1.5, label=f"{name}  {areas[k]:.3f}")
    axes.set_xlabel("false positive rate", fontsize=10)
    axes.set_ylabel("true positive rate", fontsize=10)
    if named:
        rest = len(curves) - len(named)
        heading = "area under the curve" if not rest else f"area, the lowest of {len(curves)}"
        side.legend(*axes.get_legend_handles_labels(), title=heading, **LEGEND)
    return figure


def calibration_figure(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], caption: str
) -> Figure:
    """Draws how often events of a predicted probability come true.

    The event is the second of two classes, or that the most probable of several is the true one.
    Bars are standard errors. Arguments as those of `confusion_figure`.
    """
    binary = len(names) == 2
    chance = predicted[:, 1] if binary else predicted.max(1)
    event = truth[:, 0] == (1 if binary else predicted.argmax(1))
    figure, axes, side = _square(caption)
    axes.plot([0, 1], [0, 1], color=TRUE, linewidth=1.0, label="perfect")
    size: dict[str, Any] = {"markersize": 4, "linewidth": 1.4, "elinewidth": 0.9, "capsize": 2}
    points = calibration(chance, event)
    axes.errorbar(*points, color=LEARNED, marker="o", label="network", **size)
    counts, edges = np.histogram(chance, BINS, (0, 1))
    bars = axes.bar(edges[:-1], 0.22 * counts / counts.max(), 1 / BINS, align="edge", color=DATA)
    bars.set_label("test points")
    for bar in bars:
        bar.set(alpha=0.4, zorder=0)
    what = shorten(names[1], WIDEST * DPI, 10) if binary else "the predicted class"
    axes.set_xlabel(f"probability of {what}", fontsize=10)
    axes.set_ylabel("share that is true", fontsize=10)
    side.legend(*axes.get_legend_handles_labels(), **LEGEND)
    return figure


def calibration(
    chance: NDArray[np.float64], event: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability, share of events and its standard error, in bins of about equal counts."""
    bins = int(np.clip(len(chance) // POINTS, 2, BINS))
    edges = np.quantile(chance, np.arange(1, bins) / bins)
    place = np.searchsorted(edges, chance)
    counts, events = np.bincount(place), np.bincount(place, event)
    full = counts > 0
    counts, events = counts[full], events[full]
    # One more point of each kind, so that a bin in which all agree is not certain.
    smooth = (events + 1) / (counts + 2)
    error = np.sqrt(smooth * (1 - smooth) / counts)
    return np.bincount(place, chance)[full] / counts, events / counts, error


def roc(
    own: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rates of false and of true positives for every threshold, from none to all."""
    order = np.argsort(-scores, kind="stable")
    # Points of equal scores are on the same side of every threshold.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits, misses = np.cumsum(own[order])[ends], np.cumsum(~own[order])[ends]
    return np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])


def _square(caption: str) -> tuple[Figure, Axes, Axes]:
    """A figure, its axes from 0 to 1, and empty axes on their right for a legend."""
    figure = new_figure(6.4, 4.3, layout=None)
    axes = figure.add_axes((0.55 / 6.4, 0.55 / 4.3, 3.3 / 6.4, 3.3 / 4.3))
    side = figure.add_axes((4.05 / 6.4, 0.55 / 4.3, 2.3 / 6.4, 3.3 / 4.3))
    side.set_axis_off()
    tidy(axes, grid=True)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    _title(figure, caption)
    return figure, axes, side


def _title(figure: Figure, caption: str) -> None:
    width, height = figure.get_size_inches()
    text = shorten(f"Test points: {caption}", (width - 0.3) * DPI, 11)
    figure.text(0.5, 1 - 0.12 / height, text, ha="center", va="top", fontsize=11)
