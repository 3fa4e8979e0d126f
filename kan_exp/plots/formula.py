"""A formula, and its curve along each input next to those of the network and the data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from numpy.typing import NDArray

from kan_exp.plots.fonts import BASE, FONTS
from kan_exp.plots.labels import literal, shorten, text_width, wrap
from kan_exp.plots.style import DATA, DPI, LEARNED, MATH, TRUE, new_figure, place_labels, tidy

Points = NDArray[np.float64]

MAX_CURVES = 9
COLUMNS = 3
WIDTH, HEIGHT = 8.4, 2.5  # inches: of the figure, of a row of panels
SIDE, MARGIN = 0.72, 0.25  # inches: at the left and between panels, at the right
CAPTION, LINE, FOOT = 0.42, 0.17, 0.55
SIZES = (17, 15, 13, 11, 9)  # points of a formula, the first with which it fits
MAX_LINES = 6
LABELS = 9
POINT = 72  # per inch


@dataclass(frozen=True)
class Curve:
    """What varies with one input, all others at their medians."""

    name: str  # of the input
    x: Points  # its values, (k,)
    formula: Points  # value of the formula at each, (k,); NaN where it is not defined
    network: Points | None  # the same of the network, if there is one
    data_x: Points  # values of the input in the data, (n,)
    data_y: Points  # the formula's curve at these, plus what the formula leaves of the data, (n,)


def formula_figure(
    latex: str, text: str, target: str, curves: Sequence[Curve], caption: str
) -> Figure:
    """Draws a formula, in several lines if it is long, and its curves.

    Args:
        latex: The formula for mathtext.
        text: The formula as text, drawn if mathtext cannot show it.
        target: Name of what it describes.
        curves: One for each input of the formula.
        caption: Below the formula.
    """
    lines, size, is_math = _lines(latex, text)
    shown = curves[:MAX_CURVES]
    columns = min(COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    cut = f" (the first {MAX_CURVES} of {len(curves)} inputs)" if len(shown) < len(curves) else ""
    said = wrap(f"{caption}{cut}", (WIDTH - 0.4) * DPI, LABELS, lines=3)
    under = LINE * said.count("\n")
    head = CAPTION + under + 0.15 + len(lines) * 2.3 * size / POINT
    height = head + rows * HEIGHT
    figure = new_figure(WIDTH, height, layout=None)
    for place, line in enumerate(lines):
        middle = 1 - (0.12 + (place + 0.5) * 2.3 * size / POINT) / height
        words: dict[str, Any] = {"parse_math": True, "gid": MATH} if is_math else {}
        figure.text(0.5, middle, line, fontsize=size, ha="center", va="center", **words)
    figure.text(
        0.5, 1 - (head - 0.22 - under / 2) / height, said, fontsize=LABELS, ha="center", va="center"
    )
    width = (WIDTH - MARGIN) / columns
    for place, curve in enumerate(shown):
        row, column = divmod(place, columns)
        bottom = height - head - (row + 1) * HEIGHT + FOOT
        left, across, up = column * width + SIDE, width - SIDE, HEIGHT - FOOT - 0.1
        box = left / WIDTH, bottom / height, across / WIDTH, up / height
        _draw(figure.add_axes(box), curve, target if column == 0 else "", legend=place == 0)
    return figure


def _draw(axes: Axes, curve: Curve, target: str, legend: bool) -> None:
    tidy(axes)
    axes.scatter(curve.data_x, curve.data_y, s=5, color=DATA, alpha=0.5, linewidths=0, label="data")
    if curve.network is not None:
        axes.plot(curve.x, curve.network, color=LEARNED, linewidth=2.2, label="network")
    axes.plot(curve.x, curve.formula, color=TRUE, linewidth=1.2, label="formula")
    drawn = [curve.formula, curve.data_y, *([] if curve.network is None else [curve.network])]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if len(values) and np.ptp(values) > 0:  # poles of the formula must not flatten the rest
        low, high = np.quantile(values, [0.005, 0.995])
        room = 0.1 * (high - low) or np.ptp(values)
        axes.set_ylim(max(low - room, values.min() - room), min(high + room, values.max() + room))
    axes.set_xlabel(shorten(curve.name, 2.0 * DPI, LABELS), fontsize=LABELS)
    axes.set_ylabel(shorten(target, 1.7 * DPI, LABELS) if target else "", fontsize=LABELS)
    place_labels(axes)
    if legend:
        axes.legend(fontsize=7, frameon=False)


def _lines(latex: str, text: str) -> tuple[list[str], int, bool]:
    """Lines of a formula, their size, and whether mathtext draws them."""
    room = (WIDTH - 0.5) * POINT
    if not FONTS.missing(latex) and FONTS.families(latex) == [BASE]:
        width = _width(latex)
        for size in SIZES:
            if width * size <= room:
                return [f"${latex}$"], size, True
        size = SIZES[-2]
        if width < np.inf and (lines := _filled(latex, lambda term: _width(term) * size, room)):
            return [f"${line}$" for line in lines], size, True
    size, room = SIZES[-1], (WIDTH - 0.5) * DPI
    drawn = literal(text)
    lines = _filled(drawn, lambda term: text_width(term, size), room)
    return lines or [shorten(drawn, room, size)], size, False


def _filled(formula: str, measure: Callable[[str], float], room: float) -> list[str] | None:
    """Lines of as many terms as fit; None if a term does not, or the lines are too many."""
    lines, left = [""], room
    for term in _terms(formula):
        width = measure(term)
        if width > room:
            return None
        if width > left:
            lines.append("")
            left = room
        lines[-1] += term
        left -= width
    return lines if len(lines) <= MAX_LINES else None


def _width(latex: str) -> float:
    """Width per point of size; infinite if mathtext cannot draw it."""
    try:
        parsed = MathTextParser("path").parse(f"${latex}$", POINT, FontProperties(size=10))
    except ValueError:
        return np.inf
    return float(parsed[0]) / 10


def _terms(formula: str) -> list[str]:
    """The parts of a formula between which a line may end: before a sign outside all brackets."""
    terms, depth = [""], 0
    for token in re.findall(r"\\[a-z]+|\\.| [+-] |.", formula):
        depth += {"{": 1, "(": 1, r"\left": 1, "}": -1, ")": -1, r"\right": -1}.get(token, 0)
        if depth == 0 and token in (" + ", " - "):
            terms.append("")
        terms[-1] += token
    return terms
