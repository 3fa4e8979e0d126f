"""A stacked layer is its replicas side by side, values and gradients, also far outside."""

import pytest
import torch

from kan_exp.layers import KANInterpoLayer, KANSplineLayer, LayerSpec, make_network, stack_networks
from kan_exp.layers.kernels import native_sum

KINDS = [
    (KANInterpoLayer, {"num_x": 7}),
    (KANInterpoLayer, {"num_x": 7, "outside": "hold"}),
    (KANInterpoLayer, {"num_x": 7, "outside": "zero"}),
    (KANSplineLayer, {"num_intervals": 5}),
    (KANSplineLayer, {"num_intervals": 4, "degree": 2, "base": "silu"}),
]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0].__name__}-{kind[1]}")
def layers(request):
    """Three layers with grids of their own, and the stack of them."""
    generator = torch.Generator().manual_seed(0)
    networks = []
    for _ in range(3):
        network = make_network(LayerSpec(*request.param), [2, 3], generator).double()
        for part in network.parameters():
            part.data.normal_(generator=generator)
        network[0].first_knot.add_(torch.rand(2, generator=generator))
        network[0].spacing.mul_(1 + torch.rand(2, generator=generator))
        networks.append(network)
    return [network[0] for network in networks], stack_networks(networks)[0]


@pytest.mark.parametrize("native", [True, False])
def test_values_and_gradients_are_those_of_each_replica(layers, native, monkeypatch):
    each, stack = layers
    if not native:
        monkeypatch.setattr(native_sum, "takes", lambda x: False)
    x = 4 * torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(1)).double()
    together = x.clone().requires_grad_()
    found = stack.forward_stacked(together)
    found.square().sum().backward()
    for replica, layer in enumerate(each):
        alone = x[replica].clone().requires_grad_()
        expected = layer.edges(alone).sum(1)
        expected.square().sum().backward()
        torch.testing.assert_close(found[replica], expected)
        torch.testing.assert_close(together.grad[replica], alone.grad)
        for stacked, part in zip(stack.parameters(), layer.parameters(), strict=True):
            torch.testing.assert_close(stacked.grad[replica], part.grad)


@pytest.mark.parametrize("kind", KINDS[::3], ids=str)
def test_a_stack_of_one_is_that_one(kind):
    generator = torch.Generator().manual_seed(0)
    network = make_network(LayerSpec(*kind), [2, 3], generator)
    (layer,), (stack,) = network, stack_networks([network])
    x = torch.randn(40, 2, generator=generator)
    torch.testing.assert_close(stack.forward_stacked(x[None])[0], layer(x))
    stack.forward_stacked(x[None]).sin().sum().backward()
    layer(x).sin().sum().backward()
    torch.testing.assert_close(stack.values.grad[0], layer.values.grad)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_roughness_and_its_gradients_are_those_of_each_replica(layers, order):
    each, stack = layers
    found = stack.roughness_stacked(order)
    if found.requires_grad:
        (found * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    for replica, layer in enumerate(each):
        expected = layer.roughness(order).mean()
        torch.testing.assert_close(found[replica], expected)
        ((replica + 1) * expected).backward()
        torch.testing.assert_close(stack.values.grad[replica], layer.values.grad)


def test_a_replica_of_nothing_but_nan_leaves_the_others_alone(layers):
    _, stack = layers
    x = torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(1)).double()
    stack.forward_stacked(x).sum().backward()
    clean = [part.grad.clone() for part in stack.parameters()]
    stack.zero_grad()
    x[1] = torch.nan
    found = stack.forward_stacked(x)
    found.sum().backward()
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()
    for part, before in zip(stack.parameters(), clean, strict=True):
        assert torch.equal(part.grad[[0, 2]], before[[0, 2]])
