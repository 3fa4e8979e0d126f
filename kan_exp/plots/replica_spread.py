"""The spread of the replicas of a stacked run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.plots.style import DATA, LEARNED, TRUE, log_scale, new_figure, tidy

Losses = Sequence[tuple[int, NDArray[np.float64]]]


def replicas_figure(
    train: Losses,
    val: Losses,
    errors: NDArray[np.float64],
    diverged: NDArray[np.bool_],
    kept: int,
    seed: int,
    error: str,
) -> Figure:
    """Draws the replicas' losses as bands over the steps, and next to them their final errors.

    Args:
        train: Pairs of step and each replica's training loss; NaN if it has diverged.
        val: The same for the validation loss.
        errors: Test error of each replica, `(replicas,)`.
        diverged: Whether each replica diverged, `(replicas,)`.
        kept: The replica that is the run's network.
        seed: Of the first replica.
        error: Name of the errors.
    """
    figure = new_figure(8.4, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
    for axes in (left, right):
        tidy(axes, grid=True)
    _draw_band(left, train, DATA, "training")
    _draw_band(left, val, LEARNED, "validation")
    left.set(xlabel="step", ylabel="loss")
    left.set_title(f"Loss of {len(errors)} replicas: median, quartiles, range", fontsize=10)
    _draw_errors(right, errors, diverged, kept, seed)
    right.set(xlabel="seed", ylabel=error)
    for axes, values in ((left, [v for _, v in [*train, *val]]), (right, [errors])):
        log_scale(axes, "y", np.concatenate([*values, []]))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(  # below, where no point can lie
                fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3
            )
    return figure


def _draw_band(axes: Axes, losses: Losses, color: str, label: str) -> None:
    finite = [(step, values[np.isfinite(values)]) for step, values in losses]
    finite = [(step, values) for step, values in finite if len(values)]
    if not finite:
        return
    steps = [step for step, _ in finite]
    low, first, middle, third, high = np.array(
        [np.quantile(values, [0, 0.25, 0.5, 0.75, 1]) for _, values in finite]
    ).T
    axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axes.fill_between(steps, first, third, color=color, alpha=0.35, linewidth=0)
    axes.plot(steps, middle, color=color, linewidth=1.6, label=label)


def _draw_errors(
    axes: Axes, errors: NDArray[np.float64], diverged: NDArray[np.bool_], kept: int, seed: int
) -> None:
    """Draws every replica as a point, from left to right by their seeds."""
    place = np.linspace(-1, 1, len(errors)) if len(errors) > 1 else np.zeros(1)
    fine = ~diverged
    axes.scatter(place[fine], errors[fine], s=14, color=LEARNED, alpha=0.6, linewidths=0)
    if diverged.any():
        crosses = axes.scatter(place[diverged], errors[diverged], s=18, color=DATA, marker="x")
        crosses.set_label("diverged")
    if fine.any():
        middle = float(np.median(errors[fine]))
        axes.axhline(middle, color=LEARNED, linewidth=1.0, label=f"median {middle:.3g}")
    ring = axes.scatter(place[kept], errors[kept], s=60, facecolors="none", edgecolors=TRUE)
    ring.set(linewidths=1.6, zorder=4, label=f"seed {seed + kept}, kept")
    ends = [0, len(errors) - 1][: len(errors)]
    axes.set_xlim(-1.15, 1.15)
    axes.set_xticks(place[ends], [str(seed + replica) for replica in ends])
    axes.set_title("Final errors", fontsize=10)
