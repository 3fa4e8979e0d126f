"""Figures that belong to nobody, pixels of the right shape, and R2 that never flatters."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kan_exp.plots.style import new_figure, pixels, png, short_r2


@pytest.mark.parametrize(
    ("r2", "text"),
    [
        (1.0, "1.000"),
        (0.0, "0.000"),
        (0.5, "0.500"),
        (0.98765, "0.988"),
        (0.99, "0.990"),
        (0.9955, "0.9955"),
        (0.99987, "0.99987"),
        (0.9999967, "0.9999967"),
        (0.99999671, "0.9999967"),
        (0.99999999987, "0.999999999"),
        (-0.25, "-0.250"),
        (-12.3456, "-12.346"),
        (-98765.4, "-9.88e+04"),
        (-math.inf, "-inf"),
    ],
)
def test_r2_reads_like_this(r2, text):
    shown = short_r2(r2)
    assert float(shown) == float(text)
    assert shown.rstrip("0") == text.rstrip("0")


@pytest.mark.parametrize("digits", range(3, 9))
@pytest.mark.parametrize("rest", [1, 2, 4.999, 5, 7.3, 9.99999])
def test_r2_never_rounds_up_to_one(digits, rest):
    r2 = 1 - rest * 10.0**-digits
    shown, unexplained = Decimal(short_r2(r2)), 1 - Decimal(r2)
    assert shown < 1
    # Numbers just below 1 are 1.1e-16 apart, which nobody sees.
    assert shown <= Decimal(r2) + Decimal("2e-16")
    # Its first digit is right.
    assert 1 - shown <= unexplained * Decimal("1.2") + Decimal("2e-16")


@pytest.mark.parametrize("places", [4, 5, 6])
def test_r2_of_few_digits_is_shown_as_it_is(places):
    """Cutting must not turn 0.9943, which the computer holds as 0.99429999, into 0.9942."""
    for n in range(1, 100):
        r2 = float(1 - Decimal(n).scaleb(-places))
        assert float(short_r2(r2)) == r2


def test_largest_number_below_one():
    assert float(short_r2(math.nextafter(1, 0))) < 1


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
    assert (image == [255, 0, 0]).all(-1).sum() > 100  # the first picture is a copy


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
