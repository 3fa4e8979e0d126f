"""Colours and a figure that belongs to nobody: no pyplot, no global state, no window."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

LEARNED = "#1f5fa8"
TRUE = "#e07b00"
DATA = "#9aa7b5"
DOMAIN = "#eef3f9"
GRID = "#e4e7eb"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, drawn off screen."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> None:
    """Leaves an axes with two spines and small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=2)


def pixels(figure: Figure, *, lay_out: bool = False) -> np.ndarray:
    """Renders a figure to `(height, width, 3)` bytes.

    It is laid out the first time, and again if asked to: laying out costs as much as drawing.
    """
    canvas = figure.canvas
    if lay_out:
        figure.set_layout_engine("constrained")
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("The figure was not made by new_figure.")
    canvas.draw()
    figure.set_layout_engine("none")
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def save(image: np.ndarray, path: Path) -> None:
    """Writes rendered pixels as a PNG, which saves drawing the figure again."""
    Image.fromarray(image).save(path)


def short_r2(r2: float) -> str:
    """R2 with as many nines as it has and one digit more, and never a rounded-up 1."""
    if not 0.99 < r2 < 1:
        return f"{r2:.3f}" if abs(r2) < 100 else f"{r2:.3g}"
    digits = 1 - math.floor(math.log10(1 - r2))
    scale = 10**digits
    return f"{math.floor(r2 * scale) / scale:.{digits}f}"
