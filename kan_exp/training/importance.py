"""How much each edge of a network matters: the validation error without it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kan_exp.layers import EdgeLayer
from kan_exp.layers.nodes import reduce_edges
from kan_exp.layers.walk import layers_of, walk


@torch.no_grad()
def errors_without(
    network: nn.Sequential, x: Tensor, error: Callable[[Tensor], float]
) -> list[Tensor]:
    """The error of a network in which one edge is replaced by its mean over the points.

    It does not depend on constants, which edges may exchange.

    Args:
        network: Layers, one after the other.
        x: Points, `(n, in)`.
        error: Of outputs `(n, out)`.

    Returns:
        For each layer `(in, out)`, NaN where there is no edge.
    """
    layers = layers_of(network)
    found = []
    for visit in walk(network, x, from_edges=True):
        errors = torch.full(visit.mask.shape, torch.nan, dtype=torch.float64)
        means = visit.edges.mean(0)
        rest = layers[visit.index + 1 :]
        for i, j in visit.mask.nonzero().tolist():
            edges = visit.edges[:, :, j : j + 1].clone()
            edges[:, i] = means[i, j]
            outputs = visit.outputs.clone()
            outputs[:, j] = _reduced(visit.layer, edges, j)
            for layer in rest:
                outputs = layer(outputs)
            errors[i, j] = error(outputs)
        found.append(errors)
    return found


def _reduced(layer: EdgeLayer, edges: Tensor, output: int) -> Tensor:
    """One output of a layer, from the values of its edges `(n, in, 1)`."""
    mask = None if layer.mask is None else layer.mask[:, output : output + 1]
    products = None if layer.products is None else layer.products[output : output + 1]
    return reduce_edges(edges, mask, products)[:, 0]
