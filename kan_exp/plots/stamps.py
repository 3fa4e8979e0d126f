"""Short texts as figures, kept: matplotlib takes half a millisecond to draw one."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from numpy.typing import NDArray

from kan_exp.plots.fonts import BASE, FONTS
from kan_exp.plots.labels import DIRECTION, font, literal, runs


class Stamp(NamedTuple):
    """The ink of a text.

    Args:
        ink: In black on nothing, `(height, width, 4)`, from below.
        left: Where it begins right of the pen's start, in pixels: below 0 for some letters.
        below: Where it begins above the line on which letters stand.
        width: From the pen's start to its end.
    """

    ink: NDArray[np.uint8]
    left: int
    below: int
    width: int


@lru_cache(maxsize=2048)
def _stamp(text: str, points: float) -> Stamp:
    parts = []
    pen = 0
    for drawn, part in runs(text, points):
        mask, (left, top) = drawn.getmask2(part, mode="L", direction=DIRECTION, anchor="ls")
        width, height = mask.size
        if width and height:
            coverage = np.asarray(mask, dtype=np.uint8).reshape(height, width)
            parts.append((pen + left, top, coverage))
        pen += left + width  # Pillow's figure reaches to where the pen ends
    if not parts:
        return Stamp(np.zeros((1, 1, 4), dtype=np.uint8), 0, 0, pen)
    left, top = min(x for x, _, _ in parts), min(y for _, y, _ in parts)
    right = max(x + ink.shape[1] for x, _, ink in parts)
    bottom = max(y + len(ink) for _, y, ink in parts)
    alpha = np.zeros((bottom - top, right - left), dtype=np.uint8)
    for x, y, ink in parts:
        place = alpha[y - top : y - top + len(ink), x - left : x - left + ink.shape[1]]
        np.maximum(place, ink, out=place)
    image = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    image[:, :, 3] = alpha[::-1]  # images are drawn from below
    return Stamp(image, left, -bottom, pen)


@lru_cache(maxsize=16)
def _extent(points: float) -> tuple[int, int]:
    """How far a line of text reaches above and below the line on which its letters stand."""
    ascent, descent = font(FONTS.path(BASE[0]), points).getmetrics()
    return ascent, descent


def drawn_width(text: str, points: float) -> int:
    """Width in pixels of a line of text that is drawn next."""
    return _stamp(literal(text), points).width


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
        text: Any text; it is drawn literally, and nothing if it is empty.
        points: Size of the font.
        x: From the left.
        y: From below.
        across: Which part of the text's width is left of `x`: 0 starts there, 1 ends there.
        up: Which part of its height is below `y`.
    """
    if not text:
        return
    text = literal(text)
    stamp = _stamp(text, points)
    ascent, descent = _extent(points)
    pen = round(x - across * stamp.width)
    line = round(y - up * (ascent + descent)) + descent
    renderer.draw_image(renderer.new_gc(), pen + stamp.left, line + stamp.below, stamp.ink)
