"""Figures as SVG that follows the reader's light or dark theme."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from kan_exp.plots.style import DATA, GRID, LEARNED, TRUE

INK = "#2b333c"
# Each color of a figure, and the one in its place on a dark page.
DARK = {
    INK: "#d5dbe2",
    LEARNED: "#6fb0f5",
    TRUE: "#ffab4a",
    DATA: "#77828f",
    GRID: "#2c343d",
    "#2a8f5b": "#58c48b",
    "#b0468f": "#e58ac6",
    "#7a5bc7": "#ab93f0",
    "#8a6d1b": "#d3b453",
}


def svg(figure: Figure) -> str:
    """Draws a figure as SVG with colors for both themes; equal figures give equal texts."""
    for label in figure.findobj(Text):
        label.set_color(INK)
    for axes in figure.axes:
        axes.tick_params(labelcolor=INK)
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "kan_exp"}):
        figure.savefig(
            file, format="svg", transparent=True, dpi=200, metadata={"Date": None, "Creator": None}
        )
    text = file.getvalue()
    text = text[text.index("<svg") :]  # the DOCTYPE names an address that nothing needs
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    names = {color: f"--c{number}" for number, color in enumerate(DARK)}
    for color, name in names.items():
        text = text.replace(color, f"var({name})")
    light = ";".join(f"{name}:{color}" for color, name in names.items())
    dark = ";".join(f"{name}:{DARK[color]}" for color, name in names.items())
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head = text.index(">") + 1
    return text[:head] + style + text[head:]
