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


class GridStack:
    """Networks of one shape whose layers all are grids, in float64.

    It does not use `kan_exp.layers.walk`, which passes through modules: stacking these in float64
    at every evaluation would take longer than the evaluation.

    Args:
        modules: The networks, for which `takes` is true.
        parameters: Their parameters, `(networks, parameters)`.
    """

    def __init__(self, modules: Sequence[nn.Module], parameters: Tensor) -> None:
        networks = [list(cast("Sequence[GridLayer]", module)) for module in modules]
        self.sizes = [sum(part.numel() for part in layer.parameters()) for layer in networks[0]]
        parts = parameters.split(self.sizes, dim=1)
        self.layers = [
            stack_layer(layers, part)
            for part, layers in zip(parts, zip(*networks, strict=True), strict=True)
        ]

    @staticmethod
    def takes(modules: Sequence[nn.Module]) -> bool:
        """Whether these are networks of tables and splines alone."""
        first = modules[0]
        return isinstance(first, nn.Sequential) and all(map(is_grid, first))

    def outputs(self, x: Tensor) -> Tensor:
        """`(samples, in)` -> `(networks, samples, out)`."""
        hidden = x.expand(len(self.layers[0].table), -1, -1)
        for layer in self.layers:
            hidden = _outputs(layer, hidden, _read(layer, hidden).basis)
        return hidden

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and their derivatives `(networks, samples, out, parameters)`."""
        hidden = x.expand(len(self.layers[0].table), -1, -1)
        inputs, readings = [], []
        for layer in self.layers:
            inputs.append(hidden)
            readings.append(_read(layer, hidden))
            hidden = _outputs(layer, hidden, readings[-1].basis)
        inner = [_by_inputs(*pair) for pair in zip(self.layers[1:], readings[1:], strict=True)]
        triples = zip(self.layers, inputs, readings, strict=True)
        factors = [_by_edges(layer, x, reading.basis) for layer, x, reading in triples]
        units = hidden.shape[2]
        size = sum(self.sizes)
        jacobian = hidden.new_empty(*hidden.shape, size)
        for unit in range(units):
            grad = torch.zeros_like(hidden)
            grad[..., unit] = 1
            end = size
            for depth in reversed(range(len(self.layers))):
                layer, start = self.layers[depth], end - self.sizes[depth]
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


def stack_layer(layers: Sequence[GridLayer], parameters: Tensor) -> StackedLayer:
    """The same layer of all networks, with its parameters `(networks, parameters)`."""
    first = layers[0]
    size = first.values.numel()
    made = StackedLayer(
        parameters[:, :size].view(-1, *first.values.shape),
        torch.stack([layer.first_knot for layer in layers]).double(),
        torch.stack([layer.spacing for layer in layers]).double(),
        first.polynomials.double(),
    )
    if first.sums_all_edges:
        return made
    exists = torch.stack([layer.exists for layer in layers])
    straight, lines, products = torch.zeros_like(exists), None, None
    if first.straight is not None:
        straight = torch.stack([cast(Tensor, layer.straight) for layer in layers])
        lines = parameters[:, size:].view(-1, 2, *straight.shape[1:])
        lines = lines.where((exists & straight).unsqueeze(1), 0)
    if first.products is not None:
        products = torch.stack([cast(Tensor, layer.products) for layer in layers]).unsqueeze(1)
    bent = exists & ~straight
    table = made.table.where(bent.unsqueeze(2), 0)
    return made._replace(
        table=table, exists=exists.unsqueeze(1), bent=bent, lines=lines, products=products
    )


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
