"""Connectivity, and networks without the units that have no edges."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kan_exp.layers import LayerSpec
from kan_exp.layers.sparsity import connected, count_edges, masks_of, select, thinned
from tests.layers.test_contract import LAYER_CONFIGS, Kind


def boolean(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_only_edges_on_a_path_from_input_to_output_stay():
    # Unit 2 has no input, unit 3 leads nowhere.
    masks = [boolean([1, 0, 1], [1, 0, 0]), boolean([1, 0], [1, 1], [0, 0]), boolean([1], [1])]
    found = connected(masks)
    expected = [boolean([1, 0, 0], [1, 0, 0]), boolean([1, 0], [0, 0], [0, 0]), boolean([1], [0])]
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert count_edges(found) == 4


def test_an_output_without_a_path_is_no_network():
    assert connected([boolean([1, 0]), boolean([1, 0], [1, 0])]) is None
    assert connected([boolean([0, 1]), boolean([1, 0], [1, 0])]) is None


@pytest.mark.parametrize("config", LAYER_CONFIGS, ids=lambda path: path.stem)
def test_a_layer_without_some_units_has_the_edges_of_the_others(config):
    kind = Kind.read(config)
    layer, x = kind.bent(), torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).double()
    layer.set_limits(torch.tensor([[-1.0, 1], [0, 1], [-0.5, 0.5]]))
    layer.eval()
    inputs, outputs = torch.tensor([0, 2]), torch.tensor([1, 3, 4])
    layer.set_mask(boolean([1, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]))
    layer.straighten(boolean([0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0]), x)
    layer.node_operation = ("sum", "product", "sum", "sum", "sum")
    made = select(layer, LayerSpec(kind.layer, kind.options), inputs, outputs).eval()
    torch.testing.assert_close(made.edges(x[:, inputs]), layer.edges(x)[:, inputs][..., outputs])
    assert made.node_operation == ("product", "sum", "sum")
    assert torch.equal(made.domain, layer.domain[inputs])


@pytest.mark.parametrize("name", ["spline", "linear"])
def test_a_thinned_network_is_the_same_function(name):
    kind = Kind.read(next(path for path in LAYER_CONFIGS if path.stem == name))
    network = nn.Sequential(kind.bent(2, 3), kind.bent(3, 2, seed=1))
    if name == "linear":  # which is an affine map at the start of a network
        network[0].activation = "none"
    masks = [boolean([1, 0, 0], [1, 0, 1]), boolean([1, 1], [0, 0], [1, 0])]
    for layer, mask in zip(network, masks, strict=True):
        layer.set_mask(mask)
    before, spec = copy.deepcopy(network.state_dict()), LayerSpec(kind.layer, kind.options)
    made = thinned(network, [spec, spec], masks_of(network))
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(made(x), network(x))
    assert [layer.dim_out for layer in made] == [2, 2]
    assert all(torch.equal(before[name], part) for name, part in network.state_dict().items())
