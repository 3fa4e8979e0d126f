"""Colours and a figure that belongs to nobody: no pyplot, no global state, no window."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LEARNED = "#1f5fa8"
TRUE = "#e07b00"
DATA = "#9aa7b5"
DOMAIN = "#eef3f9"
GRID = "#e4e7eb"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, drawn off screen."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> None:
    """Leaves an axes with two spines and small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=2)


def pixels(figure: Figure) -> np.ndarray:
    """Renders a figure to `(height, width, 3)` bytes."""
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError("The figure was not made by new_figure.")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
