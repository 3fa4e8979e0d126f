"""Polynomial edges, compared with numpy's Chebyshev series."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.polynomial import Chebyshev
from torch import Tensor

from kan_exp.layers import KANChebyshevLayer

X_MIN, X_MAX = -1.25, 2.75
DIM_IN, DIM_OUT = 3, 5
DEGREES = [1, 2, 3, 8, 15]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(degree: int) -> KANChebyshevLayer:
    """A layer in float64 whose coefficients are noise."""
    size = DIM_IN, DIM_OUT, degree, X_MIN, X_MAX
    layer = KANChebyshevLayer(*size, generator=seeded(0)).double()
    with torch.no_grad():
        layer.coefficients.normal_(generator=seeded(1))
    return layer


def numpys(layer: KANChebyshevLayer, i: int, j: int) -> Chebyshev:
    """The same edge as numpy has it; beyond the range it explodes."""
    return Chebyshev(layer.coefficients[i, :, j].detach().numpy(), domain=[X_MIN, X_MAX])


def points(rows: int, low: float = X_MIN, high: float = X_MAX) -> Tensor:
    unit = torch.rand(rows, DIM_IN, generator=seeded(3), dtype=torch.float64)
    return low + unit * (high - low)


@pytest.mark.parametrize("degree", DEGREES)
def test_edges_in_the_range_are_numpys(degree):
    layer, x = noisy(degree), points(60)
    x[0], x[1] = X_MIN, X_MAX
    edges = layer.edges(x).detach().numpy()
    assert layer.coefficients.shape == (DIM_IN, degree + 1, DIM_OUT)
    for i, j in itertools.product(range(DIM_IN), range(DIM_OUT)):
        expected = numpys(layer, i, j)(x[:, i].numpy())
        np.testing.assert_allclose(edges[:, i, j], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(layer(x).detach(), edges.sum(1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("degree", DEGREES)
def test_beyond_the_range_an_edge_goes_on_straight(degree):
    layer = noisy(degree)
    for i, j in itertools.product(range(DIM_IN), range(DIM_OUT)):
        polynomial = numpys(layer, i, j)
        for end, sign in ((X_MIN, -1), (X_MAX, 1)):
            x = end + sign * np.array([0.01, 0.5, 3.0, 1e4])
            expected = polynomial(end) + polynomial.deriv()(end) * (x - end)
            found = layer.edge(i, j)(torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("degree", DEGREES)
def test_slopes_are_numpys_inside_and_at_the_ends_outside(degree):
    layer = noisy(degree)
    x = points(60, X_MIN - 2, X_MAX + 2).requires_grad_()
    inside = x.detach().numpy().clip(X_MIN, X_MAX)
    assert 10 < (inside != x.detach().numpy()).sum() < 170
    (found,) = torch.autograd.grad(layer(x)[:, 4].sum(), x)
    for i in range(DIM_IN):
        expected = numpys(layer, i, 4).deriv()(inside[:, i])
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-8, atol=1e-8)


def test_start_is_straight_lines_through_the_middle_of_the_range():
    layer = KANChebyshevLayer(DIM_IN, DIM_OUT, 6, X_MIN, X_MAX, seeded(0)).double()
    x = torch.linspace(-5, 5, 21, dtype=torch.float64)[:, None].expand(-1, DIM_IN)
    edges = layer.edges(x).detach().numpy()
    np.testing.assert_allclose(np.diff(edges, n=2, axis=0), 0, atol=1e-6)
    middle = torch.full((1, DIM_IN), (X_MIN + X_MAX) / 2, dtype=torch.float64)
    np.testing.assert_allclose(layer.edges(middle).detach(), 0, atol=1e-6)
    assert np.abs(edges[-1] - edges[0]).min() > 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"degree": 0}, "degree to be a whole number of at least 1, got 0."),
        ({"degree": 2.5}, "degree to be a whole number of at least 1, got 2.5."),
        ({"x_min": 3, "x_max": -3}, "x_min < x_max, got 3 and -3."),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANChebyshevLayer needs ") as caught:
        KANChebyshevLayer(2, 5, **options)
    assert str(caught.value) == f"KANChebyshevLayer needs {said}"
