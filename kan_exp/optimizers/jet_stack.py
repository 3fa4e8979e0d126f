"""Derivatives of many networks by their inputs, and of these by the networks' parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import cast

import torch
from torch import Tensor, nn

from kan_exp.layers import EdgeLayer, GridLayer, KANLinearLayer
from kan_exp.layers.jets import (
    Jets,
    Key,
    chain_rule,
    leibniz,
    leibniz_transposed,
    product_of,
)
from kan_exp.layers.kernels import basis_derivatives
from kan_exp.optimizers.grid_stack import StackedGrids, StackedLayer, is_grid, locate

UNIT: dict[Key, Tensor] = {(): torch.ones((), dtype=torch.float64)}  # of a product


def stack_layers(modules: Sequence[nn.Module]) -> list[StackedGrids | KANLinearLayer] | None:
    """The layers of networks of splines and of linear layers without an activation.

    None if a network has others. Of linear layers the first network's stands for all.
    """
    if not isinstance(modules[0], nn.Sequential) or not all(
        _is_linear(layer) or is_grid(layer) for layer in modules[0]
    ):
        return None
    networks = [list(cast("Sequence[EdgeLayer]", module)) for module in modules]
    return [
        cast(KANLinearLayer, layers[0])
        if _is_linear(layers[0])
        else StackedGrids(cast("Sequence[GridLayer]", layers))
        for layers in zip(*networks, strict=True)
    ]


class JetStack:
    """Networks of one shape at the same points.

    Args:
        layers: See `stack_layers`.
        parameters: Those of the networks, `(networks, parameters)`, in float64.
        inputs: Jets of the inputs of the networks, `(samples, in)` each.
        keys: A `closure` of derivatives.

    Attributes:
        outputs: For each key `(networks, samples, out)`.
    """

    def __init__(
        self,
        layers: Sequence[StackedGrids | KANLinearLayer],
        parameters: Tensor,
        inputs: Jets,
        keys: Sequence[Key],
    ) -> None:
        self.sizes = [
            layer.size
            if isinstance(layer, StackedGrids)
            else sum(part.numel() for part in layer.parameters())
            for layer in layers
        ]
        self._visits: list[_Linear | _Splines] = []
        self.outputs: Jets = {
            key: values.expand(len(parameters), -1, -1) for key, values in inputs.items()
        }
        for layer, part in zip(layers, parameters.split(self.sizes, dim=1), strict=True):
            if isinstance(layer, StackedGrids):
                self._visits.append(_Splines(layer(part), self.outputs, keys))
            else:
                self._visits.append(_Linear(layer.dim_out, part, self.outputs))
            self.outputs = self._visits[-1].outputs

    def pull_back(self, grads: Mapping[Key, Tensor], out: Tensor) -> None:
        """Writes the derivatives by the parameters of one number for each sample.

        Args:
            grads: Its derivatives by the `outputs`, `(networks, samples, out)` each.
            out: `(networks, samples, parameters)`.
        """
        end = sum(self.sizes)
        for depth in reversed(range(len(self._visits))):
            start = end - self.sizes[depth]
            grads = self._visits[depth].pull_back(grads, out[:, :, start:end], depth > 0)
            end = start


class _Linear:
    def __init__(self, count: int, parameters: Tensor, inputs: Jets) -> None:
        self.inputs, self.weight = inputs, parameters[:, :-count].unflatten(1, (count, -1))
        self.outputs = {key: jet @ self.weight.mT for key, jet in inputs.items()}
        self.outputs[()] = self.outputs[()] + parameters[:, None, -count:]

    def pull_back(self, grads: Jets, out: Tensor, by_inputs: bool) -> Jets:
        """Writes derivatives by the layer's parameters; returns those by its inputs if asked."""
        count = self.weight.shape[1]
        parts = [
            grad.unsqueeze(3) * self.inputs[key].unsqueeze(2)
            for key, grad in grads.items()
            if key in self.inputs
        ]
        out[:, :, :-count] = sum(parts[1:], parts[0]).flatten(2) if parts else 0.0
        out[:, :, -count:] = grads.get((), 0.0)
        return {key: grad @ self.weight for key, grad in grads.items()} if by_inputs else {}


class _Splines:
    """Splines, of which samples read a few basis functions.

    Attributes:
        basis: `(networks, samples, in, order + 2, functions)`.
        cell: `(networks, samples, in)`.
        edges: Derivatives of the edges, `(networks, samples, in, order + 2, out)`.
    """

    def __init__(self, layer: StackedLayer, inputs: Jets, keys: Sequence[Key]) -> None:
        self.layer, self.inputs, self.keys = layer, inputs, keys
        self.order = max(map(len, keys))
        self.basis, self.cell = _read(layer, inputs[()], self.order + 1)
        cell = self.cell.unsqueeze(-1)
        rows = cell + torch.arange(self.basis.shape[-1], device=cell.device)
        networks, count, size, outputs = layer.table.shape
        first = torch.arange(networks * count, device=cell.device).view(networks, 1, count, 1)
        self.edges = self.basis @ layer.table.reshape(-1, outputs)[rows + size * first]
        self.outputs = self._sums() if layer.products is None else self._products()

    def _sums(self) -> dict[Key, Tensor]:
        """Jets of outputs that are sums of their edges."""
        layer, jets, made = self.layer, self.inputs, {}
        for key in self.keys:
            parts = []
            for times, degree, factors in chain_rule(key):
                if not factors:
                    parts.append(self.edges[:, :, :, 0].sum(2))
                elif (inner := product_of(factors, jets)) is not None:
                    weight = times * inner.unsqueeze(2)
                    parts.append((weight @ self.edges[:, :, :, degree]).squeeze(2))
            if layer.lines is not None and (inner := jets.get(key)) is not None:
                slope, offset = layer.lines.unbind(1)
                parts.append(inner @ slope)
                if not key:
                    parts.append(offset.sum(1, keepdim=True))
            if parts:
                made[key] = sum(parts[1:], parts[0])
        return made

    def _products(self) -> dict[Key, Tensor]:
        """Jets of outputs of which some are products of their edges."""
        edges, products = self._edge_jets(), cast(Tensor, self.layer.products)
        total = reduce(partial(leibniz, keys=self.keys), self._factors(edges))
        return {key: torch.where(products, total[key], one.sum(2)) for key, one in edges.items()}

    def _edge_jets(self) -> dict[Key, Tensor]:
        """Jets of each edge, `(networks, samples, in, out)`."""
        layer, jets, made = self.layer, self.inputs, {}
        for key in self.keys:
            parts = []
            for times, degree, factors in chain_rule(key):
                if not factors:
                    parts.append(self.edges[:, :, :, 0])
                elif (inner := product_of(factors, jets)) is not None:
                    parts.append((times * inner).unsqueeze(-1) * self.edges[:, :, :, degree])
            if layer.lines is not None and (inner := jets.get(key)) is not None:
                slope, offset = layer.lines.unsqueeze(2).unbind(1)
                parts.append(inner.unsqueeze(-1) * slope + (0.0 if key else offset))
            if parts:
                made[key] = sum(parts[1:], parts[0])
        return made

    def _factors(self, edges: Jets) -> list[dict[Key, Tensor]]:
        """Jets of each input's factor of the outputs; an edge that does not exist is 1."""
        exists = self.layer.exists
        jets = {**edges, (): edges[()] if exists is None else edges[()].where(exists, 1.0)}
        count = self.cell.shape[2]
        return [{key: one[:, :, place] for key, one in jets.items()} for place in range(count)]

    def pull_back(self, grads: Jets, out: Tensor, by_inputs: bool) -> Jets:
        """See `_Linear`."""
        by_edges = self._by_edges(grads)
        self._by_parameters(by_edges, out)
        return self._by_inputs(by_edges) if by_inputs else {}

    def _by_edges(self, grads: Jets) -> dict[Key, Tensor]:
        """Derivatives by the jets of the edges, `(networks, samples, in or 1, out)` each."""
        made = {key: grad.unsqueeze(2) for key, grad in grads.items()}
        if (products := self.layer.products) is None:
            return made
        factors, parts = self._factors(self._edge_jets()), []
        for place in range(len(factors)):
            others = factors[:place] + factors[place + 1 :]
            rest = reduce(partial(leibniz, keys=self.keys), others, UNIT)
            parts.append(leibniz_transposed(grads, rest))
        zero = torch.zeros_like(self.edges[:, :, 0, 0])
        return {
            key: torch.where(
                products.unsqueeze(2),
                torch.stack([part.get(key, zero) for part in parts], 2),
                made.get(key, zero.unsqueeze(2)),
            )
            for key in {**made, **parts[0]}
        }

    def _by_parameters(self, grads: Jets, out: Tensor) -> None:
        layer, jets, edges = self.layer, self.inputs, self.edges
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
        parts = self.basis[:, :, :, used].mT @ by_edges  # (networks, samples, in, functions, out)
        if layer.bent is not None:
            parts = parts * layer.bent[:, None, :, None]
        size, outputs = layer.table[0].numel(), shape[-1]
        parts = parts.flatten(3)
        places = torch.arange(parts.shape[-1], device=parts.device)
        places = (self.cell * outputs).unsqueeze(-1) + places
        made = parts.new_zeros(*shape[:3], layer.table.shape[2] * outputs)
        out[:, :, :size] = made.scatter_(-1, places, parts).flatten(2)
        if layer.lines is not None and layer.bent is not None and layer.exists is not None:
            straight = layer.exists & ~layer.bent.unsqueeze(1)
            lines = out[:, :, size:].unflatten(-1, (2, *shape[2:]))
            slopes = [jets[key].unsqueeze(-1) * grad for key, grad in grads.items() if key in jets]
            lines[:, :, 0] = sum(slopes[1:], slopes[0]) * straight if slopes else 0.0
            offset = grads.get(())
            lines[:, :, 1] = 0.0 if offset is None else offset * straight

    def _by_inputs(self, grads: Jets) -> dict[Key, Tensor]:
        made: dict[Key, Tensor] = {}

        def add(key: Key, part: Tensor) -> None:
            made[key] = made[key] + part if key in made else part

        stacked = torch.stack(list(grads.values()), -1)  # (networks, samples, in or 1, out, keys)
        sums = self.edges @ stacked  # (networks, samples, in, order + 2, keys)
        for number, (key, grad) in enumerate(grads.items()):
            for times, degree, factors in chain_rule(key):
                inner = product_of(factors, self.inputs) if factors else 1.0
                if inner is not None:
                    add((), times * inner * sums[:, :, :, degree + 1, number])
                for place, factor in enumerate(factors):
                    others = factors[:place] + factors[place + 1 :]
                    rest = product_of(others, self.inputs) if others else 1.0
                    if rest is not None:
                        add(factor, times * rest * sums[:, :, :, degree, number])
            if self.layer.lines is not None:
                add(key, (grad * self.layer.lines[:, None, 0]).sum(3))
        return made


def _is_linear(layer: nn.Module) -> bool:
    plain = isinstance(layer, KANLinearLayer) and layer.activation == "none"
    return plain and cast(EdgeLayer, layer).sums_all_edges


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
