"""Figures as PNG files."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from kan_exp.plots.style import pixels
from kan_exp.runs.files import replacing


def png(figure: Figure) -> bytes:
    """Renders and encodes a figure."""
    file = io.BytesIO()
    Image.fromarray(pixels(figure)).save(file, "png", compress_level=1)
    return file.getvalue()


def save_png(figure: Figure, path: Path) -> bytes:
    """Writes a figure to a file, whole or not at all, and returns the content.

    Raises:
        OSError: The file cannot be written.
    """
    encoded = png(figure)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        file.write(encoded)
    return encoded
