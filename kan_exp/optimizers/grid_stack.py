"""Networks of tables and splines, evaluated and differentiated with a leading axis.

What a sample reads of an edge are a few basis functions. Their values are all that derivatives with
respect to the coefficients are made of, so that no automatic differentiation is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from kan_exp.layers import GridLayer
from kan_exp.layers.nodes import reduce_edges


class StackedLayer(NamedTuple):
    """One layer of all networks: coefficients `(networks, in, rows, out)` and grids.

    A layer that is not sparse has no `exists`; one without straight edges no `lines`, whose
    coefficients are 0 where an edge is a spline, or does not exist, and those of `table` where an
    edge is straight. One without product nodes has no `products`.
    """

    table: Tensor
    first_knot: Tensor  # (networks, in)
    spacing: Tensor
    polynomials: Tensor
    exists: Tensor | None = None  # (networks, 1, in, out)
    bent: Tensor | None = None  # which edges are splines, (networks, in, out)
    lines: Tensor | None = None  # (networks, 2, in, out)
    products: Tensor | None = None  # (networks, 1, out)


class _Reading(NamedTuple):
    """What the samples of a layer read: basis functions, their slopes, and the first row."""

    basis: Tensor  # (networks, samples, in, rows)
    slopes: Tensor  # (networks, samples, in, functions)
    cell: Tensor  # (networks, samples, in)


class StackedGrids:
    """One layer of networks of one shape but for its parameters: grids, and which edges exist.

    Args:
        layers: The layer of each network, for which `is_grid` is true.

    Attributes:
        size: Number of its parameters.
    """

    def __init__(self, layers: Sequence[GridLayer]) -> None:
        first = layers[0]
        self.size = sum(part.numel() for part in first.parameters())
        self._made = made = StackedLayer(
            first.values.detach().unsqueeze(0),
            torch.stack([layer.first_knot for layer in layers]).double(),
            torch.stack([layer.spacing for layer in layers]).double(),
            first.polynomials.double(),
        )
        if first.sums_all_edges:
            return
        exists = torch.stack([layer.exists for layer in layers])
        bent, products = exists, None
        if first.straight is not None:
            bent = exists & ~torch.stack([cast(Tensor, layer.straight) for layer in layers])
        if first.products is not None:
            products = torch.stack([cast(Tensor, layer.products) for layer in layers]).unsqueeze(1)
        self._made = made._replace(exists=exists.unsqueeze(1), bent=bent, products=products)

    def __call__(self, parameters: Tensor) -> StackedLayer:
        """The layer with parameters, `(networks, parameters)`."""
        made, shape = self._made, self._made.table.shape[1:]
        table, lines = parameters[:, : shape.numel()].view(-1, *shape), None
        if made.exists is not None and made.bent is not None:
            table = table.where(made.bent.unsqueeze(2), 0)
            if shape.numel() < self.size:
                lines = parameters[:, shape.numel() :].view(-1, 2, shape[0], shape[2])
                lines = lines.where(made.exists & ~made.bent.unsqueeze(1), 0)
        return made._replace(table=table, lines=lines)


class GridStack:
    """Networks of one shape whose layers all are grids, in float64.

    It does not use `kan_exp.layers.walk`, which passes through modules: stacking these in float64
    at every evaluation would take longer than the evaluation.

    Args:
        modules: The networks, for which `takes` is true; their grids are not to change.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        networks = [list(cast("Sequence[GridLayer]", module)) for module in modules]
        self._stacks = [StackedGrids(layers) for layers in zip(*networks, strict=True)]
        self._sizes = [stack.size for stack in self._stacks]

    @staticmethod
    def takes(modules: Sequence[nn.Module]) -> bool:
        """Whether these are networks of tables and splines alone."""
        first = modules[0]
        return isinstance(first, nn.Sequential) and all(map(is_grid, first))

    def outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Parameters `(networks, parameters)`, `(samples, in)` -> `(networks, samples, out)`."""
        hidden = x.expand(len(parameters), -1, -1)
        for layer in self._layers(parameters):
            hidden = _outputs(layer, hidden, _read(layer, hidden).basis)
        return hidden

    def _layers(self, parameters: Tensor) -> list[StackedLayer]:
        parts = parameters.split(self._sizes, dim=1)
        return [stack(part) for stack, part in zip(self._stacks, parts, strict=True)]

    def jacobian(self, parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and their derivatives `(networks, samples, out, parameters)`."""
        hidden, layers = x.expand(len(parameters), -1, -1), self._layers(parameters)
        inputs, readings = [], []
        for layer in layers:
            inputs.append(hidden)
            readings.append(_read(layer, hidden))
            hidden = _outputs(layer, hidden, readings[-1].basis)
        inner = [_by_inputs(*pair) for pair in zip(layers[1:], readings[1:], strict=True)]
        triples = zip(layers, inputs, readings, strict=True)
        factors = [_by_edges(layer, x, reading.basis) for layer, x, reading in triples]
        units = hidden.shape[2]
        size = sum(self._sizes)
        jacobian = hidden.new_empty(*hidden.shape, size)
        for unit in range(units):
            grad = torch.zeros_like(hidden)
            grad[..., unit] = 1
            end = size
            for depth in reversed(range(len(layers))):
                layer, start = layers[depth], end - self._sizes[depth]
                part = jacobian[:, :, unit, start:end]
                basis = readings[depth].basis.unsqueeze(-1)  # (networks, samples, in, rows, 1)
                shape = (*basis.shape[:-1], grad.shape[2])
                if (factor := factors[depth]) is None:
                    torch.mul(basis, grad[:, :, None, None], out=part.view(shape))
                    if depth > 0:
                        grad = torch.einsum("rbio,rbo->rbi", inner[depth - 1], grad)
                else:
                    by_edge = factor * grad.unsqueeze(2)  # (networks, samples, in, out)
                    _write_sparse(layer, by_edge, inputs[depth], basis, part)
                    if depth > 0:
                        grad = torch.einsum("rbio,rbio->rbi", inner[depth - 1], by_edge)
                end = start
        return hidden, jacobian


def locate(layer: StackedLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """The cell of each sample, and the place in it: from 0 to 1, beyond these outside the grid."""
    last = layer.table.shape[2] - len(layer.polynomials)
    position = (x - layer.first_knot.unsqueeze(1)) / layer.spacing.unsqueeze(1)
    # A NaN must come out as NaN; as an index, which is any number, it would end the program.
    cell = position.clamp(0, last).long().clamp(0, last)
    return cell, position - cell


def _read(layer: StackedLayer, x: Tensor) -> _Reading:
    functions = len(layer.polynomials)
    rows = layer.table.shape[2]
    cell, t = locate(layer, x)
    inside = t.clamp(0, 1)
    powers = [torch.ones_like(inside)]  # not written in place: conjugate gradients differentiate it
    for _ in range(1, functions):
        powers.append(powers[-1] * inside)
    weights, slopes = (torch.stack(powers, dim=-1) @ layer.polynomials).chunk(2, dim=-1)
    weights = weights + (t - inside).unsqueeze(-1) * slopes
    places = cell.unsqueeze(-1) + torch.arange(functions, device=x.device)
    basis = weights.new_zeros(*x.shape, rows).scatter_(-1, places, weights)
    return _Reading(basis, slopes / layer.spacing[:, None, :, None], cell)


def is_grid(layer: nn.Module) -> bool:
    """Whether a layer has tables or splines alone."""
    return isinstance(layer, GridLayer) and layer.only_splines


def _outputs(layer: StackedLayer, x: Tensor, basis: Tensor) -> Tensor:
    """Outputs of a layer, `(networks, samples, out)`."""
    if layer.products is not None:
        edges = _edges(layer, x, basis)
        return reduce_edges(edges, layer.exists, layer.products)
    sums = basis.flatten(2) @ layer.table.flatten(1, 2)
    if layer.lines is not None:
        slope, offset = layer.lines.unbind(1)
        sums = sums + x @ slope + offset.sum(1, keepdim=True)
    return sums


def _edges(layer: StackedLayer, x: Tensor, basis: Tensor) -> Tensor:
    """Values of the edges, `(networks, samples, in, out)`."""
    edges = torch.einsum("rbik,riko->rbio", basis, layer.table)
    if layer.lines is not None:
        slope, offset = layer.lines.unsqueeze(2).unbind(1)
        edges = edges + x.unsqueeze(-1) * slope + offset
    return edges


def _by_edges(layer: StackedLayer, x: Tensor, basis: Tensor) -> Tensor | None:
    """Derivatives of outputs by their edges, to be broadcast to `(networks, samples, in, out)`.

    None if all are 1.
    """
    if layer.exists is None:
        return None
    exists = layer.exists.to(x)
    if layer.products is None:
        return exists
    factors = _edges(layer, x, basis).where(layer.exists & layer.products.unsqueeze(2), 1)
    # Products of all other factors, of which any may be 0.
    ones = torch.ones_like(factors[:, :, :1])
    before = torch.cat([ones, factors[:, :, :-1]], 2).cumprod(2)
    after = torch.cat([factors[:, :, 1:], ones], 2).flip(2).cumprod(2).flip(2)
    return before * after * exists


def _write_sparse(
    layer: StackedLayer, by_edge: Tensor, x: Tensor, basis: Tensor, part: Tensor
) -> None:
    """Writes the derivatives by a layer's parameters, given those by its edges."""
    assert layer.bent is not None
    shape = (*basis.shape[:-1], by_edge.shape[3])
    curves = (by_edge * layer.bent.unsqueeze(1)).unsqueeze(3)
    size = shape[2] * shape[3] * shape[4]
    part[:, :, :size].view(shape).copy_(basis * curves)
    if part.shape[2] > size:
        lines = part[:, :, size:].view(*shape[:2], 2, shape[2], shape[4])
        straight = by_edge * (~layer.bent).unsqueeze(1)
        lines[:, :, 0] = x.unsqueeze(-1) * straight
        lines[:, :, 1] = straight


def _by_inputs(layer: StackedLayer, reading: _Reading) -> Tensor:
    """Slopes of the edges at the samples, `(networks, samples, in, out)`."""
    places = reading.cell.unsqueeze(-1) + torch.arange(
        reading.slopes.shape[-1], device=reading.cell.device
    )
    slopes = torch.zeros_like(reading.basis).scatter_(-1, places, reading.slopes)
    by_inputs = torch.einsum("rbik,riko->rbio", slopes, layer.table)
    return by_inputs if layer.lines is None else by_inputs + layer.lines[:, :1]
