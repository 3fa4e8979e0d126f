"""Where the texts of a figure lie, recorded while it is drawn."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure

from kan_exp.plots import stamps
from kan_exp.plots.style import pixels

SLACK = 1.5  # pixels: what antialiasing and rounding add to a box


class Drawn(NamedTuple):
    """A text and the box of its ink, in pixels from the lower left."""

    text: str
    left: float
    right: float
    low: float
    high: float

    def overlaps(self, other: Drawn) -> bool:
        return (
            min(self.right, other.right) - max(self.left, other.left) > SLACK
            and min(self.high, other.high) - max(self.low, other.low) > SLACK
        )


def texts(figure: Figure) -> list[Drawn]:
    """Draws a figure; gives every text that was drawn, and holds that none was read as TeX."""
    found: list[Drawn] = []
    renderer = figure.canvas.get_renderer()
    plain, image, stamp = renderer.draw_text, renderer.draw_image, stamps._stamp
    stamped: list[str] = []

    def draw_text(gc, x, y, s, prop, angle, ismath=False, mtext=None):
        assert not ismath, s
        width, height, descent = renderer.get_text_width_height_descent(s, prop, False)
        if angle == 90:  # reading upwards: the descent is at the right
            box = (
                x - height + descent,
                x + descent,
                renderer.height - y,
                renderer.height - y + width,
            )
        else:
            assert angle == 0
            low = renderer.height - y - descent
            box = (x, x + width, low, low + height)
        found.append(Drawn(s, *box))
        return plain(gc, x, y, s, prop, angle, ismath, mtext)

    def draw_image(gc, x, y, im, *rest):
        if stamped:
            rows, columns = np.nonzero(im[:, :, 3])
            if len(rows):
                box = (x + columns.min(), x + columns.max(), y + rows.min(), y + rows.max())
                found.append(Drawn(stamped.pop(), *map(float, box)))
        return image(gc, x, y, im, *rest)

    def named(text, points):
        stamped[:] = [text]
        return stamp(text, points)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "draw_text", draw_text)
        patch.setattr(renderer, "draw_image", draw_image)
        patch.setattr(stamps, "_stamp", named)
        pixels(figure)
    return found


def check_texts(figure: Figure) -> list[str]:
    """Holds that all texts lie within the figure and none on another; gives them."""
    found = texts(figure)
    width, height = figure.bbox.size
    for one in found:
        assert one.left >= -SLACK, one
        assert one.right <= width + SLACK, one
        assert one.low >= -SLACK, one
        assert one.high <= height + SLACK, one
    for one, other in itertools.combinations(found, 2):
        assert not one.overlaps(other), (one, other)
    return [one.text for one in found]
