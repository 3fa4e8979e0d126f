"""The importance of edges, compared with networks that are computed by hand, edge by edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kan_exp.layers import KANInterpoLayer, KANLinearLayer, LayerSpec, make_network
from kan_exp.layers.importance import (
    ABLATION,
    GRADIENT,
    ablation_samples,
    edge_importance,
    errors_without_edges,
)
from tests.layers.test_contract import by_loop
from tests.layers.test_walk import MASKS, OPERATIONS, network, points

METHODS = [ABLATION, GRADIENT]


def linear(*weights: list[list[float]], bias: float = 0.0) -> nn.Sequential:
    """A network of straight edges with these slopes, `(in, out)` for each layer."""
    layers = []
    for slopes in weights:
        weight = torch.tensor(slopes, dtype=torch.float64)
        layer = KANLinearLayer(*weight.shape, activation="none").double()
        layer.weight.data, layer.bias.data = weight.T.clone(), torch.full_like(weight[0], bias)
        layers.append(layer)
    return nn.Sequential(*layers)


def changed_by_loop(made: nn.Sequential, x: Tensor, ablated: tuple[int, int, int]) -> Tensor:
    """The outputs if the values of one edge are replaced by their mean."""
    depth, i, j = ablated
    for n, (layer, mask, operations) in enumerate(zip(made, MASKS, OPERATIONS, strict=True)):
        edges = layer.edges(x)
        if n == depth:
            edges = edges.clone()
            edges[:, i, j] = edges[:, i, j].mean()
        x = by_loop(edges, mask, operations)
    return x


@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_straight_edges_has_the_importance_that_one_computes_by_hand(method):
    # f = 2 (3 x - y) + 5 (0.5 y) = 6 x + 0.5 y, of independent x = +-1 and y = +-2.
    x = torch.tensor([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    made = linear([[3.0, 0.0], [-1.0, 0.5]], [[2.0], [5.0]])
    first, second = edge_importance(made, x, method=method)
    deviation = np.sqrt(6**2 + 1**2)
    # Edges of y: 2 * -y has the deviation 4, and 5 * 0.5 y has 5; they cancel all but 1 of it.
    expected = np.array([[6, 0], [4, 5]]) / deviation
    np.testing.assert_allclose(first, expected, rtol=1e-12)
    np.testing.assert_allclose(second, np.array([[np.sqrt(36 + 16)], [5]]) / deviation, rtol=1e-12)


def test_an_edge_is_replaced_by_its_mean_and_everything_behind_it_is_evaluated():
    made, x = network(), points(40, 2)
    with torch.no_grad():
        outputs = made(x)
        importance = edge_importance(made, x)
        for depth, (values, mask) in enumerate(zip(importance, MASKS, strict=True)):
            for i, j in np.ndindex(*mask.shape):
                change = changed_by_loop(made, x, (depth, i, j)) - outputs
                expected = change.square().mean().sqrt() / outputs.std(correction=0)
                torch.testing.assert_close(values[i, j], expected if mask[i, j] else 0 * expected)


@pytest.mark.parametrize("method", METHODS)
def test_an_edge_that_the_mask_removes_has_exactly_no_importance(method):
    importance = edge_importance(network().float(), points(40, 2).float(), method=method)
    for values, mask in zip(importance, MASKS, strict=True):
        assert (values[~mask] == 0).all()


def test_gradients_agree_where_edges_vary_little():
    made, x = network(), 1e-3 * points(40, 2)
    pairs = zip(edge_importance(made, x), edge_importance(made, x, method=GRADIENT), strict=True)
    for ablated, estimated in pairs:
        assert ablated.max() > 0
        torch.testing.assert_close(estimated, ablated, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_constants_and_units_of_hidden_nodes_do_not_matter(method):
    x = points(30, 2)
    slopes = [[3.0, 1.0], [-1.0, 0.5]], [[2.0], [5.0]]
    plain = edge_importance(linear(*slopes), x, method=method)
    scaled = [[30.0, 10.0], [-10.0, 5.0]], [[0.2], [0.5]]
    for other in (linear(*slopes, bias=100.0), linear(*scaled)):
        for before, after in zip(plain, edge_importance(other, x, method=method), strict=True):
            torch.testing.assert_close(before, after)


@pytest.mark.parametrize("method", METHODS)
def test_classes_count_together_and_weights_as_repetitions(method):
    generator = torch.Generator().manual_seed(3)
    made = make_network([LayerSpec(KANInterpoLayer, {})] * 2, [3, 2, 4], generator).double()
    x = points(12, 3)
    times = torch.tensor([0, 1, 2, 3] * 3)
    softmax = nn.Softmax(-1)
    weighed = edge_importance(made, x, softmax, times.float(), method)
    repeated = edge_importance(made, x.repeat_interleave(times, 0), softmax, method=method)
    for one, other in zip(weighed, repeated, strict=True):
        torch.testing.assert_close(one, other)
    shifted = edge_importance(made, x, lambda outputs: softmax(outputs + 7.0), times, method)
    for one, other in zip(weighed, shifted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_prediction_has_no_important_edges(method):
    made = linear([[3.0], [2.0]], [[0.0]], bias=0.1).float()
    importance = edge_importance(made, points(50, 2).float() + 1e3, method=method)
    assert [values.count_nonzero() for values in importance] == [0, 0]


def test_modules_between_layers_are_evaluated():
    layers = linear([[3.0, 1.0], [-1.0, 0.5]], [[2.0], [5.0]])
    made = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh())
    x = points(30, 2)
    first, second = edge_importance(made, x)
    mean = layers[0].edges(x)[:, 1, 0].mean(0)
    hidden = layers[0](x)
    hidden = torch.stack([layers[0].edges(x)[:, 0, 0] + mean, hidden[:, 1]], 1)
    change = (layers[1](hidden.tanh())).tanh() - made(x)
    expected = change.square().mean().sqrt() / made(x).std(correction=0)
    torch.testing.assert_close(first[1, 0], expected)
    assert second.shape == (2, 1)


def test_the_error_without_an_edge_is_that_with_its_mean():
    made, x = network(), points(40, 2)
    with torch.no_grad():
        y = made(x).roll(1, 0)
        found = errors_without_edges(made, x, lambda outputs: float((outputs - y).square().mean()))
        for depth, (errors, mask) in enumerate(zip(found, MASKS, strict=True)):
            assert torch.equal(errors.isnan(), ~mask)
            for i, j in mask.nonzero().tolist():
                expected = (changed_by_loop(made, x, (depth, i, j)) - y).square().mean()
                assert errors[i, j].item() == pytest.approx(float(expected), rel=1e-6)


def test_wide_networks_are_ablated_on_fewer_samples():
    spec = [LayerSpec(KANLinearLayer, {})] * 3
    counts = [
        ablation_samples(make_network(spec, [width] * 4, torch.Generator()))
        for width in (2, 8, 32, 128)
    ]
    assert counts[0] > 100_000
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
