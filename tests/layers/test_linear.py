"""Edges that only scale an activation: in a network, the usual MLP."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from kan_exp.layers import KANLinearLayer, LayerSpec, make_network
from kan_exp.layers.linear import ACTIVATIONS

MODULES = {
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain_mlp(network: nn.Sequential, activation: str) -> nn.Sequential:
    """The MLP of any tutorial, with the same weights."""
    parts: list[nn.Module] = []
    for layer in network:
        linear = nn.utils.skip_init(nn.Linear, layer.dim_in, layer.dim_out)
        linear.load_state_dict({"weight": layer.weight, "bias": layer.bias})
        parts += [linear, MODULES[activation]()]
    return nn.Sequential(*parts[:-1])


@pytest.mark.parametrize("activation", MODULES)
@pytest.mark.parametrize("dims", [[2, 1], [2, 8, 1], [3, 8, 7, 6, 2]])
def test_a_network_is_the_usual_mlp(dims, activation):
    network = make_network(LayerSpec(KANLinearLayer, {"activation": activation}), dims, seeded(0))
    mlp = plain_mlp(network, activation)
    x = torch.randn(20, dims[0], generator=seeded(1))
    torch.testing.assert_close(network(x), mlp(x), rtol=1e-6, atol=1e-6)
    network(x).square().sum().backward()
    mlp(x).square().sum().backward()
    linears = [part for part in mlp if isinstance(part, nn.Linear)]
    for layer, linear in zip(network, linears, strict=True):
        torch.testing.assert_close(layer.weight.grad, linear.weight.grad, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(layer.bias.grad, linear.bias.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", MODULES)
def test_edges_scale_the_activation(activation):
    layer = KANLinearLayer(3, 5, activation, seeded(0)).double()
    x = torch.randn(9, 3, generator=seeded(1), dtype=torch.float64)
    edges = layer.edges(x).detach().numpy()
    active = MODULES[activation]()(x).numpy()
    for n, i, j in np.ndindex(*edges.shape):
        expected = layer.weight[j, i].item() * active[n, i] + layer.bias[j].item() / 3
        assert edges[n, i, j] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_every_activation_has_an_oracle():
    assert set(MODULES) == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", MODULES)
def test_start_preserves_variance_through_the_activation(activation):
    x = torch.randn(2000, 60, generator=seeded(2))
    layer = KANLinearLayer(60, 80, activation, seeded(0))
    centred = layer(x) - layer.bias
    spread = centred.var(0).mean().item()
    assert 0.85 < spread < 1.15


@pytest.mark.parametrize("activation", MODULES)
def test_the_noted_variances_are_those_of_the_activations(activation):
    """By Gauss's rule over the normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    values = MODULES[activation]()(torch.from_numpy(nodes)).numpy()
    weights = weights / math.sqrt(2 * math.pi)
    variance = (weights * values**2).sum() - (weights * values).sum() ** 2
    assert ACTIVATIONS[activation][1] == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("activation", ["Silu", "sigmoid", "", None])
def test_bad_options_are_named(activation):
    with pytest.raises(ValueError, match=r"^KANLinearLayer needs ") as caught:
        KANLinearLayer(2, 5, activation)
    assert str(caught.value) == (
        f"KANLinearLayer needs activation to be one of silu, gelu, relu, tanh, none, "
        f"got {activation!r}."
    )
