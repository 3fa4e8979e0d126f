"""Edges that are quotients of polynomials, compared with numpy's polynomials."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial

from kan_exp.layers import KANRationalLayer

X_MIN, X_MAX = -1.25, 2.75
DIM_IN, DIM_OUT = 3, 5
DEGREES = [2, 3, 5, 8]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(degree: int) -> KANRationalLayer:
    """A layer in float64 whose coefficients are noise."""
    size = DIM_IN, DIM_OUT, degree, X_MIN, X_MAX
    layer, draw = KANRationalLayer(*size, generator=seeded(0)).double(), seeded(1)
    with torch.no_grad():
        for part in layer.parameters():
            part.normal_(generator=draw)
    return layer


def numpys(layer: KANRationalLayer, i: int, j: int) -> tuple[Polynomial, Polynomial]:
    """Numerator and what stands below it."""
    options = {"domain": [X_MIN, X_MAX], "window": [-1, 1]}
    above = Polynomial(layer.numerator[i, :, j].detach().numpy(), **options)
    below = Polynomial([0, *layer.denominator[i, :, j].tolist()], **options)
    return above, below


@pytest.mark.parametrize("degree", DEGREES)
def test_edges_are_numpys(degree):
    layer = noisy(degree)
    x = 2 * torch.randn(40, DIM_IN, generator=seeded(2), dtype=torch.float64)
    edges = layer.edges(x).detach().numpy()
    assert layer.numerator.shape == (DIM_IN, degree + 1, DIM_OUT)
    assert layer.denominator.shape == (DIM_IN, degree - 1, DIM_OUT)
    for i, j in np.ndindex(DIM_IN, DIM_OUT):
        above, below = numpys(layer, i, j)
        column = x[:, i].numpy()
        expected = above(column) / np.sqrt(1 + below(column) ** 2)
        np.testing.assert_allclose(edges[:, i, j], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(layer(x).detach(), edges.sum(1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("degree", DEGREES)
def test_slopes_are_numpys(degree):
    layer = noisy(degree)
    x = torch.randn(40, DIM_IN, generator=seeded(2), dtype=torch.float64).requires_grad_()
    (found,) = torch.autograd.grad(layer(x)[:, 3].sum(), x)
    for i in range(DIM_IN):
        above, below = numpys(layer, i, 3)
        column = x[:, i].detach().numpy()
        p, q, root = above(column), below(column), np.sqrt(1 + below(column) ** 2)
        expected = above.deriv()(column) / root - p * q * below.deriv()(column) / root**3
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("degree", DEGREES)
def test_an_edge_goes_on_like_a_straight_line_however_far_outside(degree, dtype):
    """Powers of what lies far outside are too large for float32 long before the quotient is."""
    layer = noisy(degree)
    far = torch.tensor([1e2, 1e3, -1e3, 1e5, 1e6, -1e9], dtype=torch.float64)
    edges = np.empty((len(far), DIM_IN, DIM_OUT))
    for i, j in np.ndindex(DIM_IN, DIM_OUT):
        above, below = numpys(layer, i, j)
        edges[:, i, j] = above(far.numpy()) / np.sqrt(1 + below(far.numpy()) ** 2)
    half = (X_MAX - X_MIN) / 2
    limit = (layer.numerator[:, -1] / layer.denominator[:, -1].abs() / half).detach().numpy()
    np.testing.assert_allclose(edges[-2] / 1e6, limit, rtol=0.01)
    layer = layer.to(dtype)
    x = far[:, None].expand(-1, DIM_IN).to(dtype).requires_grad_()
    np.testing.assert_allclose(layer.edges(x).detach(), edges, rtol=1e-2, atol=1e-2)
    (slope,) = torch.autograd.grad(layer(x).sum(), x)
    assert slope.isfinite().all()
    np.testing.assert_allclose(slope[-2], limit.sum(1), rtol=0.01)


@pytest.mark.parametrize("degree", DEGREES)
def test_start_is_nearly_straight_lines(degree):
    layer = KANRationalLayer(DIM_IN, DIM_OUT, degree, X_MIN, X_MAX, seeded(0)).double()
    x = torch.linspace(X_MIN, X_MAX, 41, dtype=torch.float64)
    edges = layer.edges(x[:, None].expand(-1, DIM_IN)).detach().numpy().reshape(41, -1)
    lines = np.polyfit(x.numpy(), edges, 1)
    residue = edges - np.polyval(lines[:, None], x.numpy()[:, None])
    assert residue.std() < 0.05 * edges.std()
    assert (layer.denominator != 0).all()  # exactly zero it would have no gradient


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"degree": 1}, "degree to be a whole number of 2 to 8, got 1."),
        ({"degree": 9}, "degree to be a whole number of 2 to 8, got 9."),
        ({"x_min": 3, "x_max": -3}, "x_min < x_max, got 3 and -3."),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANRationalLayer needs ") as caught:
        KANRationalLayer(2, 5, **options)
    assert str(caught.value) == f"KANRationalLayer needs {said}"
