"""Colors, scales and figures without pyplot: no global state, no window."""

from __future__ import annotations

from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from kan_exp.plots.fonts import BASE, FONTS

LEARNED = "#1f5fa8"
TRUE = "#e07b00"
DATA = "#9aa7b5"
DOMAIN = "#eef3f9"
GRID = "#e4e7eb"
DPI = 110
MATH = "math"  # marks a text that is mathtext
TICKS = 6  # intervals between the ticks of an axis, at most
ROUND = (1, 2, 2.5, 5, 10)  # steps between ticks, times a power of ten
MIN_RATIO = 3  # of the largest to the smallest value, below which ticks are spaced linearly


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """An empty figure of the given size in inches, drawn off screen."""
    figure = _LiteralFigure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


class _LiteralFigure(Figure):
    """A figure that draws its texts literally, whatever the user's matplotlibrc says.

    A `$` in a name begins no formula, and each character is drawn with a font that has it. Texts
    whose gid is `MATH` are formulas.
    """

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            text.set(usetex=False)
            if text.get_gid() != MATH:
                families = FONTS.families(text.get_text())
                text.set(parse_math=False, fontfamily=families)
        # For ticks that are made while drawing.
        own: Any = {"text.parse_math": False, "text.usetex": False, "font.family": [BASE]}
        with mpl.rc_context(own):
            super().draw(renderer)


def tidy(axes: Axes, grid: bool = False) -> None:
    """Leaves two spines, small labels, and few ticks whose labels differ; a grid if wanted."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(TICKS, steps=ROUND))
        axis.set_major_formatter(plain_formatter())
        axis.get_offset_text().set_fontsize(8)
    if grid:
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)


def plain_formatter() -> ticker.ScalarFormatter:
    """Labels of ticks in as few digits as make them differ, with an offset if they are long."""
    with mpl.rc_context({"text.usetex": False}):
        formatter = ticker.ScalarFormatter(useOffset=True, useMathText=False, useLocale=False)
    formatter.set_powerlimits((-3, 5))
    return formatter


def log_scale(axes: Axes, which: Literal["x", "y"], values: np.ndarray) -> None:
    """Makes an axis logarithmic, with short labels, if all of its finite values are positive."""
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return
    axes.set(**{f"{which}scale": "log"})
    log_ticks(axes.xaxis if which == "x" else axes.yaxis, values.max() / values.min())


def log_ticks(axis: Axis, ratio: float) -> None:
    """Short labels of a logarithmic axis, given the ratio of its largest to its least value."""
    if ratio < MIN_RATIO:
        axis.set_major_locator(ticker.MaxNLocator(TICKS - 1, steps=ROUND))
        axis.set_major_formatter(plain_formatter())
        axis.set_minor_locator(ticker.NullLocator())
        return
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_formatter(ticker.NullFormatter())
    if ratio < 100:  # there are too few powers of ten
        axis.set_major_locator(
            ticker.LogLocator(subs=(1, 2, 5) if ratio > 5 else (1, 1.5, 2, 3, 4, 5, 7))
        )


def place_labels(axes: Axes) -> None:
    """Places the names of the axes; constrained layout takes a third of the time of a drawing."""
    width, height = axes.bbox.size
    ticks = axes.xaxis.get_major_formatter()
    ticks.format_ticks(list(axes.xaxis.get_majorticklocs()))
    below = 0.27 if ticks.get_offset() == "" else 0.40  # the offset stands between, at the right
    axes.xaxis.set_label_coords(0.5, -below * DPI / height)
    axes.yaxis.set_label_coords(-0.56 * DPI / width, 0.5)


def pixels(figure: Figure) -> np.ndarray:
    """Renders a figure to `(height, width, 3)` bytes."""
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("The figure was not made by new_figure.")
    canvas.draw()
    # Three times as fast as copying three of the four channels by numpy.
    return np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def short_number(value: float) -> str:
    """A number in six characters or so: 0.25, -1200, 6e4."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
