"""The loss over the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kan_exp.plots.style import DATA, LEARNED, TRUE, log_scale, new_figure, place_labels, tidy

MARGINS = {"left": 0.13, "right": 0.96, "bottom": 0.16, "top": 0.92}


def history_figure(
    train: Sequence[tuple[int, float]], val: Sequence[tuple[int, float]], best_step: int | None
) -> Figure:
    """Draws pairs of step and loss on a log scale, and marks the step of the best network."""
    figure = new_figure(6, 3.6, layout=None)
    axes = figure.subplots(gridspec_kw=MARGINS)
    tidy(axes, grid=True)
    if train:
        axes.plot(*zip(*train, strict=True), color=DATA, linewidth=1.2, label="training")
    if val:
        (line,) = axes.plot(*zip(*val, strict=True), color=LEARNED, linewidth=1.8)
        line.set(marker="o", markersize=3.5, label="validation")
    losses = np.array([loss for _, loss in [*train, *val]])
    log_scale(axes, "y", losses[losses > 0])
    if best_step is not None:
        axes.axvline(best_step, color=TRUE, linewidth=1.0, label=f"best, step {best_step:,}")
    axes.set(xlabel="step", ylabel="loss")
    axes.set_title("Loss", y=1.02)
    place_labels(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
    return figure
