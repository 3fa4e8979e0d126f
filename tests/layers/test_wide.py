"""Layers so wide that one sample's hidden activations do not fit into a block of the sum."""

from __future__ import annotations

import torch

from kan_exp.layers import KANLayer
from kan_exp.layers.mlp import BLOCK, SMALL


def test_a_wide_layer_is_the_sum_of_its_edges():
    layer = KANLayer(
        1, 520, fcn_hidden=256, fcn_n_sin=1, generator=torch.Generator().manual_seed(0)
    )
    x = torch.linspace(-2, 2, 9).unsqueeze(1)
    assert layer.dim_out * layer.fcn_hidden > BLOCK
    assert len(x) * layer.numbers_per_sample > SMALL
    found, expected = layer(x), layer.edges(x).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weight = layer.output_weight
    grads = [torch.autograd.grad(y.square().sum(), weight)[0] for y in (found, expected)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)
