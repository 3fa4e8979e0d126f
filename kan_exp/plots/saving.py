"""Figures as PNG and SVG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
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
    """Writes a figure to a file, whole or not at all, and returns the content."""
    return save_bytes(png(figure), path)


def save_bytes(encoded: bytes, path: Path) -> bytes:
    """Writes an encoded picture to a file, whole or not at all, and returns it."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        file.write(encoded)
    return encoded


def save_svg(figure: Figure, path: Path) -> None:
    """Writes a figure to an SVG file, whole or not at all; texts are outlines."""
    # Whatever the user's matplotlibrc says; the same figure gives the same bytes.
    own: Any = {"svg.hashsalt": "kan_exp", "svg.fonttype": "path", "savefig.bbox": None}
    path.parent.mkdir(exist_ok=True)
    with mpl.rc_context(own), replacing(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=False)
