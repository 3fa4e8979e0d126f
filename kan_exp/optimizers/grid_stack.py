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


class _Layer(NamedTuple):
    """One layer of all networks: coefficients `(networks, in, rows, out)` and grids."""

    table: Tensor
    first_knot: Tensor  # (networks, in)
    spacing: Tensor
    polynomials: Tensor


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
        parameters: Their coefficients, `(networks, parameters)`.
    """

    def __init__(self, modules: Sequence[nn.Module], parameters: Tensor) -> None:
        networks = [list(cast("Sequence[GridLayer]", module)) for module in modules]
        sizes = [layer.values.numel() for layer in networks[0]]
        tables = parameters.split(sizes, dim=1)
        self.layers = [
            _Layer(
                table.view(-1, *layers[0].values.shape),
                torch.stack([layer.first_knot for layer in layers]).double(),
                torch.stack([layer.spacing for layer in layers]).double(),
                layers[0].polynomials.double(),
            )
            for table, layers in zip(tables, zip(*networks, strict=True), strict=True)
        ]

    @staticmethod
    def takes(modules: Sequence[nn.Module]) -> bool:
        """Whether these are networks of tables and splines alone."""
        first = modules[0]
        return isinstance(first, nn.Sequential) and all(
            isinstance(layer, GridLayer) and layer.only_splines for layer in first
        )

    def outputs(self, x: Tensor) -> Tensor:
        """`(samples, in)` -> `(networks, samples, out)`."""
        hidden = x.expand(len(self.layers[0].table), -1, -1)
        for layer in self.layers:
            hidden = _sum(layer, _read(layer, hidden).basis)
        return hidden

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and their derivatives `(networks, samples, out, parameters)`."""
        hidden = x.expand(len(self.layers[0].table), -1, -1)
        readings = []
        for layer in self.layers:
            readings.append(_read(layer, hidden))
            hidden = _sum(layer, readings[-1].basis)
        inner = [_by_inputs(*pair) for pair in zip(self.layers[1:], readings[1:], strict=True)]
        units = hidden.shape[2]
        size = sum(layer.table[0].numel() for layer in self.layers)
        jacobian = hidden.new_empty(*hidden.shape, size)
        for unit in range(units):
            grad = torch.zeros_like(hidden)
            grad[..., unit] = 1
            end = size
            for depth in reversed(range(len(self.layers))):
                start = end - self.layers[depth].table[0].numel()
                part = jacobian[:, :, unit, start:end]
                basis = readings[depth].basis.unsqueeze(-1)  # (networks, samples, in, rows, 1)
                shape = (*basis.shape[:-1], grad.shape[2])
                torch.mul(basis, grad[:, :, None, None], out=part.view(shape))
                if depth > 0:
                    grad = torch.einsum("rbio,rbo->rbi", inner[depth - 1], grad)
                end = start
        return hidden, jacobian


def _read(layer: _Layer, x: Tensor) -> _Reading:
    functions = len(layer.polynomials)
    rows = layer.table.shape[2]
    position = (x - layer.first_knot.unsqueeze(1)) / layer.spacing.unsqueeze(1)
    # A NaN must come out as NaN; as an index, which is any number, it would end the program.
    cell = position.clamp(0, rows - functions).long().clamp(0, rows - functions)
    t = position - cell
    inside = t.clamp(0, 1)
    powers = [torch.ones_like(inside)]  # not written in place: conjugate gradients differentiate it
    for _ in range(1, functions):
        powers.append(powers[-1] * inside)
    weights, slopes = (torch.stack(powers, dim=-1) @ layer.polynomials).chunk(2, dim=-1)
    weights = weights + (t - inside).unsqueeze(-1) * slopes
    places = cell.unsqueeze(-1) + torch.arange(functions, device=x.device)
    basis = weights.new_zeros(*x.shape, rows).scatter_(-1, places, weights)
    return _Reading(basis, slopes / layer.spacing[:, None, :, None], cell)


def _sum(layer: _Layer, basis: Tensor) -> Tensor:
    return basis.flatten(2) @ layer.table.flatten(1, 2)


def _by_inputs(layer: _Layer, reading: _Reading) -> Tensor:
    """Slopes of the edges at the samples, `(networks, samples, in, out)`."""
    places = reading.cell.unsqueeze(-1) + torch.arange(
        reading.slopes.shape[-1], device=reading.cell.device
    )
    slopes = torch.zeros_like(reading.basis).scatter_(-1, places, reading.slopes)
    return torch.einsum("rbik,riko->rbio", slopes, layer.table)
