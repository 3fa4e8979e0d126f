"""Short texts as pictures, kept: matplotlib takes half a millisecond to draw one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import ImageFont

from kan_exp.plots.style import DPI


@lru_cache(maxsize=16)
def _font(points: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont("DejaVu Sans"), points * DPI / 72)


@lru_cache(maxsize=2048)
def _stamp(text: str, points: float) -> NDArray[np.uint8]:
    """The text in black on nothing, `(height, width, 4)`, all of one size as high as each other."""
    font = _font(points)
    mask, (left, top) = font.getmask2(text, mode="L")
    width, height = mask.size
    ascent, descent = font.getmetrics()
    stamp = np.zeros((ascent + descent, max(1, left + width), 4), dtype=np.uint8)
    if width and height:
        coverage = np.asarray(mask, dtype=np.uint8).reshape(height, width)
        rows = min(height, len(stamp) - top)
        stamp[top : top + rows, max(0, left) : max(0, left) + width, 3] = coverage[:rows]
    return stamp[::-1].copy()  # images are drawn from below


def draw_text(
    renderer: RendererAgg,
    text: str,
    points: float,
    x: float,
    y: float,
    across: float = 0.5,
    up: float = 0.5,
) -> None:
    """Puts a line of text at a place in pixels.

    Args:
        renderer: What is drawn on.
        text: The text; glyphs that the font lacks become boxes.
        points: Size of the font.
        x: From the left.
        y: From below.
        across: Which part of the text's width is left of `x`: 0 starts there, 1 ends there.
        up: Which part of its height is below `y`.
    """
    stamp = _stamp(text, points)
    height, width, _ = stamp.shape
    renderer.draw_image(renderer.new_gc(), round(x - across * width), round(y - up * height), stamp)


def text_width(text: str, points: float) -> int:
    """Of a line of text, in pixels."""
    return _stamp(text, points).shape[1]
