"""Networks that begin as the linear model of their training points."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.layers.walk import layers_of
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks, split
from kan_exp.optimizers.smooth_search import Search
from kan_exp.optimizers.smoothing import Smoothing, State
from kan_exp.tasks.losses import Loss

Edges = Callable[[Tensor], Tensor]  # (n, in) -> (n, in, out)

STEPS, ATTEMPTS = 30, 8
PLACES = 49  # of each edge, at which it is made like another


def start_linear(networks: Sequence[nn.Sequential], points: Split, loss: Loss) -> None:
    """Makes networks of two layers the linear model, as near as their kind of edges can.

    The first hidden units are the linear model's outputs, and lead unchanged to the network's.
    Edges to the other hidden units stay as they are, and edges from them become zero.

    Args:
        networks: Of the same widths, with at least as many hidden units as outputs.
        points: Standardized.
        loss: A mean over points.
    """
    outputs = layers_of(networks[0])[-1].dim_out
    lines = linear_model(points.map(Tensor.double), outputs, loss)
    for network in networks:
        _begin_at(network, lines, outputs)


def _begin_at(network: nn.Sequential, lines: Edges, outputs: int) -> None:
    network.double()
    first, last = layers_of(network)
    start = copy.deepcopy(first)

    def inner(x: Tensor) -> Tensor:
        edges = start.edges(x)
        edges[..., :outputs] = lines(x)
        return edges

    def outer(z: Tensor) -> Tensor:
        edges = z.new_zeros(len(z), last.dim_in, outputs)
        edges[:, :outputs] = torch.diag_embed(z[:, :outputs])
        return edges

    for layer, edges in ((first, inner), (last, outer)):
        low, high = layer.domain.unbind(1)
        layer.imitate(torch.lerp(low, high, torch.linspace(0, 1, PLACES).to(low)[:, None]), edges)
    network.float()


@torch.no_grad()
def linear_model(points: Split, outputs: int, loss: Loss) -> Edges:
    """The edges of the linear model whose ridge penalties have the largest restricted likelihood.

    Args:
        points: Standardized, in float64.
        outputs: Number of outputs.
        loss: A mean over points.
    """
    inputs = points.x.shape[1]
    shape, basis = Shape(inputs, outputs, 0, 1, 1, 1), NaturalBasis.of(points.x, 1, 0)
    problem = Smoothing(SmoothNetworks(shape, points.x, basis), points.y, loss, points.weight)
    q = points.x.new_zeros(1, sum(shape.sizes))
    search = Search(problem, State.of(q, problem.start_weights(1), 1e-8), None, ATTEMPTS)
    while search.steps < STEPS and not search.settled:
        search.step()
    parts = split(shape, search.winner().state.q)

    def edges(x: Tensor) -> Tensor:
        sums = torch.einsum("nik,iko->nio", basis.values(x), parts.curves[0])
        return sums + parts.bias[0] / inputs

    return edges
