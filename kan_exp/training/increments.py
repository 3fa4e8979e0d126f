"""Coefficients that obey constraints whatever numbers an optimizer chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kan_exp.layers import GridLayer
from kan_exp.layers.constraints import Constraint, constrain, differences
from kan_exp.layers.walk import layers_of

MIN_ROOT = 0.1  # at the start, of the root of a difference: one that is 0 would stay so


class _Layer(NamedTuple):
    """One layer, with the matrices from differences to coefficients and back, `(in, rows, rows)`.

    Differences are in units in which those of an ordinary edge are about 1.
    """

    layer: GridLayer
    coefficients: Tensor
    differences: Tensor
    bounded: Tensor  # (in, rows, 1)


class Increments:
    """Differences of coefficients in the place of these; those that must be at least 0 are squares.

    A gradient step on differences keeps to the constraints, and finds what is best among
    coefficients that obey them. Steps on coefficients that are moved back afterwards would not.

    Args:
        network: Layers with grids, or a stack of networks.
        constraints: Of each layer.

    Source:
        N. Pya and S. Wood, "Shape constrained additive models", 2015, with squares in the place of
        exponentials.
    """

    def __init__(self, network: nn.Sequential, constraints: Sequence[Constraint]) -> None:
        self.network, self.constraints = network, list(constraints)
        pairs = zip(layers_of(network), constraints, strict=True)
        self._layers = [_make(layer, one) for layer, one in pairs if one.pairs]
        with torch.no_grad():
            self.raw = [nn.Parameter(_start(one)) for one in self._layers]
        self.write()

    def trained(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """The parameters, with the differences in the place of the coefficients."""
        own = {id(one.layer.values): raw for one, raw in zip(self._layers, self.raw, strict=True)}
        return [own.get(id(part), part) for part in parameters]

    @torch.no_grad()
    def write(self) -> None:
        """Puts the coefficients of the present differences into the network."""
        for one, raw in zip(self._layers, self.raw, strict=True):
            steps = torch.where(one.bounded, raw.square(), raw)
            one.layer.values.copy_(one.coefficients @ steps)
        constrain(self.network, self.constraints)

    @torch.no_grad()
    def pull(self) -> None:
        """Turns the gradients of the coefficients into those of the differences."""
        for one, raw in zip(self._layers, self.raw, strict=True):
            gradient = one.layer.values.grad
            if gradient is None:
                raw.grad = None
                continue
            gradient = one.coefficients.mT @ gradient
            raw.grad = gradient * torch.where(one.bounded, 2 * raw, 1)
            one.layer.values.grad = None


def orient(network: nn.Sequential, constraints: Sequence[Constraint]) -> None:
    """Reflects edges that are random straight lines so that they rise or fall as they must."""
    for layer, constraint in zip(layers_of(network), constraints, strict=True):
        values = layer.get_parameter("values").data
        for i, monotone, _ in constraint.pairs:
            falls = monotone * (values[i, -1] - values[i, 0]) < 0
            values[i] = values[i].flip(0).where(falls, values[i])


def _make(layer: nn.Module, constraint: Constraint) -> _Layer:
    assert isinstance(layer, GridLayer)
    rows = layer.values.shape[-2]
    signs = zip(constraint.monotone, constraint.convex, strict=True)
    found = [differences(rows, *pair) for pair in signs]
    free = [not any(pair) for pair in zip(constraint.monotone, constraint.convex, strict=True)]
    to, back, bounded = [], [], []
    for one, is_free in zip(found, free, strict=True):
        matrix = torch.eye(rows).double() if is_free else torch.from_numpy(one.matrix)
        order = torch.from_numpy(one.order) * (not is_free)
        unit = float(rows) ** -order.double()
        to.append(torch.linalg.inv(matrix) * unit)
        back.append(matrix / unit[:, None])
        bounded.append(torch.from_numpy(one.bounded) & (not is_free))
    return _Layer(
        layer,
        torch.stack(to).to(layer.values),
        torch.stack(back).to(layer.values),
        torch.stack(bounded).unsqueeze(2).to(layer.values.device),
    )


def _start(one: _Layer) -> Tensor:
    steps = one.differences @ one.layer.values
    return torch.where(one.bounded, steps.clamp(min=MIN_ROOT**2).sqrt(), steps)
