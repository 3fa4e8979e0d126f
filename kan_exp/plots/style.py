"""Colours and a figure that belongs to nobody: no pyplot, no global state, no window."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)
from PIL import Image

from kan_exp.plots.fonts import BASE, FONTS

LEARNED = "#1f5fa8"
TRUE = "#e07b00"
DATA = "#9aa7b5"
DOMAIN = "#eef3f9"
GRID = "#e4e7eb"
DPI = 110
TICKS = 6  # intervals between the ticks of an axis, at most
MIN_RATIO = 3  # of the largest to the least value, for the ticks of a log scale to be enough


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """An empty figure of the given size in inches, drawn off screen."""
    figure = _LiteralFigure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


class _LiteralFigure(Figure):
    """A figure whose texts are drawn as they are, whatever the user's matplotlibrc says.

    A `$` in the name of a column does not begin a formula, and characters that DejaVu Sans lacks
    are drawn with the fonts that were found for them.
    """

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            families = FONTS.families(text.get_text())
            text.set(parse_math=False, usetex=False, fontfamily=families)
        own: Any = {  # for ticks that are made while drawing
            "text.parse_math": False,
            "text.usetex": False,
            "font.family": [BASE],
        }
        with mpl.rc_context(own):
            super().draw(renderer)


def tidy(axes: Axes) -> None:
    """Leaves an axes with two spines, small labels, and few ticks that can be told apart."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(plain_formatter())
        axis.get_offset_text().set_fontsize(8)


def plain_formatter() -> ScalarFormatter:
    """Labels of ticks in as many digits as tell them apart, with an offset if they were long."""
    with mpl.rc_context({"text.usetex": False}):
        formatter = ScalarFormatter(useOffset=True, useMathText=False, useLocale=False)
    formatter.set_powerlimits((-3, 5))
    return formatter


def log_scale(axes: Axes, which: Literal["x", "y"], values: np.ndarray) -> None:
    """Makes an axis logarithmic if all of its finite values are positive, with short labels."""
    values = values[np.isfinite(values)]
    positive = len(values) > 0 and values.min() > 0
    if positive:
        axes.set(**{f"{which}scale": "log"})  # which sets a formatter of its own
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not positive:
        return
    ratio = values.max() / values.min()
    if ratio < MIN_RATIO:
        axis.set_major_locator(MaxNLocator(TICKS - 1, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(plain_formatter())
        axis.set_minor_locator(NullLocator())
        return
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_formatter(NullFormatter())
    if ratio < 100:  # too few decades for a label at each to do
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio > 5 else (1, 1.5, 2, 3, 4, 5, 7)))


def place_labels(axes: Axes) -> None:
    """Puts the axes' names where there is room: to look for it takes a third of the drawing."""
    width, height = axes.bbox.size
    ticks = axes.xaxis.get_major_formatter()
    ticks.format_ticks(list(axes.xaxis.get_majorticklocs()))
    below = 0.27 if ticks.get_offset() == "" else 0.40  # the offset stands at the right, between
    axes.xaxis.set_label_coords(0.5, -below * DPI / height)
    axes.yaxis.set_label_coords(-0.56 * DPI / width, 0.5)


def pixels(figure: Figure) -> np.ndarray:
    """Renders a figure to `(height, width, 3)` bytes."""
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("The figure was not made by new_figure.")
    canvas.draw()
    # Three times as fast as a copy of three of the four channels by numpy.
    return np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def png(image: np.ndarray) -> bytes:
    """Encodes rendered pixels `(height, width, 3)`.

    Diagrams are mostly plain surfaces: without the filters that photographs need, which Pillow
    tries on every row, this takes half the time and less space.
    """
    height, width, _ = image.shape
    rows = np.empty((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 0] = 0  # each begins with its filter: none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 3)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def short_number(value: float) -> str:
    """A tick's label in at most six characters or so: 0.25, -1200, 6e4."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
