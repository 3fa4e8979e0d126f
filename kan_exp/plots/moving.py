"""A solution that moves in time, as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from PIL import Image

from kan_exp.plots.labels import shorten
from kan_exp.plots.solution import (
    CAPTION,
    HEAD,
    HEIGHT,
    MAX_OUTPUTS,
    WIDTH,
    Fields,
    draw_map,
    limits,
    name_axes,
    name_panel,
)
from kan_exp.plots.style import DPI, LEARNED, TRUE, new_figure, pixels, tidy

Moving = tuple[Figure, Callable[[Fields], None]]  # what is drawn, and what shows another time

MILLISECONDS = 80  # of a frame
PAUSE = 1200  # milliseconds at the end
NEAR_WHITE = 246  # of a channel; a palette has the mean of the background and what is near it
MARGIN = 0.06  # of the range of values, above and below curves


def moving_picture(frames: Sequence[Fields]) -> bytes:
    """Draws each unknown function at one time after the other, with the exact one if it is known.

    Args:
        frames: Over one or two inputs; `where` says the time.

    Returns:
        A GIF that repeats.
    """
    first = frames[0]
    count = min(MAX_OUTPUTS, len(first.outputs))
    figure, update = (_curves if len(first.axes) == 1 else _maps)(frames, count)
    width = (count * WIDTH - HEAD) * DPI
    title = figure.suptitle(shorten(first.where, width, CAPTION), fontsize=CAPTION)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # which would move the panels between frames
    images = []
    for fields in frames:
        title.set_text(shorten(fields.where, width, CAPTION))
        update(fields)
        images.append(Image.fromarray(pixels(figure)))
    palette = images[len(images) // 2].quantize(256, Image.Quantize.MAXCOVERAGE)
    colors = palette.getpalette() or []
    palette.putpalette([255 if value > NEAR_WHITE else value for value in colors])
    coded = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in images]
    file = io.BytesIO()
    durations = [MILLISECONDS] * (len(coded) - 1) + [PAUSE]
    coded[0].save(file, "gif", save_all=True, append_images=coded[1:], duration=durations, loop=0)
    return file.getvalue()


def _limits(frames: Sequence[Fields], output: int) -> tuple[float, float]:
    parts = [one.solution[output] for one in frames]
    return limits(*parts, *(one.exact[output] for one in frames if one.exact is not None))


def _curves(frames: Sequence[Fields], count: int) -> Moving:
    first = frames[0]
    figure = new_figure(count * WIDTH * 1.25, HEIGHT + HEAD)
    lines = []
    for k, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        low, high = _limits(frames, k)
        margin = MARGIN * (high - low or 1.0)
        tidy(axes, grid=True)
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlim(first.axes[0][0], first.axes[0][-1])
        pair = []
        if first.exact is not None:
            pair += axes.plot(first.axes[0], first.exact[k], color=TRUE, linewidth=4, label="exact")
        pair += axes.plot(
            first.axes[0], first.solution[k], color=LEARNED, linewidth=1.5, label="found"
        )
        if first.exact is not None:
            axes.legend(fontsize=8, frameon=False, loc="upper right")
        name_panel(axes, first.outputs[k])
        name_axes(axes, first.names)
        lines.append(pair)

    def update(fields: Fields) -> None:
        for k, pair in enumerate(lines):
            if fields.exact is not None:
                pair[0].set_ydata(fields.exact[k])
            pair[-1].set_ydata(fields.solution[k])

    return figure, update


def _maps(frames: Sequence[Fields], count: int) -> Moving:
    figure = new_figure(count * WIDTH, HEIGHT + HEAD)
    images = []
    for k, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        images.append(draw_map(axes, frames[0], frames[0].solution[k], _limits(frames, k)))
        name_panel(axes, frames[0].outputs[k])

    def update(fields: Fields) -> None:
        for k, image in enumerate(images):
            image.set_array(fields.solution[k].T)

    return figure, update
