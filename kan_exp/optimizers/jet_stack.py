"""Derivatives of many networks by their inputs, and of these by the networks' parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kan_exp.layers.jets import (
    Jets,
    Key,
    chain_rule,
    leibniz,
    leibniz_transposed,
    product_of,
)
from kan_exp.layers.kernels import basis_derivatives
from kan_exp.optimizers.grid_stack import GridLayers, GridStack, StackedLayer, locate

UNIT = {(): torch.ones((), dtype=torch.float64)}


class _Visit(NamedTuple):
    """A layer, the jets that reach it, and what samples read of its edges."""

    layer: StackedLayer
    inputs: Jets
    basis: Tensor  # (networks, samples, in, order + 2, functions)
    cell: Tensor  # (networks, samples, in)
    edges: Tensor  # derivatives of the edges, (networks, samples, in, order + 2, out)


class JetStack:
    """Networks of one shape whose layers are splines, at the same points.

    Args:
        modules: The networks, for which `takes` is true.
        parameters: Their parameters, `(networks, parameters)`, in float64.
        inputs: Jets of the inputs of the networks, `(samples, in)` each.
        keys: A `closure` of derivatives.

    Attributes:
        outputs: For each key `(networks, samples, out)`.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        parameters: Tensor,
        inputs: Jets,
        keys: Sequence[Key],
    ) -> None:
        self.keys, self.order = keys, max(map(len, keys))
        stacked = GridLayers(modules, parameters)
        self.sizes = stacked.sizes
        self._visits: list[_Visit] = []
        jets: Jets = {
            key: values.expand(len(parameters), -1, -1) for key, values in inputs.items()
        }
        for layer in stacked.layers:
            jets = self._forward(layer, jets)
        self.outputs = jets

    @staticmethod
    def takes(modules: Sequence[nn.Module]) -> bool:
        """Whether these are networks of splines alone."""
        return GridStack.takes(modules)

    def _forward(self, layer: StackedLayer, jets: Jets) -> dict[Key, Tensor]:
        basis, cell = _read(layer, jets[()], self.order + 1)
        rows = cell.unsqueeze(-1) + torch.arange(basis.shape[-1], device=cell.device)
        networks, inputs, count, outputs = layer.table.shape
        first = torch.arange(networks * inputs, device=cell.device).view(networks, 1, inputs, 1)
        found = layer.table.reshape(-1, outputs)[rows + count * first]
        edges = basis @ found
        visit = _Visit(layer, jets, basis, cell, edges)
        self._visits.append(visit)
        if layer.products is not None:
            return self._multiply(visit)
        made = {}
        for key in self.keys:
            parts = []
            for times, degree, factors in chain_rule(key):
                if not factors:
                    parts.append(edges[:, :, :, 0].sum(2))
                elif (inner := product_of(factors, jets)) is not None:
                    weight = times * inner.unsqueeze(2)
                    parts.append((weight @ edges[:, :, :, degree]).squeeze(2))
            if layer.lines is not None and (inner := jets.get(key)) is not None:
                slope, offset = layer.lines.unbind(1)
                parts.append(inner @ slope)
                if not key:
                    parts.append(offset.sum(1, keepdim=True))
            if parts:
                made[key] = sum(parts[1:], parts[0])
        return made

    def _multiply(self, visit: _Visit) -> dict[Key, Tensor]:
        """Jets of outputs of which some are products of their edges."""
        edges = self._edge_jets(visit)
        products = visit.layer.products
        total = reduce(lambda left, right: leibniz(left, right, self.keys), _factors(visit, edges))
        return {
            key: torch.where(products, total.get(key, torch.zeros_like(one[:, :, 0])), one.sum(2))
            for key, one in edges.items()
        }

    def _edge_jets(self, visit: _Visit) -> dict[Key, Tensor]:
        """Jets of each edge, `(networks, samples, in, out)`."""
        layer, jets, edges = visit.layer, visit.inputs, visit.edges
        made = {}
        for key in self.keys:
            parts = []
            for times, degree, factors in chain_rule(key):
                if not factors:
                    parts.append(edges[:, :, :, 0])
                elif (inner := product_of(factors, jets)) is not None:
                    parts.append((times * inner).unsqueeze(-1) * edges[:, :, :, degree])
            if layer.lines is not None and (inner := jets.get(key)) is not None:
                slope, offset = layer.lines.unsqueeze(2).unbind(1)
                parts.append(inner.unsqueeze(-1) * slope + (0.0 if key else offset))
            if parts:
                made[key] = sum(parts[1:], parts[0])
        return made

    def _by_edges(self, visit: _Visit, grads: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        """Derivatives by the jets of the edges, `(networks, samples, in or 1, out)` each."""
        made = {key: grad.unsqueeze(2) for key, grad in grads.items()}
        if (products := visit.layer.products) is None:
            return made
        factors = _factors(visit, self._edge_jets(visit))
        parts = []
        for place in range(len(factors)):
            others = factors[:place] + factors[place + 1 :]
            rest = reduce(lambda left, right: leibniz(left, right, self.keys), others, UNIT)
            parts.append(leibniz_transposed(grads, rest))
        zero = torch.zeros_like(visit.edges[:, :, 0, 0])
        keys = {key for part in parts for key in part} | {*made}
        products = products.unsqueeze(2)
        return {
            key: torch.where(
                products,
                torch.stack([part.get(key, zero) for part in parts], 2),
                made.get(key, zero.unsqueeze(2)),
            )
            for key in keys
        }

    def pull_back(self, grads: Mapping[Key, Tensor], out: Tensor) -> None:
        """Writes the derivatives by the parameters of one number for each sample.

        Args:
            grads: Its derivatives by the `outputs`, `(networks, samples, out)` each.
            out: `(networks, samples, parameters)`.
        """
        end = sum(self.sizes)
        for depth in reversed(range(len(self._visits))):
            visit, start = self._visits[depth], end - self.sizes[depth]
            by_edges = self._by_edges(visit, grads)
            self._by_parameters(visit, by_edges, out[:, :, start:end])
            if depth:
                grads = self._by_inputs(visit, by_edges)
            end = start

    def _by_parameters(self, visit: _Visit, grads: Mapping[Key, Tensor], out: Tensor) -> None:
        layer, jets, basis, cell, edges = visit
        # Derivatives by those of the edges.
        weights: list[Tensor | None] = [None] * (self.order + 1)
        for key, grad in grads.items():
            for times, degree, factors in chain_rule(key):
                inner = product_of(factors, jets) if factors else None
                if factors and inner is None:
                    continue
                part = grad if inner is None else grad * (times * inner).unsqueeze(-1)
                known = weights[degree]
                weights[degree] = part if known is None else known + part
        shape = edges[:, :, :, 0].shape
        used = [k for k, weight in enumerate(weights) if weight is not None]
        by_edges = torch.stack([w.expand(shape) for w in weights if w is not None], 3)
        parts = basis[:, :, :, used].mT @ by_edges  # (networks, samples, in, functions, out)
        if layer.bent is not None:
            parts = parts * layer.bent[:, None, :, None]
        size, outputs = layer.table[0].numel(), shape[-1]
        parts = parts.flatten(3)
        places = (cell * outputs).unsqueeze(-1) + torch.arange(parts.shape[-1], device=cell.device)
        made = parts.new_zeros(*shape[:3], layer.table.shape[2] * outputs)
        out[:, :, :size] = made.scatter_(-1, places, parts).flatten(2)
        if layer.lines is not None and layer.bent is not None and layer.exists is not None:
            straight = layer.exists & ~layer.bent.unsqueeze(1)
            lines = out[:, :, size:].unflatten(-1, (2, *shape[2:]))
            slopes = [
                jets[key].unsqueeze(-1) * grad for key, grad in grads.items() if key in jets
            ]
            lines[:, :, 0] = sum(slopes[1:], slopes[0]) * straight if slopes else 0.0
            offset = grads.get(())
            lines[:, :, 1] = 0.0 if offset is None else offset * straight

    def _by_inputs(self, visit: _Visit, grads: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        layer, jets, edges = visit.layer, visit.inputs, visit.edges
        made: dict[Key, Tensor] = {}

        def add(key: Key, part: Tensor) -> None:
            made[key] = made[key] + part if key in made else part

        stacked = torch.stack(list(grads.values()), -1)  # (networks, samples, in or 1, out, keys)
        sums = edges @ stacked  # (..., in, order + 2, keys)
        for number, (key, grad) in enumerate(grads.items()):
            for times, degree, factors in chain_rule(key):
                inner = product_of(factors, jets) if factors else 1.0
                if inner is not None:
                    add((), times * inner * sums[:, :, :, degree + 1, number])
                for place, factor in enumerate(factors):
                    others = factors[:place] + factors[place + 1 :]
                    rest = product_of(others, jets) if others else 1.0
                    if rest is not None:
                        add(factor, times * rest * sums[:, :, :, degree, number])
            if layer.lines is not None:
                add(key, (grad * layer.lines[:, None, 0]).sum(3))
        return made


def _factors(visit: _Visit, edges: Jets) -> list[dict[Key, Tensor]]:
    """Jets of each input's factor of the outputs; an edge that does not exist is 1."""
    exists = visit.layer.exists
    values = edges[()] if exists is None else edges[()].where(exists, 1.0)
    jets = {**edges, (): values}
    return [
        {key: one[:, :, place] for key, one in jets.items()} for place in range(values.shape[2])
    ]


def _read(layer: StackedLayer, x: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """The basis functions of each sample with their derivatives, and the cells."""
    cell, t = locate(layer, x)
    inside = t.clamp(0, 1)
    beyond = (t - inside).unsqueeze(-1)
    weights = basis_derivatives(layer.polynomials, inside, order)
    weights[0] = weights[0] + beyond * weights[1]
    size = layer.spacing[:, None, :, None]
    weights[1] = weights[1] / size
    straight = beyond != 0
    for k in range(2, order + 1):
        weights[k] = (weights[k] / size**k).masked_fill(straight, 0)
    return torch.stack(weights, 3), cell
