"""The figures of a report's section, each with its caption."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from kan_exp.plots.labels import find_fonts, shorten
from kan_exp.plots.style import DATA, DPI, LEARNED, TRUE, log_scale, new_figure, tidy
from kan_exp.reporting.comparison import Comparison, Section, Setting
from kan_exp.reporting.curves import Band, band, read_curves
from kan_exp.reporting.svg import svg
from kan_exp.runs import from_here
from kan_exp.runs.best_effort import best_effort
from kan_exp.tasks.metrics import to_minimize

WIDTH = 4.9  # inches: at this width the letters stay readable on a telephone
WIDEST_SETTING, WIDEST_METRIC = 1.9 * DPI, 2.6 * DPI  # pixels
LABELS, NAMES = 9.0, 9.5  # points: of ticks and the legend, of the axes
MAX_VECTORS = 1500  # dots beyond which they are drawn as pixels
MAX_PICTURE = 2**20  # bytes of a network's picture: that of 200 edges takes a quarter
MAX_WHISKERS = 60  # settings beyond which quartiles would hide one another
LINES = (LEARNED, TRUE, "#2a8f5b", "#b0468f", "#7a5bc7", "#8a6d1b")


@dataclass
class ReportFigure:
    """A figure, or the text of an SVG file, with its heading and caption."""

    title: str
    figure: Figure | str
    caption: str

    @cached_property
    def address(self) -> str:
        """An address that holds the figure as SVG."""
        text = self.figure if isinstance(self.figure, str) else svg(self.figure)
        encoded = base64.b64encode(text.encode()).decode()
        return f"data:image/svg+xml;base64,{encoded}"


def section_figures(
    comparison: Comparison, section: Section, most: Any, note: Callable[[str], None]
) -> list[ReportFigure]:
    """The figures of a section; `most` limits them (conf/report.yaml), `note` takes failures."""
    settings, metric = section.settings, comparison.metric
    draw_cost = partial(cost_figure, settings, metric)
    makers: dict[str, Callable[[], ReportFigure | None]] = {
        "error by setting": lambda: error_figure(settings, metric, most.drawn),
        "error against parameters": lambda: draw_cost(
            "Error against parameters", "parameters", lambda setting: setting.parameters
        ),
        "error against time": lambda: draw_cost(
            "Error against time", "seconds of training a seed", lambda setting: setting.seconds
        ),
        "learning curves": lambda: _learning_curves(settings, most.curves, most.histories),
        "the best network": lambda: network_figure(settings, metric),
    }
    figures = []
    for name, make in makers.items():
        with best_effort(f"the figure of {name} could not be drawn", note):
            figure = make()
            if figure is not None and figure.address:
                figures.append(figure)
    return figures


def error_figure(settings: Sequence[Setting], metric: str, most: int) -> ReportFigure | None:
    """Draws every seed as a dot, with a row for each setting, the best above."""
    finished = [(n, setting) for n, setting in enumerate(settings, 1) if len(setting.values)]
    shown = finished[:most]
    if not shown:
        return None
    figure = new_figure(WIDTH, 1.1 + 0.34 * len(shown))
    axes = _axes(figure)
    all_values = np.concatenate([setting.values for _, setting in shown])
    for row, (_, setting) in enumerate(shown):
        # Spread in a fixed order, so that equal values do not hide one another.
        heights = row + 0.5 * ((np.arange(len(setting.values)) * 0.618034) % 1 - 0.5)
        dots = axes.scatter(setting.values, heights, s=16, color=LEARNED, alpha=0.7, linewidths=0)
        dots.set(zorder=3, rasterized=len(all_values) > MAX_VECTORS)
        if (interval := setting.sample.interval) is not None:
            axes.plot(list(interval), [row, row], color=TRUE, linewidth=1.6, zorder=2)
        axes.plot(
            [np.median(setting.values)], [row], "|", color=TRUE, markersize=14, mew=2.4, zorder=4
        )
        if setting.undone:
            count = len(setting.records) - len(setting.values)
            transform = axes.get_yaxis_transform()
            text = axes.text(1, row, f"{count} unfinished", transform=transform, ha="right")
            text.set(va="bottom", fontsize=7.5)
    find_fonts(setting.label for _, setting in shown)
    names = [f"{shorten(setting.label, WIDEST_SETTING, LABELS)}  {n}" for n, setting in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(shorten(metric, WIDEST_METRIC, NAMES))
    axes.grid(visible=False, axis="y")
    log_scale(axes, "x", all_values)
    caption = "Each dot is a seed; the bar is the median, the line its interval."
    if any(setting.undone for _, setting in shown):
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
) -> ReportFigure | None:
    """Draws medians against costs, with the Pareto front; None if all costs are the same."""
    known = [
        (rank, setting, x)
        for rank, setting in enumerate(settings, 1)
        if setting.quartiles is not None and (x := cost(setting)) is not None
    ]
    costs = [x for _, _, x in known]
    if len(set(costs)) < 2:
        return None
    figure = new_figure(WIDTH, 3.7)
    axes = _axes(figure)
    crowded = len(known) > MAX_WHISKERS
    low, middle, high = np.array([setting.quartiles for _, setting, _ in known]).T
    if not crowded:
        axes.vlines(costs, low, high, color=LEARNED, linewidth=0.9, alpha=0.8, zorder=2)
    size, alpha = (12, 0.4) if crowded else (25, 0.8)
    faces = [to_rgba(LEARNED, 0 if setting.undone else alpha) for _, setting, _ in known]
    dots = axes.scatter(costs, middle, s=size, facecolors=faces, edgecolors=to_rgba(LEARNED, alpha))
    dots.set(zorder=2, rasterized=len(known) > MAX_VECTORS)
    front = pareto(list(zip(costs, to_minimize(metric, middle), strict=True)))
    corners = [(costs[n], middle[n]) for n in front]
    axes.step(*zip(*corners, strict=True), where="post", color=TRUE, linewidth=1.6, zorder=3)
    for n, corner in zip(front, corners, strict=True):
        text = axes.annotate(str(known[n][0]), corner, (6, 5), textcoords="offset points")
        text.set(fontsize=9, fontweight="bold")
    axes.set(xlabel=x_label, ylabel=shorten(metric, WIDEST_METRIC, NAMES))
    log_scale(axes, "x", np.array(costs))
    log_scale(axes, "y", middle if crowded else np.concatenate([low, middle, high]))
    caption = "Medians." if crowded else "Medians with quartiles."
    caption += (
        " The line is the Pareto front: its settings, by their number in the table, are those "
        "that no other beats in both."
    )
    if any(setting.undone for _, setting, _ in known):
        caption += " Hollow: some seeds did not finish."
    return ReportFigure(title, figure, caption)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points `(cost, error)` that no other beats in both, in the order of cost."""
    front: list[int] = []
    for n in sorted(range(len(points)), key=lambda n: points[n]):
        if not front or points[n][1] < points[front[-1]][1]:
            front.append(n)
    return front


def _learning_curves(
    settings: Sequence[Setting], most_curves: int, most_histories: int
) -> ReportFigure | None:
    finished = [setting for setting in settings if setting.finished]
    shown = finished[: min(most_curves, len(LINES))]
    seeds = max(1, most_histories // max(1, len(shown)))
    bands = [band(s.label, read_curves(s.finished[:seeds])) for s in shown]
    skipped = ""
    if len(finished) > len(shown):
        skipped += f" The first {len(shown)} of {len(finished)} settings."
    if any(len(setting.finished) > seeds for setting in shown):
        skipped += f" At most {seeds} seeds of each were read."
    return curves_figure(list(filter(None, bands)), skipped)


def curves_figure(bands: Sequence[Band], skipped: str) -> ReportFigure | None:
    """Draws the validation losses of settings; `skipped` ends the caption."""
    if not bands:
        return None
    figure = new_figure(WIDTH, 3.4 + 0.2 * len(bands))
    axes = _axes(figure)
    labels = [f"{shorten(b.label, 2 * WIDEST_SETTING, LABELS)}: {b.seeds}" for b in bands]
    for color, setting, label in zip(LINES, bands, labels, strict=False):
        low, middle, high = setting.quartiles
        axes.fill_between(setting.steps, low, high, color=color, alpha=0.22, linewidth=0)
        axes.plot(setting.steps, middle, color=color, linewidth=1.7, label=label)
    axes.set(xlabel="step", ylabel="loss, standardized")
    log_scale(axes, "y", np.concatenate([b.quartiles.ravel() for b in bands]))
    legend = axes.legend(axes.lines, [""] * len(bands), loc="upper center", frameon=False)
    legend.set_bbox_to_anchor((0.45, -0.16))
    # Matplotlib leaves out labels that begin with an underscore.
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set(text=label, fontsize=LABELS)
    caption = (
        "Validation loss: median and quartiles over the seeds that finished, whose number follows "
        f"each name. A seed that stopped early keeps its last value.{skipped}"
    )
    return ReportFigure("Learning curves", figure, caption)


def network_figure(settings: Sequence[Setting], metric: str) -> ReportFigure | None:
    """The picture that the best run of the first setting has left of its network."""
    finished = next((setting.finished for setting in settings if setting.finished), [])
    if not finished:
        return None
    folder = min(finished, key=lambda one: to_minimize(metric, one.metrics[metric])).folder
    path = folder / "figures" / "network.svg"
    if not path.is_file() or path.stat().st_size > MAX_PICTURE:
        return None
    caption = (
        f"Of the best run of the first setting, {from_here(folder)}: the wider a line, the more "
        "the prediction changes without it."
    )
    return ReportFigure("Best network", path.read_text("utf-8"), caption)


def _axes(figure: Figure) -> Axes:
    axes = figure.subplots()
    tidy(axes, grid=True)
    axes.tick_params(labelsize=LABELS)
    axes.tick_params(color=DATA, which="both")
    axes.xaxis.label.set_fontsize(NAMES)
    axes.yaxis.label.set_fontsize(NAMES)
    axes.spines[["left", "bottom"]].set_color(DATA)
    return axes
