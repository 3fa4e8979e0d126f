"""Figures of a section, each with the sentence that stands below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kan_exp.plots.labels import find_fonts, shorten
from kan_exp.plots.style import DATA, DPI, GRID, LEARNED, TRUE, log_scale, new_figure, tidy
from kan_exp.reporting.comparison import Setting
from kan_exp.reporting.curves import Band
from kan_exp.reporting.svg import svg

WIDTH = 4.9  # inches: at this width the letters stay readable on a telephone
WIDEST_SETTING, WIDEST_METRIC = 1.9 * DPI, 2.6 * DPI  # pixels
LABELS, NAMES = 9.0, 9.5  # points: of ticks and the legend, of the axes
MAX_VECTORS = 1500  # dots beyond which they are drawn as pixels
MAX_WHISKERS = 60  # settings beyond which quartiles would hide one another
LINES = (LEARNED, TRUE, "#2a8f5b", "#b0468f", "#7a5bc7", "#8a6d1b")


@dataclass
class ReportFigure:
    """A figure with its heading and what must be said of it."""

    title: str
    figure: Figure
    caption: str

    @cached_property
    def svg(self) -> str:
        """The figure as SVG, drawn once."""
        return svg(self.figure)


def error_figure(settings: Sequence[Setting], metric: str, most: int) -> ReportFigure | None:
    """Every seed a dot, a row for each setting, the best above."""
    finished = [one for one in settings if len(one.values)]
    shown = finished[:most]
    if not shown:
        return None
    figure = new_figure(WIDTH, 1.1 + 0.34 * len(shown))
    axes = _axes(figure)
    pixels = sum(len(one.values) for one in shown) > MAX_VECTORS
    for row, one in enumerate(shown):
        # Spread in a fixed order, so that equal values do not hide one another.
        place = row + 0.5 * ((np.arange(len(one.values)) * 0.618034) % 1 - 0.5)
        axes.scatter(
            one.values,
            place,
            s=16,
            color=LEARNED,
            alpha=0.7,
            linewidths=0,
            rasterized=pixels,
            zorder=3,
        )
        if one.interval is not None:
            axes.plot(list(one.interval), [row, row], color=TRUE, linewidth=1.6, zorder=2)
        if one.quartiles is not None:
            axes.plot([one.quartiles[1]], [row], "|", color=TRUE, markersize=14, mew=2.4, zorder=4)
        if one.undone:
            count = len(one.records) - len(one.values)
            axes.annotate(
                f"{count} unfinished",
                (1, row),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7.5,
            )
    ranks = {id(one): rank for rank, one in enumerate(settings, 1)}
    find_fonts(one.label for one in shown)
    names = [shorten(one.label, WIDEST_SETTING, LABELS) for one in shown]
    labels = [f"{name}  {ranks[id(one)]}" for name, one in zip(names, shown, strict=True)]
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(shorten(metric, WIDEST_METRIC, NAMES))
    axes.grid(visible=False, axis="y")
    log_scale(axes, "x", np.concatenate([one.values for one in shown]))
    caption = "Each dot is a seed; the bar is the median, the line its interval."
    if any(one.undone for one in shown):
        caption += " Runs that did not finish have no dot."
    if len(shown) < len(finished):
        caption += f" The first {len(shown)} of {len(finished)} settings."
    if len(finished) < len(settings):
        caption += f" Of {len(settings) - len(finished)} more settings no run finished."
    return ReportFigure("Error by setting", figure, caption)


def cost_figure(
    settings: Sequence[Setting],
    metric: str,
    title: str,
    x_label: str,
    cost: Callable[[Setting], float | None],
    more_is_better: bool,
) -> ReportFigure | None:
    """Each setting's median against what it costs, with those that no other beats in both.

    Nothing comes of fewer than two different costs.
    """
    points = [
        Point(rank, x, one.quartiles, not one.undone)
        for rank, one in enumerate(settings, 1)
        if one.quartiles is not None and (x := cost(one)) is not None
    ]
    if len({point.x for point in points}) < 2:
        return None
    figure = new_figure(WIDTH, 3.7)
    axes = _axes(figure)
    crowded = len(points) > MAX_WHISKERS
    for whole in (True, False):
        _draw_medians(axes, [point for point in points if point.whole == whole], whole, crowded)
    sign = -1.0 if more_is_better else 1.0
    front = [points[n] for n in pareto([(p.x, sign * p.quartiles[1]) for p in points])]
    _draw_front(axes, front)
    axes.set(xlabel=x_label, ylabel=shorten(metric, WIDEST_METRIC, NAMES))
    log_scale(axes, "x", np.array([point.x for point in points]))
    shown = slice(1, 2) if crowded else slice(None)
    log_scale(axes, "y", np.array([point.quartiles[shown] for point in points]))
    caption = "Medians." if crowded else "Medians with quartiles."
    caption += (
        " The line is the Pareto front: its settings, by their number in the table, are those "
        "that no other beats in both."
    )
    if not all(point.whole for point in points):
        caption += " Hollow: some seeds did not finish."
    return ReportFigure(title, figure, caption)


class Point(NamedTuple):
    """A setting: place in the table, cost, quartiles, and whether all of its runs finished."""

    rank: int
    x: float
    quartiles: tuple[float, float, float]
    whole: bool


def _draw_medians(axes: Axes, points: Sequence[Point], filled: bool, crowded: bool) -> None:
    if not points:
        return
    low, middle, high = np.array([point.quartiles for point in points]).T
    marks = axes.errorbar(
        [point.x for point in points],
        middle,
        None if crowded else [middle - low, high - middle],
        fmt="o",
        ms=3.5 if crowded else 5,
        color=LEARNED,
        mfc=LEARNED if filled else "none",
        elinewidth=0.9,
        alpha=0.4 if crowded else 0.8,
        zorder=2,
    )
    for part in marks.get_children():
        part.set_rasterized(len(points) > MAX_VECTORS)


def _draw_front(axes: Axes, front: Sequence[Point]) -> None:
    medians = [point.quartiles[1] for point in front]
    places = [point.x for point in front]
    axes.step(places, medians, where="post", color=TRUE, linewidth=1.6, zorder=3)
    for point in front:
        axes.annotate(
            str(point.rank),
            (point.x, point.quartiles[1]),
            textcoords="offset points",
            xytext=(6, 5),
            fontsize=9,
            fontweight="bold",
        )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points `(cost, error)` that no other beats in both, in the order of cost."""
    order = sorted(range(len(points)), key=lambda n: points[n])
    front: list[int] = []
    for n in order:
        if not front or points[n][1] < points[front[-1]][1]:
            front.append(n)
    return front


def curves_figure(bands: Sequence[Band], skipped: str) -> ReportFigure | None:
    """Validation loss over the steps, a line for each setting."""
    if not bands:
        return None
    figure = new_figure(WIDTH, 3.4 + 0.2 * len(bands))
    axes = _axes(figure)
    for color, one in zip(LINES, bands, strict=False):
        low, middle, high = one.quartiles
        axes.fill_between(one.steps, low, high, color=color, alpha=0.22, linewidth=0)
        axes.plot(one.steps, middle, color=color, linewidth=1.7, label=_label(one))
    axes.set(xlabel="step", ylabel="loss, standardized")
    log_scale(axes, "y", np.concatenate([one.quartiles.ravel() for one in bands]))
    legend = axes.legend(
        axes.lines,
        ["" for _ in axes.lines],
        fontsize=LABELS,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.45, -0.16),
        ncols=1,
    )
    # Matplotlib leaves out what begins with an underscore.
    for text, one in zip(legend.get_texts(), bands, strict=False):
        text.set_text(_label(one))
    caption = (
        "Validation loss: median and quartiles over the seeds that finished, as many as stand "
        f"beside each name. A seed that stopped early goes on with its last value.{skipped}"
    )
    return ReportFigure("Learning curves", figure, caption)


def _axes(figure: Figure) -> Axes:
    axes = figure.subplots()
    tidy(axes)
    axes.tick_params(labelsize=LABELS)
    axes.xaxis.label.set_fontsize(NAMES)
    axes.yaxis.label.set_fontsize(NAMES)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["left", "bottom"]].set_color(DATA)
    axes.tick_params(color=DATA, which="both")
    return axes


def _label(one: Band) -> str:
    return f"{shorten(one.label, 2 * WIDEST_SETTING, LABELS)}: {one.seeds}"
