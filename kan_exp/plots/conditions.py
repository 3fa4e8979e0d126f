"""How well each relation of a differential equation is met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.plots.labels import shorten_all
from kan_exp.plots.style import DPI, GRID, LEARNED, TRUE, log_scale, new_figure, tidy

WIDTH, ROW, HEAD = 7.5, 0.34, 1.15  # inches
ACROSS = 2.5  # inches of a name
LABELS = 10  # points
MOST = 16  # relations
SPREAD = (0.05, 1)  # quantiles of sizes at the ends of a bar
LEAST = 1e-18  # a size that is drawn in the place of zero


def conditions_figure(
    names: Sequence[str],
    sizes: Sequence[NDArray[np.float64]],
    relative: Sequence[float],
    met: float,
) -> Figure:
    """Draws the sizes of the residuals of each relation, and says whether it is met.

    Args:
        names: Of the relations.
        sizes: Of the residuals of each at many points, `(n,)`.
        relative: The residual of each divided by the size of its terms.
        met: The largest such share with which a relation counts as met.
    """
    count = min(MOST, len(names))
    figure = new_figure(WIDTH, HEAD + ROW * count)
    axes = figure.subplots()
    ends = np.array([np.quantile(np.maximum(one, LEAST), SPREAD) for one in sizes[:count]])
    tidy(axes)
    log_scale(axes, "x", ends)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for row, (low, high) in enumerate(ends):
        color = LEARNED if relative[row] <= met else TRUE
        middle = max(float(np.sqrt(np.square(sizes[row]).mean())), LEAST)
        axes.plot([low, high], [row, row], color=color, linewidth=5, alpha=0.3)
        axes.plot([middle], [row], "o", color=color, markersize=6)
        axes.annotate(
            f"{'met' if relative[row] <= met else 'not met'} ({relative[row]:.1e})",
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=LABELS - 1,
            color=color,
        )
    shown = shorten_all(names[:count], ACROSS * DPI, LABELS)
    axes.set_yticks(range(count), shown, fontsize=LABELS)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlabel("size of the residual: dot RMS, bar to the largest", fontsize=LABELS)
    figure.suptitle(
        f"residuals; relative to the size of the terms in brackets, met up to {met:g}",
        fontsize=LABELS,
    )
    return figure
