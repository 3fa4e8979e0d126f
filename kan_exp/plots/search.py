"""Figures of a search: all trials, importance of the options, values and errors of each trial.

Optuna's own figures leave out pruned and failed trials, draw errors on a linear scale and let long
names overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
AXIS_WIDTH = 1.55  # inches, in the parallel coordinates
METRIC, LABELS, OPTIONS, VALUES = 10.0, 8.0, 8.5, 7.5
MAX_DIGITS = 17  # of a number in double precision
MAX_TICKS = 20  # labels of one axis of the parallel coordinates
MISSING = -0.1  # height of a trial without the option


@dataclass(frozen=True)
class Axis:
    """One option of a search, with its value in every trial; None if a trial has no such option."""

    name: str
    values: Sequence[float | str | None]
    log: bool = False  # scale of numbers


def search_history_figure(
    errors: Sequence[float | None], pruned: Sequence[bool], name: str
) -> Figure:
    """Draws the error `name` of every trial, None if it failed, and the best so far."""
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    tidy(axes, grid=True)
    numbers = np.arange(len(errors))
    values = np.array([math.nan if error is None else error for error in errors])
    cut = np.array(pruned, dtype=bool)
    whole = np.isfinite(values) & ~cut
    axes.scatter(numbers[whole], values[whole], s=18, color=LEARNED, linewidths=0, label="trial")
    if cut.any():
        axes.scatter(numbers[cut], values[cut], s=20, marker="x", color=DATA, label="pruned")
    if whole.any():
        best = np.fmin.accumulate(np.where(whole, values, np.nan))
        axes.step(numbers, best, where="post", color=TRUE, linewidth=1.6, label="best so far")
        log_scale(axes, "y", values)
    failed = np.flatnonzero([error is None for error in errors])
    if len(failed):
        heights, place = np.full(len(failed), 0.02), axes.get_xaxis_transform()
        marks = axes.scatter(failed, heights, s=40, marker="|", color=TRUE, transform=place)
        marks.set(label="failed", clip_on=False)
    axes.yaxis.label.set_fontsize(METRIC)
    axes.set(xlabel="trial", ylabel=shorten(name, WIDEST_METRIC, METRIC))
    axes.set(title=f"{len(errors)} trials", xlim=(-0.5, max(len(errors), 1) - 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(TICKS, integer=True))
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    return figure


def importance_figure(shares: Mapping[str, float], trials: int) -> Figure:
    """Draws the share of each option, the largest on top, estimated from so many trials."""
    names = sorted(shares, key=lambda name: shares[name])
    widths = [shares[name] for name in names]
    figure = new_figure(6.4, 1.3 + 0.32 * max(len(names), 1))
    axes = figure.subplots()
    tidy(axes)
    bars = axes.barh(range(len(names)), widths, color=LEARNED, height=0.62)
    short = shorten_all(names, 2 * WIDEST_OPTION, LABELS)
    labels = [wrap(name, WIDEST_OPTION, LABELS, lines=2) for name in short]
    axes.set_yticks(range(len(names)), labels)
    axes.bar_label(bars, [f"{share:.2f}" for share in widths], padding=3, fontsize=8)
    axes.set_xlim(0, max(widths, default=1.0) * 1.12)
    axes.set(xlabel="share in what sets the best tenth of the trials apart")
    axes.set_title(f"Importance of the options, from {trials} whole trials", fontsize=10)
    return figure


def parallel_figure(axes: Sequence[Axis], errors: Sequence[float | None], name: str) -> Figure:
    """Draws every trial with an error `name` as a line through its values, dark if it is good."""
    axes = [*axes, Axis(name, errors, log=True)]
    figure = new_figure(max(6.4, AXIS_WIDTH * len(axes)), 4.6)
    place = figure.subplots()
    place.set(xlim=(-0.35, len(axes) - 0.65), ylim=(-0.14, 1.02))
    place.axis("off")
    known = {k: error for k, error in enumerate(errors) if error is not None}
    shown = [k for k in known if math.isfinite(known[k])]
    shown.sort(key=lambda k: -known[k])  # the best is drawn last, on top of the others
    title = f"{len(shown)} whole trials: the darker the better, the best in orange"
    figure.suptitle(title, fontsize=10)
    heights = [
        _draw_axis(place, x, axis, [axis.values[k] for k in shown]) for x, axis in enumerate(axes)
    ]
    if shown:
        values = np.array([known[k] for k in shown])
        norm = LogNorm if values.min() > 0 else Normalize
        scale = norm(values.min(), float(np.quantile(values, 0.9)), clip=True)
        lines = [np.column_stack([range(len(axes)), line]) for line in np.transpose(heights)]
        colors = GOOD_TO_BAD(scale(values))
        place.add_collection(LineCollection(lines, colors=colors, linewidths=1.1, zorder=2))
        place.plot(*lines[-1].T, color=TRUE, linewidth=2.0, zorder=3)
    return figure


def _draw_axis(
    place: Axes, x: int, axis: Axis, values: Sequence[float | str | None]
) -> list[float]:
    """Draws one vertical axis with its labels; returns the height of each value."""
    place.plot([x, x], [0, 1], color=DATA, linewidth=0.9, zorder=1)
    label = wrap(axis.name, 0.9 * AXIS_WIDTH * DPI, OPTIONS, lines=3)
    place.text(x, 1.03, label, ha="center", va="bottom", fontsize=OPTIONS)
    heights, ticks = _heights(values, axis.log)
    text: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": VALUES}
    for height, tick in ticks:
        place.plot([x - 0.02, x], [height, height], color=DATA, linewidth=0.9, zorder=1)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.75}
        place.text(x - 0.04, height, tick, bbox=box, zorder=4, **text)
    if None in values:
        place.text(x - 0.04, MISSING, "none", color="#66707c", **text)
    return heights


def _heights(
    values: Sequence[float | str | None], log: bool
) -> tuple[list[float], list[tuple[float, str]]]:
    """The height of each value between 0 and 1, and the axis's ticks."""
    present = [value for value in values if value is not None]
    if not present:
        return [MISSING] * len(values), []
    if any(isinstance(value, str) for value in present):
        words = sorted({str(value) for value in present}, key=_word_order)
        height = {word: (k + 0.5) / len(words) for k, word in enumerate(words)}
        shown = words[:: -(-len(words) // MAX_TICKS)]
        texts = shorten_all(shown, WIDEST_VALUE, VALUES)
        ticks = [(height[word], text) for word, text in zip(shown, texts, strict=True)]
        return [MISSING if value is None else height[str(value)] for value in values], ticks
    numbers = np.array([math.nan if value is None else float(value) for value in values])
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    if low == high:
        return np.where(np.isnan(numbers), MISSING, 0.5).tolist(), [(0.5, short_number(low))]
    log = log and low > 0
    if log:
        numbers, low, high = np.log10(numbers), math.log10(low), math.log10(high)
    marks = np.linspace(low, high, 5)
    if log and high - math.ceil(low) > 1:  # at least two powers of ten
        marks = np.arange(math.ceil(low), high)
        marks = marks[:: -(-len(marks) // MAX_TICKS)]
    texts = _number_texts((10**marks if log else marks).tolist())
    ticks = list(zip(((marks - low) / (high - low)).tolist(), texts, strict=True))
    heights = np.where(np.isnan(numbers), MISSING, (numbers - low) / (high - low))
    return heights.tolist(), ticks


def _number_texts(numbers: Sequence[float]) -> list[str]:
    """Numbers in two digits, or in as many as make them differ."""
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
