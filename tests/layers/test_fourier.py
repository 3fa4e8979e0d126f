"""Edges that are Fourier series, compared with the series written out and with numpy's FFT."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kan_exp.layers import KANFourierLayer

X_MIN, X_MAX = -1.25, 2.75
DIM_IN, DIM_OUT = 3, 5


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(num_frequencies: int) -> KANFourierLayer:
    """A layer in float64 whose coefficients are noise and whose frequencies have all digits."""
    size = DIM_IN, DIM_OUT, num_frequencies, X_MIN, X_MAX
    layer = KANFourierLayer(*size, generator=seeded(0)).double()
    layer.frequencies.copy_(math.pi * torch.arange(1, num_frequencies + 1, dtype=torch.float64))
    with torch.no_grad():
        layer.coefficients.normal_(generator=seeded(1))
    return layer


def by_hand(layer: KANFourierLayer, i: int, j: int, x: float) -> float:
    """One edge at one point, from the definition."""
    count = layer.num_frequencies
    constant, slope, *waves = layer.coefficients[i, :, j].tolist()
    unit = 2 * (x - X_MIN) / (X_MAX - X_MIN) - 1
    value = constant + slope * unit
    for k in range(1, count + 1):
        value += waves[k - 1] * math.cos(math.pi * k * unit)
        value += waves[count + k - 1] * math.sin(math.pi * k * unit)
    return value


@pytest.mark.parametrize("num_frequencies", [1, 2, 5])
def test_edges_are_as_defined(num_frequencies):
    layer = noisy(num_frequencies)
    x = 3 * torch.randn(9, DIM_IN, generator=seeded(2), dtype=torch.float64)
    edges = layer.edges(x).detach().numpy()
    assert layer.coefficients.shape == (DIM_IN, 2 + 2 * num_frequencies, DIM_OUT)
    for n, i, j in np.ndindex(*edges.shape):
        expected = by_hand(layer, i, j, x[n, i].item())
        assert edges[n, i, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(layer(x).detach(), edges.sum(1), rtol=1e-10, atol=1e-10)


def test_waves_have_the_frequencies_that_an_fft_finds():
    layer = noisy(4)
    with torch.no_grad():
        layer.coefficients[:, 1] = 0  # without the line the range is one period
    x = X_MIN + (X_MAX - X_MIN) * np.arange(64) / 64
    values = layer.edge(1, 3)(torch.from_numpy(x)).detach().numpy()
    found = 2 / 64 * np.abs(np.fft.rfft(values))
    cosines, sines = layer.coefficients[1, 2:, 3].detach().numpy().reshape(2, 4)
    np.testing.assert_allclose(found[1:5], np.hypot(cosines, sines), rtol=1e-10)
    np.testing.assert_allclose(found[5:], 0, atol=1e-12)


def test_all_but_the_line_repeats_beyond_the_range():
    layer, width = noisy(3), X_MAX - X_MIN
    x = torch.linspace(X_MIN, X_MAX, 17, dtype=torch.float64)[:, None].expand(-1, DIM_IN)
    rise = (layer.edges(x + width) - layer.edges(x)).detach()
    expected = 2 * layer.coefficients[:, 1].detach().expand_as(rise)
    torch.testing.assert_close(rise, expected, rtol=1e-9, atol=1e-9)


def test_frequencies_in_float32_are_whole_periods():
    layer = KANFourierLayer(2, 3, 7, generator=seeded(0))
    np.testing.assert_allclose(layer.frequencies / math.pi, np.arange(1, 8), rtol=1e-6)
    assert "frequencies" not in layer.state_dict()


def test_start_is_straight_lines_through_the_middle_of_the_range():
    layer = KANFourierLayer(DIM_IN, DIM_OUT, 3, X_MIN, X_MAX, seeded(0)).double()
    x = torch.linspace(-5, 5, 21, dtype=torch.float64)[:, None].expand(-1, DIM_IN)
    edges = layer.edges(x).detach().numpy()
    np.testing.assert_allclose(np.diff(edges, n=2, axis=0), 0, atol=1e-6)
    assert np.abs(edges[-1] - edges[0]).min() > 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_frequencies": 0}, "num_frequencies to be a whole number of at least 1, got 0."),
        ({"num_frequencies": "5"}, "num_frequencies to be a whole number of at least 1, got '5'."),
        ({"x_max": math.inf}, "x_max to be a finite number, got inf."),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANFourierLayer needs ") as caught:
        KANFourierLayer(2, 5, **options)
    assert str(caught.value) == f"KANFourierLayer needs {said}"
