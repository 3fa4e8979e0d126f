"""Layers made without options start on the range of standardized inputs."""

from __future__ import annotations

import pytest
import torch

from kan_exp import layers

RANGED = ["Chebyshev", "Fourier", "Interpo", "RBF", "Rational", "Spline", "Wavelet"]


@pytest.mark.parametrize("name", RANGED)
def test_without_options_edges_start_on_two_deviations(name):
    layer = getattr(layers, f"KAN{name}Layer")(2, 3)
    assert torch.equal(layer.domain, torch.tensor([[-2.0, 2.0]] * 2))
    given = getattr(layers, f"KAN{name}Layer")(2, 3, x_min=-1.0, x_max=4.0)
    assert torch.equal(given.domain, torch.tensor([[-1.0, 4.0]] * 2))
