"""Derivatives by inputs, compared with automatic differentiation of the forward pass."""

from __future__ import annotations

import pytest
import torch
from torch.func import jacrev, vmap

from kan_exp.layers import (
    KANChebyshevLayer,
    KANInterpoLayer,
    KANLayer,
    KANSplineLayer,
    LayerSpec,
    make_network,
)
from kan_exp.layers.jets import chain_rule, input_jets, network_jets

KEYS = [(), (0,), (1,), (0, 0), (0, 1), (0, 0, 1)]
KINDS = {
    "spline": LayerSpec(KANSplineLayer, {"num_intervals": 6, "degree": 5}),
    "base": LayerSpec(KANSplineLayer, {"num_intervals": 4, "degree": 3, "base": "silu"}),
    "chebyshev": LayerSpec(KANChebyshevLayer, {"degree": 4}),
    "mlp": LayerSpec(KANLayer, {"fcn_hidden": 3, "fcn_n_sin": 1, "activation": "silu"}),
}


def derived(network, x, key):
    """A derivative of each output, one `jacrev` for each order."""

    def outputs(point):
        return network(point[None])[0]

    function = outputs
    for place in key:
        inner = function
        function = lambda point, inner=inner, place=place: jacrev(inner)(point)[:, place]  # noqa: E731
    return vmap(function)(x)


def network_of(spec, multiply=()):
    generator = torch.Generator().manual_seed(3)
    network = make_network(spec, [2, 3, 2], generator, multiply).double().eval()
    for part in network.parameters():
        part.data += 0.3 * torch.randn(part.shape, generator=generator, dtype=torch.float64)
    x = 5 * torch.rand(9, 2, generator=generator, dtype=torch.float64) - 2.5
    return network, x  # some points are beyond the grids


@pytest.mark.parametrize("multiply", [(), (1,)], ids=["sums", "product"])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_automatic_differentiation(kind, multiply):
    network, x = network_of(KINDS[kind], multiply)
    slopes = torch.tensor([0.5, 3.0], dtype=torch.float64)
    jets = network_jets(network, input_jets(x, slopes), KEYS)
    for key in KEYS:
        scale = slopes[list(key)].prod()
        torch.testing.assert_close(jets[key], scale * derived(network, x, key))


def test_masked_and_straight_edges_count():
    network, x = network_of(KINDS["spline"])
    network[0].set_mask(torch.tensor([[True, False, True], [True, True, True]]))
    network[1].straighten(torch.tensor([[True, False], [False, False], [False, True]]))
    jets = network_jets(network, input_jets(x), KEYS)
    for key in KEYS:
        torch.testing.assert_close(jets[key], derived(network, x, key))


def test_tables_have_slopes_only():
    network, x = network_of(LayerSpec(KANInterpoLayer, {"num_x": 5, "outside": "zero"}))
    jets = network_jets(network, input_jets(x), [(0, 0)])
    torch.testing.assert_close(jets[(0,)], derived(network, x, (0,)))
    assert not jets[(0, 0)].any()


def test_a_spline_is_derived_beyond_its_degree():
    layer = KANSplineLayer(1, 1, num_intervals=3, degree=2).double()
    _, _, second, third, fourth = layer.edge_derivatives(torch.zeros(2, 1).double() + 0.3, 4)
    assert not third.any()
    assert not fourth.any()
    assert second.shape == (2, 1, 1)


def test_the_chain_rule_has_all_partitions():
    # The numbers of Bell: how many ways there are to divide 1, 2, 3 and 4 things.
    sums = [sum(term.times for term in chain_rule((0,) * order)) for order in range(1, 5)]
    assert sums == [1, 2, 5, 15]
