"""Edges that are Gaussian bumps beside a base, compared with scipy's densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm

from kan_exp.layers import KANRBFLayer

X_MIN, X_MAX = -1.25, 2.75
DIM_IN, DIM_OUT = 3, 5
BASES = {"linear": lambda x: x, "silu": lambda x: x * expit(x)}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(num_centers: int, base: str) -> KANRBFLayer:
    """A layer in float64 whose coefficients are noise and whose centres have all digits."""
    size = DIM_IN, DIM_OUT, num_centers, X_MIN, X_MAX, base
    layer = KANRBFLayer(*size, generator=seeded(0)).double()
    layer.centers.copy_(torch.from_numpy(np.linspace(X_MIN, X_MAX, num_centers)))
    with torch.no_grad():
        layer.coefficients.normal_(generator=seeded(1))
    return layer


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("num_centers", [2, 3, 8])
def test_edges_are_a_base_and_scipys_bumps(num_centers, base):
    layer = noisy(num_centers, base)
    x = 2 * torch.randn(11, DIM_IN, generator=seeded(2), dtype=torch.float64)
    edges = layer.edges(x).detach().numpy()
    centers = np.linspace(X_MIN, X_MAX, num_centers)
    spread = (centers[1] - centers[0]) / math.sqrt(2)
    assert layer.coefficients.shape == (DIM_IN, num_centers + 1, DIM_OUT)
    for n, i, j in np.ndindex(*edges.shape):
        point, weights = x[n, i].item(), layer.coefficients[i, :, j].tolist()
        bumps = norm.pdf(point, centers, spread) / norm.pdf(0, 0, spread)  # of height 1
        expected = weights[0] * BASES[base](point) + np.dot(weights[1:], bumps)
        assert edges[n, i, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(layer(x).detach(), edges.sum(1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("base", BASES)
def test_far_from_the_centres_only_the_base_is_left(base):
    layer = noisy(6, base)
    for x in (X_MIN - 30, X_MAX + 30):
        sample = torch.full((1, DIM_IN), x, dtype=torch.float64, requires_grad=True)
        expected = layer.coefficients[:, 0].detach().numpy() * BASES[base](x)
        np.testing.assert_allclose(layer.edges(sample)[0].detach(), expected, rtol=1e-9)
        (slope,) = torch.autograd.grad(layer(sample).sum(), sample)
        assert (slope != 0).all()  # gradients stay alive


def test_start_is_the_base_alone():
    for base, spread in (("linear", 1.0), ("silu", 1.79)):
        layer = KANRBFLayer(DIM_IN, DIM_OUT, 6, X_MIN, X_MAX, base, seeded(0)).double()
        assert not layer.coefficients[:, 1:].any()
        x = torch.tensor([[-3.0, 0.5, 2.0]], dtype=torch.float64)
        ratio = layer.edges(x).detach().numpy()[0] / BASES[base](x.numpy()[0])[:, None]
        many = KANRBFLayer(1, 4000, base=base, generator=seeded(1)).coefficients[0, 0]
        np.testing.assert_allclose(ratio, layer.coefficients[:, 0].detach(), rtol=1e-9)
        assert many.std().item() == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_centers": 1}, "num_centers to be a whole number of at least 2, got 1."),
        ({"base": "none"}, "base to be one of auto, silu, linear, got 'none'."),
        ({"x_min": 2.0}, "x_min < x_max, got 2.0 and 2.0."),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANRBFLayer needs ") as caught:
        KANRBFLayer(2, 5, **options)
    assert str(caught.value) == f"KANRBFLayer needs {said}"
