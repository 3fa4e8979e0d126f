"""Figures that belong to nobody, pixels of the right shape, and R2 that never flatters."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kan_exp.plots.style import new_figure, pixels, png


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


def test_pixels_are_saved_as_they_are(tmp_path):
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    (tmp_path / "a.png").write_bytes(png(image))
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), image)


def test_a_foreign_figure_is_refused():
    with pytest.raises(TypeError, match="new_figure"):
        pixels(Figure())


def test_drawing_never_touches_pyplot():
    """Pyplot keeps every figure, may open windows, and breaks in threads."""
    code = """
import sys
import numpy as np
from kan_exp.models.views import LayerView
from kan_exp.plots import history_figure, layer_figure, prediction_figure
from kan_exp.plots.style import pixels
x = np.linspace(0, 1, 9)[:, None]
view = LayerView(1, ["x"], ["f"], x, x[:, :, None], x, x[:, :, None], np.array([[0.0, 1.0]]), x)
y = x[:, 0]
for figure in (layer_figure(view), history_figure([(1, 1.0)], [], 1),
               prediction_figure(y, y, "f", "")):
    pixels(figure)
sys.exit("matplotlib.pyplot" in sys.modules or "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
