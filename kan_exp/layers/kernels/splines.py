"""Splines on evenly spaced knots: the readable definition of what the fast sums compute."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


class Grid(NamedTuple):
    """Where the cells of splines are, and what the splines are made of on each.

    `first` and `spacing` `(in,)` are the first knot and the distance of two knots of each input;
    `polynomials` `(powers, 2 * functions)` are the basis functions on a cell, and then their
    derivatives, as polynomials of the place in it, 0 to 1. They are multiplied by `scale`, which
    makes them whole numbers: those are exact in every dtype.
    """

    first: Tensor
    spacing: Tensor
    polynomials: Tensor

    @property
    def functions(self) -> int:
        """Basis functions that are not zero on a cell: one more than the degree."""
        return len(self.polynomials)

    @property
    def scale(self) -> int:
        return math.factorial(self.functions - 1)

    def locate(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """The cell of each sample `(batch, in)`, and its place in it; outside, beyond 0 to 1."""
        last = table.shape[1] - self.functions
        position = (x - self.first) / self.spacing
        # A NaN must come out as NaN; as an index, which is any number, it would end the program.
        cell = position.detach().clamp(0, last).long().clamp(0, last)
        return cell, position - cell


def interval_polynomials(degree: int) -> Tensor:
    """The basis functions on an interval and their slopes, `Grid.polynomials`, in float64."""
    polynomials = np.round(basis_polynomials(degree) * math.factorial(degree))  # whole numbers
    slopes = np.zeros_like(polynomials)
    slopes[:-1] = polynomials[1:] * np.arange(1, degree + 1)[:, None]
    return torch.from_numpy(np.concatenate([polynomials, slopes], axis=1))


@functools.cache
def basis_polynomials(degree: int) -> NDArray[np.float64]:
    """The basis functions on one interval by Cox and de Boor, `(power, basis function)`."""
    basis = np.ones((1, 1))
    for p in range(1, degree + 1):
        raised = np.zeros((p + 1, p + 1))
        for j in range(p + 1):
            if j > 0:  # (t - j + p) / p times the lower function on the left
                raised[1:, j] += basis[:, j - 1] / p
                raised[:-1, j] += basis[:, j - 1] * (p - j) / p
            if j < p:  # (j + 1 - t) / p times the one on the right
                raised[1:, j] -= basis[:, j] / p
                raised[:-1, j] += basis[:, j] * (j + 1) / p
        basis = raised
    return basis


def spline_values(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Each spline's value.

    Args:
        x: Samples `(batch, in)`; beyond the grid a spline is a straight line.
        table: Coefficients `(in, cells + degree, out)`; the basis functions of a cell have the rows
            from the cell's own number on.
        grid: The cells.

    Returns:
        `(batch, in, out)`.
    """
    cell, weights = _weights(x, table, grid)
    rows = first_row(cell, table).unsqueeze(-1) + torch.arange(grid.functions, device=x.device)
    found = functional.embedding(rows, table.flatten(0, 1))  # (batch, in, functions, out)
    return (found * weights.unsqueeze(-1)).sum(2)


def spline_basis(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The values of all basis functions, `(batch, in, rows)`; arguments as in `spline_values`."""
    cell, weights = _weights(x, table, grid)
    places = cell.unsqueeze(-1) + torch.arange(grid.functions, device=x.device)
    return weights.new_zeros(*x.shape, table.shape[1]).scatter(-1, places, weights)


def spline_derivatives(x: Tensor, table: Tensor, grid: Grid, order: int) -> list[Tensor]:
    """Each spline's value and its derivatives up to an order, `(batch, in, out)` each.

    Arguments as in `spline_values`. Beyond the grid, where a spline is straight, all but the first
    derivative are zero.
    """
    cell, t = grid.locate(x, table)
    inside = t.clamp(0, 1)
    beyond = (t - inside).unsqueeze(-1)
    rows = first_row(cell, table).unsqueeze(-1) + torch.arange(grid.functions, device=x.device)
    found = functional.embedding(rows, table.flatten(0, 1))  # (batch, in, functions, out)
    weights = basis_derivatives(grid.polynomials, inside, order)
    weights[0] = weights[0] + beyond * (weights[1] if order else _slopes(grid, inside))
    size = grid.spacing.unsqueeze(-1)
    for k in range(1, order + 1):
        part = weights[k] if k == 1 else weights[k].where(beyond == 0, 0)
        weights[k] = part / size**k
    return [(found * part.unsqueeze(-1)).sum(2) / grid.scale for part in weights]


def basis_derivatives(polynomials: Tensor, t: Tensor, order: int) -> list[Tensor]:
    """Basis functions and their derivatives by the place `t` in the cell, `(*t.shape, functions)`.

    `polynomials` are those of a `Grid`.
    """
    powers = polynomials[:, : len(polynomials)]
    made = [_horner(powers, t)]
    for _ in range(order):
        powers = powers[1:] * torch.arange(1, max(1, len(powers))).to(powers)[:, None]
        made.append(_horner(powers, t) if len(powers) else torch.zeros_like(made[0]))
    return made


def _slopes(grid: Grid, t: Tensor) -> Tensor:
    return _horner(grid.polynomials, t).chunk(2, dim=-1)[1]


def first_row(cell: Tensor, table: Tensor) -> Tensor:
    """The rows at which cells begin, in the flattened table."""
    return cell + table.shape[1] * torch.arange(table.shape[0], device=cell.device)


def _weights(x: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The cell `(batch, in)` and its basis functions' values `(batch, in, functions)`."""
    cell, t = grid.locate(x, table)
    inside = t.clamp(0, 1)
    beyond = (t - inside).unsqueeze(-1)
    weights, slopes = _horner(grid.polynomials, inside).chunk(2, dim=-1)
    return cell, (weights + beyond * slopes) / grid.scale


def _horner(polynomials: Tensor, t: Tensor) -> Tensor:
    """Values of polynomials `(powers, count)` at `t`: `(*t.shape, count)`."""
    t = t.unsqueeze(-1)
    value = polynomials[-1].expand(*t.shape[:-1], -1)
    for coefficients in polynomials[:-1].flip(0):
        value = torch.addcmul(coefficients, value, t)
    return value
