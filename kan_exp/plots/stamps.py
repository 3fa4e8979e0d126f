"""Labels as images, drawn once and kept: matplotlib takes half a millisecond for each text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kan_exp.plots.fonts import BASE, FONTS
from kan_exp.plots.labels import DIRECTION, font, literal, runs, text_width


class Label(NamedTuple):
    """A line of text at a place in a figure, in pixels from the lower left; drawn literally."""

    text: str
    points: float
    x: float
    y: float
    across: float = 0.5  # share of the width that lies left of x
    up: float = 0.5  # share of the height that lies below y


class Stamp(NamedTuple):
    """A text as an image, to be placed relative to the start of its baseline."""

    image: NDArray[np.uint8]  # (height, width, 4), bottom row first
    left: int
    bottom: int
    width: int  # from the start of the text to its end


class Labels(Artist):
    """Draws labels; an empty text draws nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: Sequence[Label] = ()

    def draw(self, renderer: RendererAgg) -> None:  # type: ignore[override]
        for label in self.labels:
            if not label.text:
                continue
            stamp = _stamp(literal(label.text), label.points)
            ascent, descent = _extent(label.points)
            start = round(label.x - label.across * stamp.width)
            baseline = round(label.y - label.up * (ascent + descent)) + descent
            place = start + stamp.left, baseline + stamp.bottom
            renderer.draw_image(renderer.new_gc(), *place, stamp.image)


@lru_cache(maxsize=2048)
def _stamp(text: str, points: float) -> Stamp:
    ascent, descent = _extent(points)
    margin = ascent  # for accents and slanted letters, which reach beyond their line
    width = math.ceil(text_width(text, points))
    line = Image.new("L", (width + 2 * margin, ascent + descent + 2 * margin))
    draw, x, baseline = ImageDraw.Draw(line), float(margin), margin + ascent
    for part_font, part in runs(text, points):
        draw.text((x, baseline), part, 255, part_font, "ls", direction=DIRECTION)
        x += part_font.getlength(part, direction=DIRECTION)
    left, top, right, bottom = line.getbbox() or (0, 0, 1, 1)
    image = np.zeros((bottom - top, right - left, 4), dtype=np.uint8)
    image[:, :, 3] = np.asarray(line.crop((left, top, right, bottom)))[::-1]
    return Stamp(image, left - margin, baseline - bottom, width)


@lru_cache(maxsize=16)
def _extent(points: float) -> tuple[int, int]:
    """How far a line of text reaches above and below its baseline, in pixels."""
    ascent, descent = font(FONTS.path(BASE[0]), points).getmetrics()
    return ascent, descent
