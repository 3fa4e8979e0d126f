"""Least squares on derivatives of networks, compared with automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch

from kan_exp.layers import (
    KANChebyshevLayer,
    KANLinearLayer,
    KANSplineLayer,
    LayerSpec,
    make_network,
)
from kan_exp.layers.jets import input_jets
from kan_exp.optimizers import BatchedNetworks, LevenbergMarquardt, ResidualFit, Residuals, Term
from kan_exp.optimizers.fit import Limits

SPLINE = LayerSpec(KANSplineLayer, {"num_intervals": 5, "degree": 3})
KINDS = {
    "spline": SPLINE,
    "chebyshev": LayerSpec(KANChebyshevLayer, {"degree": 3}),
    "linear": [SPLINE, LayerSpec(KANLinearLayer, {"activation": "none"})],
}
KEYS = [(0, 0), (0, 1), (0, 0, 1)]
GENERATOR = torch.Generator


def equations(points, jets, coefficients):
    u, v = jets[()].unbind(-1)
    first = jets[0, 0][..., 0] + u * jets[1,][..., 1] + points[:, 0] * coefficients[..., 0].exp()
    return torch.stack([first, v - jets[0, 0, 1][..., 0] * jets[0, 1][..., 1]], -1)


def random_fit(spec, sparse=False, multiply=()):
    generator = torch.Generator().manual_seed(5)
    networks = [make_network(spec, [2, 3, 2], generator, multiply).double() for _ in range(2)]
    for network in networks:
        for part in network.parameters():
            part.data += 0.3 * torch.randn(part.shape, generator=generator, dtype=torch.float64)
        if sparse:
            network[0].set_mask(torch.tensor([[True, False, True], [True, True, False]]))
            network[0].straighten(torch.tensor([[True, False, False], [False, True, False]]))
            network[1].straighten(torch.tensor([[True, False], [False, False], [False, True]]))
    x = 5 * torch.rand(11, 2, generator=generator, dtype=torch.float64) - 2.5
    slopes = torch.tensor([0.5, 2.0], dtype=torch.float64)
    term = Term(input_jets(x, slopes), 3 * x, KEYS, equations, weight=0.7)
    start = torch.rand(2, 1, generator=generator, dtype=torch.float64)
    return ResidualFit(
        BatchedNetworks(networks), Residuals([term], start), [], Limits(memory=20_000)
    )


@pytest.mark.parametrize("multiply", [(), (2, 1)], ids=["sums", "products"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_loss(kind, sparse, multiply):
    fit = random_fit(KINDS[kind], sparse and kind == "spline", multiply)
    parameters = fit.read().requires_grad_()
    (gradient,) = torch.autograd.grad(fit.evaluate(parameters).loss.sum(), parameters)
    with torch.no_grad():
        value, system = fit.expand(parameters.detach())
    torch.testing.assert_close(2 * system.slope, gradient)
    torch.testing.assert_close(value.loss, fit.evaluate(parameters).loss.detach())
    assert gradient[:, -1].abs().min() > 0  # that of the coefficient


def test_a_decay_and_its_rate_are_found():
    # u' = -k u, u(0) = 1, and u is known to be 1/4 at 2: k = log 2.
    network = make_network(LayerSpec(KANSplineLayer, {"num_intervals": 8, "degree": 5}), [1, 1])
    x = torch.linspace(0, 2, 50, dtype=torch.float64)[:, None]

    def inside(points, jets, coefficients):
        return jets[(0,)] + coefficients.exp() * jets[()]

    ends = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    terms = [
        Term(input_jets(x), x, [(0,)], inside),
        Term(input_jets(ends), ends, [()], lambda p, j, c: j[()] - 0.25 ** (p / 2)),
    ]
    found = torch.zeros(1, 1, dtype=torch.float64)
    optimizer = LevenbergMarquardt(network)
    for _ in range(20):
        optimizer.step(lambda: Residuals(terms, found))
    assert found.exp().item() == pytest.approx(math.log(2), rel=1e-6)
    assert network(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=1e-6)
