"""Figures that belong to nobody, pixels of the right shape, and R2 that never flatters."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kan_exp.plots.saving import save_png
from kan_exp.plots.style import new_figure, pixels


def test_pixels_are_bytes_of_the_figures_size():
    figure = new_figure(3, 2)
    axes = figure.subplots()
    (line,) = axes.plot([0, 1], [0, 1], color="#ff0000", linewidth=5)
    image = pixels(figure)
    assert image.shape == (220, 330, 3)
    assert image.dtype == np.uint8
    assert (image[0, 0] == 255).all()
    assert (image == [255, 0, 0]).all(-1).sum() > 100
    line.set_color("#00ff00")
    again = pixels(figure)
    assert (again == [0, 255, 0]).all(-1).sum() > 100
    assert (image == [255, 0, 0]).all(-1).sum() > 100  # the first figure is a copy


def test_a_saved_figure_has_its_pixels(tmp_path):
    figure = new_figure(3, 2, layout=None)
    figure.subplots().imshow(np.random.default_rng(0).uniform(size=(30, 40)))
    content = save_png(figure, tmp_path / "figures" / "a.png")
    assert (tmp_path / "figures" / "a.png").read_bytes() == content
    with Image.open(tmp_path / "figures" / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), pixels(figure))


def test_a_foreign_figure_is_refused():
    with pytest.raises(TypeError, match="new_figure"):
        pixels(Figure())


def test_drawing_never_touches_pyplot():
    """Pyplot keeps every figure, may open windows, and breaks in threads."""
    code = """
import sys
import numpy as np
from kan_exp.models.views import LayerView
from kan_exp.plots import LayerFigure, history_figure, prediction_figure
from kan_exp.plots.style import pixels
x = np.linspace(0, 1, 9)[:, None]
view = LayerView(1, ["x"], ["f"], x, x[:, :, None], x, x[:, :, None], np.array([[0.0, 1.0]]), x)
for figure in (LayerFigure(view).figure, history_figure([(1, 1.0)], [], 1),
               prediction_figure(x, x, ["f"], "")):
    pixels(figure)
sys.exit("matplotlib.pyplot" in sys.modules or "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
