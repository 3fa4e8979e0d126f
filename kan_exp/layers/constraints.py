"""Edges that are monotone or convex by their coefficients.

A spline whose coefficients do not decrease does not decrease, and one whose second differences are
not negative is convex, beyond its grid too, where it is a straight line.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kan_exp.layers.grid import GridLayer
from kan_exp.layers.walk import layers_of

# Convex coefficients are whole multiples of a unit, at most about 2^BITS of them, so that float32
# holds them and their second differences exactly.
BITS = 22


class Constraint(NamedTuple):
    """What the edges from each input of a layer must be.

    Args:
        monotone: 1 for increasing edges, -1 for decreasing ones, 0 for any, for each input.
        convex: 1 for convex edges, -1 for concave ones, 0 for any, for each input.
    """

    monotone: tuple[int, ...]
    convex: tuple[int, ...]

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """Each input that is constrained, with its two signs."""
        signs = zip(self.monotone, self.convex, strict=True)
        return [(i, *pair) for i, pair in enumerate(signs) if any(pair)]


def layer_constraints(
    dims: Sequence[int], monotone: Sequence[int], convex: Sequence[int]
) -> list[Constraint]:
    """The constraints of each layer by which outputs are monotone or convex in their inputs.

    Increasing functions of a monotone one are monotone, and increasing convex functions of a convex
    one are convex: so are all edges behind the first layer. Inputs that are free stay so.

    Args:
        dims: Widths from the inputs to the outputs.
        monotone: The sign of each input.
        convex: Likewise; behind hidden units not of both signs.

    Source:
        S. Boyd and L. Vandenberghe, "Convex Optimization", 2004, section 3.2.4.
    """
    later = 1 if any(monotone) or any(convex) else 0
    bend = next((sign for sign in convex if sign), 0)
    behind = [Constraint((later,) * width, (bend,) * width) for width in dims[1:-1]]
    return [Constraint(tuple(monotone), tuple(convex)), *behind]


class Differences(NamedTuple):
    """Differences of the coefficients of an edge.

    Args:
        matrix: From coefficients to as many differences, invertible, `(rows, rows)`.
        order: Of each difference: 0 for a coefficient, 1 for a slope, 2 for a bend.
        bounded: Which of them must be at least 0.
    """

    matrix: NDArray[np.float64]
    order: NDArray[np.int64]
    bounded: NDArray[np.bool_]


@functools.cache
def differences(rows: int, monotone: int, convex: int) -> Differences:
    """The differences whose signs make an edge of so many coefficients what it must be."""
    order = np.minimum(np.arange(rows), 2 if convex else 1)
    if monotone and convex and monotone != convex:  # the slope nearest to 0 is the last one
        flipped = differences(rows, -monotone, convex)
        return flipped._replace(matrix=np.ascontiguousarray(flipped.matrix[:, ::-1]))
    matrix = np.eye(rows)
    matrix[1:] = np.diff(np.eye(rows), axis=0)
    if convex:
        matrix[2:] = convex * np.diff(np.eye(rows), n=2, axis=0)
        matrix[1] *= monotone or 1
    else:
        matrix[1:] *= monotone
    bounded = (order == 2) | ((order == 1) & (monotone != 0))
    return Differences(matrix, order, bounded)


@torch.no_grad()
def constrain(network: nn.Sequential, constraints: Sequence[Constraint]) -> None:
    """Changes the coefficients of a network, or of a stack, to near ones that obey constraints.

    They do so exactly, also as float32. Coefficients that obey them already stay the same but for
    rounding.
    """
    for layer, constraint in zip(layers_of(network), constraints, strict=True):
        assert isinstance(layer, GridLayer)
        for i, monotone, convex in constraint.pairs:
            edges = layer.values.select(-3, i)  # (..., rows, out)
            edges.copy_(constrained(edges, monotone, convex))
            if layer.lines is not None and monotone:
                slopes = layer.lines.select(-3, 0).select(-2, i)
                slopes.copy_(monotone * (monotone * slopes).clamp(min=0))


def constrained(edges: Tensor, monotone: int, convex: int) -> Tensor:
    """Coefficients `(..., rows, out)` near the given ones that obey constraints exactly.

    Source:
        The mean of the largest coefficient so far and the smallest from there on is the nearest
        monotone sequence in the maximum norm: V. Ubhaya, "Isotone optimization", 1974.
    """
    edges = edges.double()
    if not convex:
        return monotone * _increasing(monotone * edges)
    slopes = convex * _increasing(convex * edges.diff(dim=-2))
    if monotone:
        slopes = monotone * (monotone * slopes).clamp(min=0)
    start = torch.zeros_like(edges[..., :1, :])
    total = torch.cat([start, slopes.cumsum(-2)], -2)
    total = total + (edges - total).mean(-2, keepdim=True)
    largest = total.abs().amax(-2, keepdim=True)
    unit = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - BITS)
    steps = torch.cat([total[..., :1, :], slopes], -2) / unit
    return steps.round().cumsum(-2) * unit


def _increasing(values: Tensor) -> Tensor:
    below = values.cummax(-2).values
    above = values.flip(-2).cummin(-2).values.flip(-2)
    return (below + above) / 2
