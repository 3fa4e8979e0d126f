"""What a search tried, what mattered, and which values went with which error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kan_exp.plots.labels import shorten, shorten_all, wrap
from kan_exp.plots.style import (
    DATA,
    DPI,
    GRID,
    LEARNED,
    TICKS,
    TRUE,
    log_scale,
    new_figure,
    short_number,
    tidy,
)

GOOD_TO_BAD = LinearSegmentedColormap.from_list("search", [LEARNED, "#d7e3f1"])
# Widths of texts, in pixels, and sizes of fonts, in points.
WIDEST_METRIC, WIDEST_OPTION, WIDEST_VALUE = 2.6 * DPI, 1.8 * DPI, 1.1 * DPI
AXIS_WIDTH = 1.55 * DPI  # of the parallel coordinates
METRIC, LABELS, OPTIONS, VALUES = 10.0, 8.0, 8.5, 7.5
MAX_DIGITS = 17  # of a number in double precision
MAX_WORDS = 20  # values of one option that are written out


@dataclass(frozen=True)
class Axis:
    """One option of a search, with its value in every trial.

    Args:
        name: The option.
        values: A number, a word, or nothing where the trial did not have the option.
        log: Whether numbers lie on a log scale.
    """

    name: str
    values: Sequence[float | str | None]
    log: bool = False


def search_history_figure(
    errors: Sequence[float | None], pruned: Sequence[bool], name: str
) -> Figure:
    """Draws the error of every trial in their order, and the best so far.

    Args:
        errors: Of each trial; nothing where it failed.
        pruned: Which were ended early; their errors are those of that moment.
        name: What is drawn, with its unit if it has one.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    tidy(axes)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    numbers = np.arange(len(errors))
    values = np.array([math.nan if one is None else one for one in errors])
    cut = np.array(pruned, dtype=bool)
    whole = np.isfinite(values) & ~cut
    axes.scatter(numbers[whole], values[whole], s=18, color=LEARNED, linewidths=0, label="trial")
    if cut.any():
        axes.scatter(
            numbers[cut], values[cut], s=20, color=DATA, marker="x", linewidths=1, label="pruned"
        )
    if whole.any():
        so_far = np.fmin.accumulate(np.where(whole, values, np.nan))
        axes.step(numbers, so_far, where="post", color=TRUE, linewidth=1.6, label="best so far")
        log_scale(axes, "y", values)
    failed = np.flatnonzero([one is None for one in errors])
    if len(failed):
        below = axes.get_xaxis_transform()
        axes.scatter(
            failed, np.full(len(failed), 0.02), marker="|", s=40, color=TRUE, transform=below,
            label="failed", clip_on=False,
        )  # fmt: skip
    name = shorten(name, WIDEST_METRIC, METRIC)
    axes.yaxis.label.set_fontsize(METRIC)
    axes.set(xlabel="trial", ylabel=name, title=f"{len(errors)} trials")
    axes.set_xlim(-0.5, max(len(errors), 1) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(TICKS, integer=True))
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    return figure


def importance_figure(shares: Mapping[str, float], trials: int) -> Figure:
    """Draws how much each option decided, the most on top.

    Args:
        shares: Of each option; they sum to 1.
        trials: From how many trials they come.
    """
    ranked = sorted(shares.items(), key=lambda item: item[1])
    figure = new_figure(6.4, 1.3 + 0.32 * max(len(ranked), 1))
    axes = figure.subplots()
    tidy(axes)
    places = range(len(ranked))
    bars = axes.barh(places, [share for _, share in ranked], color=LEARNED, height=0.62)
    names = [name for name, _ in ranked]
    short = dict(zip(names, shorten_all(names, 2 * WIDEST_OPTION, LABELS), strict=True))
    axes.set_yticks(places, [wrap(short[name], WIDEST_OPTION, LABELS, lines=2) for name in names])
    axes.bar_label(bars, [f"{share:.2f}" for _, share in ranked], padding=3, fontsize=8)
    axes.set_xlim(0, max([share for _, share in ranked], default=1.0) * 1.12)
    axes.set(xlabel="share in what sets the best tenth of the trials apart")
    axes.set_title(f"Importance of the options, from {trials} whole trials", fontsize=10)
    return figure


def parallel_figure(axes: Sequence[Axis], errors: Sequence[float | None], name: str) -> Figure:
    """Draws every trial as a line through the values it had, the darker the better.

    Args:
        axes: The options, from left to right.
        errors: Of each trial; those without are left out.
        name: What the errors are.
    """
    every = [*axes, Axis(name, errors, log=True)]
    figure = new_figure(max(6.4, 1.55 * len(every)), 4.6)
    place = figure.subplots()
    place.set(xlim=(-0.35, len(every) - 0.65), ylim=(-0.14, 1.02))
    place.axis("off")
    shown = [k for k, error in enumerate(errors) if error is not None and math.isfinite(error)]
    title = f"{len(shown)} whole trials: the darker the better, the best in orange"
    figure.suptitle(title, fontsize=10)  # above the axes' names
    heights = np.array([_draw_axis(place, k, axis, shown) for k, axis in enumerate(every)])
    if not shown:
        return figure
    # The best last, on top of the others.
    order = sorted(range(len(shown)), key=lambda k: -float(errors[shown[k]] or 0.0))
    values = np.array([float(errors[shown[k]] or 0.0) for k in order])
    norm = LogNorm if values.min() > 0 else Normalize
    scale = norm(values.min(), float(np.quantile(values, 0.9)), clip=True)
    lines = [np.column_stack([np.arange(len(every)), heights[:, k]]) for k in order]
    colours = GOOD_TO_BAD(scale(values))
    place.add_collection(LineCollection(lines, colors=colours, linewidths=1.1, zorder=2))
    place.plot(*lines[-1].T, color=TRUE, linewidth=2.0, zorder=3)
    return figure


def _draw_axis(place: Axes, x: int, axis: Axis, shown: Sequence[int]) -> list[float]:
    """Draws one vertical axis with its labels; gives the height of each trial that is shown."""
    values = [axis.values[k] for k in shown]
    place.plot([x, x], [0, 1], color=DATA, linewidth=0.9, zorder=1)
    label = wrap(axis.name, 0.9 * AXIS_WIDTH, OPTIONS, lines=3)
    place.text(x, 1.03, label, ha="center", va="bottom", fontsize=OPTIONS)
    heights, ticks = _heights(values, axis.log)
    for height, text in ticks:
        place.plot([x - 0.02, x], [height, height], color=DATA, linewidth=0.9, zorder=1)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.75}
        place.text(
            x - 0.04, height, text, ha="right", va="center", fontsize=VALUES, bbox=box, zorder=4
        )
    if None in values:
        place.text(
            x - 0.04, -0.1, "none", ha="right", va="center", fontsize=VALUES, color="#66707c"
        )
    return heights


def _heights(
    values: Sequence[float | str | None], log: bool
) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each value lies between 0 and 1, missing ones below; and the axis's ticks."""
    missing = -0.1
    found = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in found):
        words = sorted({str(value) for value in found}, key=_word_order)
        level = {word: (k + 0.5) / len(words) for k, word in enumerate(words)}
        heights = [missing if value is None else level[str(value)] for value in values]
        written = words[:: -(-len(words) // MAX_WORDS)]
        texts = shorten_all(written, WIDEST_VALUE, VALUES)
        return heights, [(level[word], text) for word, text in zip(written, texts, strict=True)]
    numbers = np.array([math.nan if value is None else float(value) for value in values])
    if len(found) == 0:
        return [missing] * len(values), []
    log = log and bool(np.nanmin(numbers) > 0)
    scaled = np.log(numbers) if log else numbers
    low, high = float(np.nanmin(scaled)), float(np.nanmax(scaled))
    if low == high:
        text = short_number(float(found[0]))  # the first trial may not have the option
        return [missing if value is None else 0.5 for value in values], [(0.5, text)]
    marks = np.linspace(low, high, 5)
    if log:
        decades = np.arange(math.ceil(low / math.log(10)), high / math.log(10)) * math.log(10)
        if len(decades) > 1:
            marks = decades[:: -(-len(decades) // MAX_WORDS)]
    texts = _told_apart((np.exp(marks) if log else marks).tolist())
    relative = (scaled - low) / (high - low)
    heights = np.where(np.isnan(relative), missing, relative).tolist()
    return heights, list(zip(((marks - low) / (high - low)).tolist(), texts, strict=True))


def _told_apart(numbers: Sequence[float]) -> list[str]:
    """Numbers in two digits, or in as many as tell them apart."""
    for digits in range(2, MAX_DIGITS):
        rounded = [float(f"{number:.{digits}g}") for number in numbers]
        texts = [short_number(n) if digits == 2 else f"{n:.{digits}g}" for n in rounded]
        if len(set(texts)) == len(texts):
            break
    return texts


def _word_order(word: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words."""
    try:
        return False, float(word), word
    except ValueError:
        return True, 0.0, word
