"""Networks that begin as the linear model, or as sums of curves, of their training points."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.layers import LayerSpec
from kan_exp.layers.constraints import Constraint, constrain
from kan_exp.layers.walk import layers_of
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks, split
from kan_exp.optimizers.smooth_search import Search
from kan_exp.optimizers.smoothing import Smoothing, State
from kan_exp.tasks.losses import Loss
from kan_exp.training.smooth_layers import Made, make_layers
from kan_exp.training.smooth_plan import MAX_CURVE_NUMBERS

Edges = Callable[[Tensor], Tensor]  # (n, in) -> (n, in, out)

STEPS, ATTEMPTS = 30, 8
PLACES = 49  # of each edge, at which it is made like another


def start_linear(
    networks: Sequence[nn.Sequential],
    points: Split,
    loss: Loss,
    constraints: Sequence[Constraint] = (),
) -> None:
    """Makes networks of two layers the linear model, as near as their kind of edges can.

    The first hidden units are the linear model's outputs, and lead unchanged to the network's.
    Edges to the other hidden units stay as they are, and edges from them become zero.

    Args:
        networks: Of the same widths, with at least as many hidden units as outputs.
        points: Standardized.
        loss: A mean over points.
        constraints: Of each layer, none if not given.
    """
    outputs = layers_of(networks[0])[-1].dim_out
    lines = linear_model(points.map(Tensor.double), outputs, loss, constraints)
    for network in networks:
        _begin_at(network, lines, outputs)
        if constraints:
            constrain(network, constraints)


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
def linear_model(
    points: Split, outputs: int, loss: Loss, constraints: Sequence[Constraint] = ()
) -> Edges:
    """The edges of the linear model whose ridge penalties have the largest restricted likelihood.

    `points` are standardized, in float64.
    """
    inputs = points.x.shape[1]
    smooth, q = _smoothed(points, outputs, loss, 1, 1, constraints)
    parts, basis = split(smooth.shape, q), smooth.first

    def edges(x: Tensor) -> Tensor:
        sums = torch.einsum("nik,iko->nio", basis.values(x), parts.curves[0])
        return sums + parts.bias[0] / inputs

    return edges


def additive_network(
    specs: Sequence[LayerSpec],
    dims: Sequence[int],
    points: Split,
    loss: Loss,
    intervals: int,
    seed: int,
    constraints: Sequence[Constraint] = (),
) -> Made:
    """A network of any depth that is a sum of curves of the inputs, as smooth as the data say.

    The first units of each layer pass it on; other edges are 0.

    Args:
        specs: The kind of each layer.
        dims: Widths from the input to the output, none smaller than the last one.
        points: Standardized.
        loss: A mean over points.
        intervals: Of the grids of curves.
        seed: Of edges that are fitted step by step.
        constraints: Of each layer, none if not given.
    """
    functions = min(intervals + 2, max(1, MAX_CURVE_NUMBERS // (dims[0] * dims[-1])))
    points = points.map(Tensor.double)
    smooth, q = _smoothed(points, dims[-1], loss, intervals, functions, constraints)
    generator = torch.Generator().manual_seed(seed)
    made = make_layers(specs, dims, smooth, q, None, generator)
    if constraints:
        constrain(made.network, constraints)
    return made


@torch.no_grad()
def _smoothed(
    points: Split,
    outputs: int,
    loss: Loss,
    intervals: int,
    functions: int,
    constraints: Sequence[Constraint] = (),
) -> tuple[SmoothNetworks, Tensor]:
    """Sums of curves of so many functions, of the largest restricted likelihood."""
    shape = Shape(points.x.shape[1], outputs, 0, functions, 1, 1)
    basis = NaturalBasis.of(points.x, intervals, functions - 1)
    smooth = SmoothNetworks(shape, points.x, basis)
    problem = Smoothing(smooth, points.y, loss, points.weight, constraints)
    q = points.x.new_zeros(1, sum(shape.sizes))
    search = Search(problem, State.of(q, problem.start_weights(1), 1e-8), None, ATTEMPTS)
    while search.steps < STEPS and not search.settled:
        search.step()
    return smooth, search.winner().state.q
