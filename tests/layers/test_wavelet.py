"""Edges that are sums of wavelets, compared with SciPy's definition as a second derivative."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kan_exp.layers import KANWaveletLayer

DIM_IN, DIM_OUT, COUNT = 3, 5, 2


def noisy() -> KANWaveletLayer:
    """A layer in float64 whose parameters are noise."""
    draw = torch.Generator().manual_seed(1)
    layer = KANWaveletLayer(DIM_IN, DIM_OUT, COUNT, -1.0, 2.5, draw).double()
    with torch.no_grad():
        for part in layer.parameters():
            part.normal_(generator=draw)
    return layer


def hat(t: np.ndarray) -> np.ndarray:
    """Minus the second derivative of a Gaussian, scaled to an integrated square of 1."""
    step = 1e-4
    gauss = [np.exp(-((t + k * step) ** 2) / 2) for k in (-1, 0, 1)]
    second = (gauss[0] - 2 * gauss[1] + gauss[2]) / step**2
    return -second * 2 / (np.sqrt(3) * np.pi**0.25)


def test_the_hat_has_norm_one():
    t = np.linspace(-20, 20, 20_001)
    assert np.trapezoid(hat(t) ** 2, t) == pytest.approx(1, abs=1e-6)


def test_edges_are_lines_and_mexican_hats():
    layer = noisy()
    draw = torch.Generator().manual_seed(2)
    x = 2 * torch.randn(40, DIM_IN, generator=draw, dtype=torch.float64)
    edges = layer.edges(x).detach().numpy()
    weight, shift, scale, slope = (
        part.detach().numpy()
        for part in (layer.weight, layer.translation, layer.log_scale.exp(), layer.slope)
    )
    for i, j in np.ndindex(DIM_IN, DIM_OUT):
        column = x[:, i].numpy()
        expected = slope[i, j] * column
        for k in range(COUNT):
            expected = expected + weight[i, k, j] * hat((column - shift[i, k, j]) / scale[i, k, j])
        np.testing.assert_allclose(edges[:, i, j], expected, atol=1e-6)


def test_an_edge_goes_on_as_a_line_far_outside():
    layer = noisy()
    x = torch.full((1, DIM_IN), 1e8, dtype=torch.float64)
    found = (layer.edges(x)[0] / 1e8).detach()
    np.testing.assert_allclose(found, layer.slope.detach(), rtol=1e-12)


def test_hats_start_evenly_over_the_range():
    layer = KANWaveletLayer(1, 1, 4, -2.0, 2.0)
    assert layer.translation.flatten().tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert layer.log_scale.exp().flatten().tolist() == [1.0] * 4


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="num_wavelets to be a whole number of at least 1, got 0"):
        KANWaveletLayer(2, 1, num_wavelets=0)
