"""How much each edge of a network matters to its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.nodes import PRODUCT
from kan_exp.layers.walk import LayerPass, layers_of, walk

Prediction = Callable[[Tensor], Tensor]

ABLATION, GRADIENT = "ablation", "gradient"
# Numbers that ablation may compute, a few tenths of a second, and the fewest samples it is worth.
MAX_NUMBERS = 2**23
MIN_SAMPLES = 32


def edge_importance(
    network: nn.Sequential,
    x: Tensor,
    predict: Prediction = lambda outputs: outputs,
    weight: Tensor | None = None,
    method: str = ABLATION,
) -> list[Tensor]:
    """Measures how much the predictions change without each edge.

    An edge is removed by replacing its values by their mean over the samples. Its importance is the
    root mean square of the change of the predictions, in units of their standard deviation. It is
    0 for a constant edge, and 1 for an edge without which the prediction is constant. Edges that
    cancel each other can exceed 1. The units of hidden nodes do not matter: a constant or a factor
    can move from an edge to the layer behind it. Constant predictions give 0 everywhere.

    Args:
        network: Layers, and any other modules between them, in evaluation mode.
        x: Inputs of the network, `(n, in)`.
        predict: Makes the predictions `(n, columns)` from the outputs `(n, out)`. All columns count
            together.
        weight: Of each sample, `(n,)`; equal if not given.
        method: "ablation" replaces the values of each edge and evaluates what lies behind it, see
            `ablation_samples`; "gradient" estimates the change by the gradient at each sample, at
            the cost of one backward pass for each column.

    Returns:
        For each layer, `(in, out)`; 0 where the mask removes an edge.

    Source:
        Covert, Lundberg, Lee, "Explaining by removing: a unified framework for model explanation",
        JMLR 22 (2021): removal by the mean. The attribution score of Liu et al., "KAN 2.0" (2024),
        section 4.1, is the ratio of the deviations of an edge and of its node, multiplied from
        layer to layer. It does not depend on units either, but it treats the layers behind an edge
        as linear, and edges of one node as independent.
    """
    share = torch.ones_like(x[:, 0]) if weight is None else weight.to(x)
    share = share / share.sum()
    with torch.no_grad():
        predictions = predict(network(x)).double()
        mean = share.double() @ predictions
        spread = (share.double() @ (predictions - mean).square()).sum().to(x.dtype)
        rounding = 4 * torch.finfo(x.dtype).eps * predictions.abs().amax()
    if method == ABLATION:
        squares = _by_ablation(network, x, predict, share)
    else:
        squares = _by_gradient(network, x, predict, share)
    if spread.sqrt() <= rounding:
        return [torch.zeros_like(square) for square in squares]
    return [(square / spread).sqrt() for square in squares]


def ablation_samples(network: nn.Sequential) -> int:
    """How many samples are ablated in a few tenths of a second; `MIN_SAMPLES` are worth it."""
    numbers, following, behind = 0, 0, 0
    for layer in reversed(layers_of(network)):
        # For each input the layer behind, and for each edge those behind that one.
        numbers += layer.dim_in * (following + layer.dim_out * (1 + behind))
        following, behind = layer.numbers_per_sample, behind + following
    return MAX_NUMBERS // max(1, numbers)


@torch.no_grad()
def outputs_without_edges(
    network: nn.Sequential, x: Tensor, share: Tensor
) -> Iterator[tuple[int, int, Tensor]]:
    """Evaluates a network without each of its edges, replaced by its mean.

    Args:
        network: Layers, and any other modules between them.
        x: Inputs of the network, `(n, in)`.
        share: Of each sample in the mean, `(n,)`, 1 in total.

    Yields:
        For each layer and each of its inputs: the number of the layer, the input, and the outputs
        of the network without the edge from there to each output of the layer, `(n, out, columns)`.
    """
    modules = list(network)
    places = [place for place, module in enumerate(modules) if isinstance(module, EdgeLayer)]
    visits = list(walk(network, x, from_edges=True))
    for visit, place in zip(visits, places, strict=True):
        mean = torch.einsum("n,nij->ij", share, visit.edges)
        nodes = _with_one_edge_replaced(visit, mean.expand_as(visit.edges))
        behind = modules[place + 1 :]
        following = None
        if behind and isinstance(behind[0], EdgeLayer):
            following, behind = visits[visit.index + 1], behind[1:]
        own = torch.eye(visit.layer.dim_out, dtype=torch.bool, device=x.device)
        for i, ablated in enumerate(nodes.unbind(1)):  # (n, out): nodes without an edge from i
            if following is None:
                passed = torch.where(own, ablated[:, None], visit.outputs[:, None])
            else:  # of which only the edges of one node change
                passed = _with_one_edge_replaced(following, following.layer.edges(ablated))
            outputs = _passed(behind, passed.flatten(0, 1))
            yield visit.index, i, outputs.unflatten(0, passed.shape[:2])


def errors_without_edges(
    network: nn.Sequential, x: Tensor, error: Callable[[Tensor], float]
) -> list[Tensor]:
    """The error of a network without each of its edges, replaced by its mean.

    Args:
        network: Layers, and any other modules between them.
        x: Inputs of the network, `(n, in)`.
        error: Of outputs `(n, out)`.

    Returns:
        For each layer `(in, out)`, float64; NaN where there is no edge.
    """
    masks = [visit.mask for visit in walk(network, x[:1])]
    errors = [torch.full(mask.shape, torch.nan, dtype=torch.float64) for mask in masks]
    share = torch.full_like(x[:, 0], 1 / len(x))
    for depth, i, outputs in outputs_without_edges(network, x, share):
        for j in masks[depth][i].nonzero().flatten().tolist():
            errors[depth][i, j] = error(outputs[:, j])
    return errors


def _by_ablation(
    network: nn.Sequential, x: Tensor, predict: Prediction, share: Tensor
) -> list[Tensor]:
    """Mean squares of the changes that follow from an edge's mean in the place of its values."""
    with torch.no_grad():
        predictions = predict(network(x))
        squares = [x.new_empty(layer.dim_in, layer.dim_out) for layer in layers_of(network)]
        for depth, i, outputs in outputs_without_edges(network, x, share):
            changed = predict(outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2])
            squares[depth][i] = share @ (changed - predictions[:, None]).square().sum(2)
        visits = walk(network, x[:1])
        # Exactly: a fused pass rounds differently.
        return [square.where(visit.mask, 0) for square, visit in zip(squares, visits, strict=True)]


def _with_one_edge_replaced(visit: LayerPass, values: Tensor) -> Tensor:
    """The outputs if a single edge has other values, for each edge, `(n, in, out)`."""
    if PRODUCT not in visit.node_operation:
        return visit.outputs[:, None] + values - visit.edges
    inputs = torch.arange(visit.layer.dim_in, device=values.device)
    replaced = [visit.edges.where(inputs[:, None] != i, values) for i in inputs]
    return torch.stack([visit.layer.reduce(edges) for edges in replaced], 1)


@torch.enable_grad()
def _by_gradient(
    network: nn.Sequential, x: Tensor, predict: Prediction, share: Tensor
) -> list[Tensor]:
    """The same to first order in the deviations of the edges from their means."""
    modules = list(network)
    last = max(place for place, module in enumerate(modules) if isinstance(module, EdgeLayer))
    visits = list(walk(network, x.detach().requires_grad_(), from_edges=True))
    edges = [visit.edges for visit in visits]
    predictions = predict(_passed(modules[last + 1 :], visits[-1].outputs))
    squares = [torch.zeros_like(one[0]) for one in edges]
    for column in predictions.unbind(1):
        slopes = torch.autograd.grad(column.sum(), edges, retain_graph=True)
        for square, slope, values in zip(squares, slopes, edges, strict=True):
            values = values.detach()
            change = slope * (values - torch.einsum("n,nij->ij", share, values))
            square += torch.einsum("n,nij->ij", share, change.square())
    return squares


def _passed(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x
