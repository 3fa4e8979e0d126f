"""Derivatives of networks by their inputs, carried from layer to layer."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, reduce
from operator import mul
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.nodes import reduce_edges

# The inputs by which a derivative is taken, in ascending order: (0, 0, 1) is d^3/dx0^2 dx1, and ()
# the value itself. Jets are values by key; a key that is missing is zero everywhere.
Key = tuple[int, ...]
Jets = Mapping[Key, Tensor]


class ChainTerm(NamedTuple):
    """A term of the chain rule: `times` a derivative of the edge times those of its input."""

    times: int
    order: int
    factors: tuple[Key, ...]


@cache
def chain_rule(key: Key) -> tuple[ChainTerm, ...]:
    """The terms of a derivative of `f(x)`.

    Source:
        Faà di Bruno's formula, by partitions: M. Hardy, "Combinatorics of partial derivatives",
        Electronic Journal of Combinatorics 13 (2006).
    """
    if not key:
        return (ChainTerm(1, 0, ()),)
    found = Counter(
        tuple(sorted(tuple(sorted(key[place] for place in block)) for block in blocks))
        for blocks in _partitions(len(key))
    )
    return tuple(ChainTerm(count, len(factors), factors) for factors, count in found.items())


@cache
def _partitions(count: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """All ways to divide 0 to `count - 1` into blocks."""
    if count == 0:
        return ((),)
    last, made = count - 1, []
    for blocks in _partitions(last):
        made.append((*blocks, (last,)))
        for k, block in enumerate(blocks):
            made.append((*blocks[:k], (*block, last), *blocks[k + 1 :]))
    return tuple(made)


def closure(keys: Iterable[Key]) -> list[Key]:
    """The keys and all that the chain rule needs for them, in ascending order of derivatives."""
    found = {()} | {
        part
        for key in keys
        for size in range(1, len(key) + 1)
        for part in itertools.combinations(tuple(sorted(key)), size)
    }
    return sorted(found, key=lambda key: (len(key), key))


def product_of(factors: Iterable[Key], jets: Jets) -> Tensor | None:
    """The product of derivatives; None if one of them is zero everywhere."""
    found = [jets.get(factor) for factor in factors]
    known = [one for one in found if one is not None]
    return reduce(mul, known) if known and len(known) == len(found) else None


def input_jets(x: Tensor, slopes: Sequence[float] | Tensor | None = None) -> dict[Key, Tensor]:
    """Jets of the inputs `(..., in)` themselves.

    Args:
        x: The values.
        slopes: Derivative of each input by the variable that is meant, `(in,)`; ones if not given.
    """
    ones = torch.ones_like(x[0]) if slopes is None else torch.as_tensor(slopes).to(x)
    return {(): x} | {(k,): column.expand_as(x) for k, column in enumerate(torch.diag(ones))}


def network_jets(network: nn.Sequential, inputs: Jets, keys: Iterable[Key]) -> dict[Key, Tensor]:
    """A network's outputs and their derivatives.

    Differentiable by the parameters. The cost grows linearly with the number of keys and layers,
    in place of a backward pass for each derivative.

    Args:
        network: Layers, one after the other.
        inputs: Jets of its inputs, `(n, in)` each: `input_jets`.
        keys: Which derivatives.

    Returns:
        For each key and those that it is made of, `(n, out)`.
    """
    needed = closure(keys)
    jets = dict(inputs)
    for layer in network:
        if not isinstance(layer, EdgeLayer):
            raise TypeError(f"derivatives by inputs need layers of edges, got {layer}.")
        jets = layer_jets(layer, jets, needed)
    return jets


def layer_jets(layer: EdgeLayer, jets: Jets, keys: Sequence[Key]) -> dict[Key, Tensor]:
    """Jets of the outputs of a layer, given those of its inputs; each `(n, out)`.

    `keys` are a `closure`.
    """
    order = max(map(len, keys))
    derivatives = layer.edge_derivatives(jets[()], order)  # (n, in, out) each
    edges: dict[Key, Tensor] = {(): derivatives[0]}
    for key in keys[1:]:
        parts = []
        for times, degree, factors in chain_rule(key):
            if (inner := product_of(factors, jets)) is not None:
                parts.append(derivatives[degree] * (times * inner).unsqueeze(-1))
        edges[key] = sum(parts[1:], parts[0]) if parts else torch.zeros_like(derivatives[0])
    if layer.products is None:
        return {key: values.sum(-2) for key, values in edges.items()}
    return _with_products(layer, layer.products, edges, keys)


def _with_products(
    layer: EdgeLayer, products: Tensor, edges: Mapping[Key, Tensor], keys: Sequence[Key]
) -> dict[Key, Tensor]:
    """Outputs of which some are products of their edges, by the product rule."""
    sums = {key: values.sum(-2) for key, values in edges.items()}
    exists = layer.exists
    total: dict[Key, Tensor] = {(): torch.ones_like(sums[()])}
    for i in range(layer.dim_in):
        # An edge that does not exist is no factor.
        factor = {key: values[:, i].where(exists[i], 0.0) for key, values in edges.items()}
        factor[()] = edges[()][:, i].where(exists[i], 1.0)
        total = leibniz(total, factor, keys)
    values = reduce_edges(edges[()], layer.mask, products)
    return {key: torch.where(products, total[key], sums[key]) for key in keys} | {(): values}


def leibniz(left: Jets, right: Jets, keys: Iterable[Key]) -> dict[Key, Tensor]:
    """Jets of a product by those of its factors."""
    made: dict[Key, Tensor] = {}
    for key in keys:
        parts = []
        for chosen in itertools.product((True, False), repeat=len(key)):
            first = left.get(tuple(itertools.compress(key, chosen)))
            second = right.get(tuple(itertools.compress(key, [not one for one in chosen])))
            if first is not None and second is not None:
                parts.append(first * second)
        if parts:
            made[key] = sum(parts[1:], parts[0])
    return made


def leibniz_transposed(grads: Jets, right: Jets) -> dict[Key, Tensor]:
    """Derivatives by the jets of a factor, of those by the jets of its product with `right`."""
    made: dict[Key, Tensor] = {}
    for key, grad in grads.items():
        for chosen in itertools.product((True, False), repeat=len(key)):
            left = tuple(itertools.compress(key, chosen))
            other = right.get(tuple(itertools.compress(key, [not one for one in chosen])))
            if other is not None:
                made[left] = made[left] + grad * other if left in made else grad * other
    return made
