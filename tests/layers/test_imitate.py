"""Edges of every kind are fitted to given functions."""

from __future__ import annotations

import pytest
import torch

from kan_exp import layers
from kan_exp.config import choice

# Largest error of an edge's values, whose range is about 3.
ERRORS = {
    "spline": 1e-4,
    "interpo": 3e-3,
    "mlp": 5e-3,
    "chebyshev": 0.02,
    "fourier": 0.05,
    "rbf": 0.06,
    "rational": 0.01,
    "wavelet": 0.1,
}


def make(kind, *dims):
    component = choice("layer", kind)
    cls = getattr(layers, component.target.rpartition(".")[2])
    return cls(*dims, **component.options, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("kind", ERRORS)
def test_edges_follow_other_functions(kind):
    layer = make(kind, 3, 2)
    slope = torch.tensor([[1.0, -0.5], [0.3, 0.0], [-1.0, 2.0]]).double()

    def edges(x):
        return slope * x.unsqueeze(-1) / 2 + 0.3 * (x.unsqueeze(-1) * (1 + slope.abs())).sin()

    points = torch.linspace(-1.5, 1.5, 60).double()[:, None] * torch.tensor([1.0, 0.8, 1.2])
    layer.imitate(points, edges)
    between = points[:-1] + 0.4 * points.diff(dim=0)
    assert (layer.edges(between) - edges(between)).abs().max() < ERRORS[kind]


@pytest.mark.parametrize("kind", ERRORS)
def test_edges_end_with_the_slopes_of_other_functions(kind):
    layer = make(kind, 1, 1)

    def edges(x):  # bends within the points only
        inner = x.clamp(-1.5, 1.5)
        return (x + 0.4 * (torch.pi * inner / 3).sin()).unsqueeze(-1)

    points = torch.linspace(-1.5, 1.5, 60).double()[:, None]
    layer.imitate(points, edges)
    layer.set_limits(torch.tensor([[-1.5, 1.5]]).double())
    beyond = torch.tensor([[-4.5], [-1.8], [1.7], [4.5]]).double()
    layer.eval()
    assert (layer.edges(beyond) - edges(beyond)).abs().max() < 0.6


def test_lines_are_imitated_exactly_and_other_edges_by_their_best_line():
    layer = make("linear", 2, 3)
    layer.activation = "none"
    points = torch.linspace(-1, 2, 31).double()[:, None].expand(-1, 2)
    slope = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]).double()
    layer.imitate(points, lambda x: x.unsqueeze(-1) * slope + 0.25)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(layer(x), x @ slope + 0.5)


def test_edges_that_share_parameters_are_refused():
    class Shared(layers.EdgeLayer):
        def __init__(self, dim_in, dim_out):
            super().__init__(dim_in, dim_out, -1.0, 1.0)
            self.slope = torch.nn.Parameter(torch.ones(()))

        def edges(self, x):
            return (self.slope * x).unsqueeze(-1).expand(-1, -1, self.dim_out)

    points = torch.linspace(-1, 1, 20).double()[:, None].expand(-1, 2)
    with pytest.raises(ValueError, match="Shared has edges that share parameters"):
        Shared(2, 2).double().imitate(points, lambda x: x.unsqueeze(-1).expand(-1, -1, 2))


def test_a_sparse_layer_imitates_the_edges_that_it_has():
    layer, mask = make("mlp", 2, 1), torch.tensor([[True], [False]])
    layer.set_mask(mask)
    points = torch.linspace(-1.5, 1.5, 60, dtype=torch.float64)[:, None].expand(-1, 2)
    layer.imitate(points, lambda x: x.sin().unsqueeze(2))
    assert torch.equal(layer.mask, mask)
    torch.testing.assert_close(layer(points), points[:, :1].sin(), atol=5e-3, rtol=0)
