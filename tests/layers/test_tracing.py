"""Whoever looks at a layer's operations, or changes what they do, meets the definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from kan_exp.layers import EdgeLayer, KANInterpoLayer, KANLayer, KANSplineLayer
from kan_exp.layers.kernels import Grid, spline_sum, spline_values

KINDS = {
    "interpo": (KANInterpoLayer, {"num_x": 9}),
    "spline": (KANSplineLayer, {"num_intervals": 5}),
    "mlp": (KANLayer, {"fcn_hidden": 4}),
    "mlp, table": (KANLayer, {"fcn_hidden": 4, "table_points": 8}),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=KINDS)
def layer(request, monkeypatch) -> EdgeLayer:
    monkeypatch.setattr("kan_exp.layers.mlp.SMALL", 0)
    kind, options = KINDS[request.param]
    return kind(3, 4, **options, generator=seeded(0))


def points(rows: int = 20) -> Tensor:
    return torch.randn(rows, 3, generator=seeded(1))


def test_batches_of_gradients_are_the_gradients_one_by_one(layer):
    """As `torch.autograd.functional.jacobian(..., vectorize=True)` takes them."""
    x = points().requires_grad_()
    parts = x, *layer.parameters()
    y = layer(x)
    weights = torch.randn(3, *y.shape, generator=seeded(2))
    at_once = torch.autograd.grad(y, parts, weights, is_grads_batched=True, retain_graph=True)
    singly = [torch.autograd.grad(y, parts, weight, retain_graph=True) for weight in weights]
    for found, expected in zip(at_once, zip(*singly, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)
        assert not found.requires_grad


def test_a_graph_holds_all_that_a_layer_does(layer):
    graph = make_fx(layer)(points())
    x = 2 * points().flip(0)  # further out than what the graph was made of
    torch.testing.assert_close(graph(x), layer(x), rtol=1e-4, atol=1e-4)


def test_shapes_are_known_without_numbers(layer):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert layer(mode.from_tensor(points())).shape == (20, 4)


def test_negated_views_are_negated(layer):
    x = points(1)
    lazily = torch.complex(-x, -x).conj().imag  # whose memory holds -x
    assert lazily.is_neg()
    torch.testing.assert_close(layer(lazily), layer(x))
    wide = layer(points()).detach()
    gradient = torch._neg_view(-wide)
    parts = tuple(layer.parameters())
    found = torch.autograd.grad(layer(points()), parts, gradient)
    expected = torch.autograd.grad(layer(points()), parts, wide)
    torch.testing.assert_close(found, expected)


def test_numbers_of_several_kinds_are_promoted(layer):
    whole = torch.arange(60).view(20, 3) % 3
    torch.testing.assert_close(layer(whole), layer(whole.float()))


@pytest.mark.parametrize("wide", ["x", "table", "grid"])
def test_mixed_precision_is_that_of_the_definition(wide):
    x, table, grid = KANSplineLayer(3, 4, 300, generator=seeded(0))._read(points(900))
    if wide == "x":
        x = x.double()
    elif wide == "table":
        table = table.double()
    else:
        grid = Grid(*(part.double() for part in grid))
    found, expected = spline_sum(x, table, grid), spline_values(x, table, grid).sum(1)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected)


def test_a_table_elsewhere_is_an_error_and_no_crash():
    x, table, grid = KANSplineLayer(3, 4, generator=seeded(0))._read(points())
    with pytest.raises(RuntimeError, match="device"):
        spline_sum(x, table.to("meta"), grid)
