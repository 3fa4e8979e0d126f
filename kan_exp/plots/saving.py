"""Figures as PNG files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from kan_exp.plots.style import pixels, png
from kan_exp.runs.files import replacing


def save_png(figure: Figure, path: Path) -> bytes:
    """Writes a figure to a file, whole or not at all, and returns what the file holds.

    Raises:
        OSError: It cannot be written.
    """
    encoded = png(pixels(figure))
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        file.write(encoded)
    return encoded
