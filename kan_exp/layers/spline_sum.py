"""The inner loop of all grids: sums of splines, of which a sample reads one cell per input."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.layers.tracing import is_traced, plain_gradients

# Measured (benchmarks/README.md): a matrix product with all rows is faster than looking some of
# them up if there are at most this many per row that is read, or if all is small anyway.
DENSE_ROWS = 8
DENSE_PRODUCTS = 2**20
SMALL = 2**15  # numbers below which looking up in one go is faster than saving memory


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


def spline_values(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Each spline's value: the readable definition of what `spline_sum` sums.

    Args:
        x: Samples `(batch, in)`; beyond the grid a spline goes on along a straight line.
        table: Coefficients `(in, cells + degree, out)`; the basis functions of a cell have the rows
            from the cell's own number on.
        grid: The cells.

    Returns:
        `(batch, in, out)`.
    """
    cell, weights = _plain_weights(x, table, grid)
    rows = _first_row(cell, table).unsqueeze(-1) + torch.arange(grid.functions, device=x.device)
    found = functional.embedding(rows, table.flatten(0, 1))  # (batch, in, functions, out)
    return (found * weights.unsqueeze(-1)).sum(2)


def spline_basis(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The values of all basis functions, `(batch, in, rows)`; arguments as in `spline_values`."""
    cell, weights = _plain_weights(x, table, grid)
    places = cell.unsqueeze(-1) + torch.arange(grid.functions, device=x.device)
    return weights.new_zeros(*x.shape, table.shape[1]).scatter(-1, places, weights)


def _plain_weights(x: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The cell `(batch, in)` and its basis functions' values `(batch, in, functions)`."""
    cell, t = grid.locate(x, table)
    inside = t.clamp(0, 1)
    beyond = (t - inside).unsqueeze(-1)
    weights, slopes = _horner(grid.polynomials, inside).chunk(2, dim=-1)
    return cell, (weights + beyond * slopes) / grid.scale


def spline_sum(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The sum of `spline_values` over inputs, `(batch, out)`, by the fastest way known.

    The ways agree to rounding. Compiled code, `torch.func` and other devices than the CPU take the
    definition: compilers fuse it, and transforms have rules for all that it does.
    """
    # Sizes may be unknown to who traces, and are asked for only after that.
    if is_traced() or x.device.type != "cpu" or _is_small(x, table, grid):
        return spline_values(x, table, grid).sum(1)
    total: Tensor = _SplineSum.apply(x, table, *grid)
    return total


def _horner(polynomials: Tensor, t: Tensor) -> Tensor:
    """Values of polynomials `(powers, count)` at `t`: `(*t.shape, count)`."""
    t = t.unsqueeze(-1)
    value = polynomials[-1].expand(*t.shape[:-1], -1)
    for coefficients in polynomials[:-1].flip(0):
        value = torch.addcmul(coefficients, value, t)
    return value


def _first_row(cell: Tensor, table: Tensor) -> Tensor:
    """Rows in the flattened table."""
    return cell + table.shape[1] * torch.arange(table.shape[0], device=cell.device)


def _is_small(x: Tensor, table: Tensor, grid: Grid) -> bool:
    return x.numel() * table.shape[2] < SMALL and not _is_dense(x, table, grid)


def _is_dense(x: Tensor, table: Tensor, grid: Grid) -> bool:
    few = table.shape[1] <= DENSE_ROWS * grid.functions
    return few or len(x) * table.numel() <= DENSE_PRODUCTS


class _SplineSum(torch.autograd.Function):
    """`spline_sum` on the CPU, without a temporary of the size of all that is read.

    With few rows all basis functions are written out and multiplied with the table; with many the
    rows are looked up. Tensors of weights have the basis functions first, `(functions, batch, in)`,
    so that what is done to each of them is done to contiguous numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
        grid = Grid(*tensors)
        cell, t = grid.locate(x, table)
        inside = t.clamp(0, 1)
        both = _evaluate(grid, inside)
        weights, slopes = both[: grid.functions], both[grid.functions :]
        beyond = t - inside
        if beyond.count_nonzero():  # most often all samples lie on the grid
            weights = torch.addcmul(weights, slopes, beyond.flatten())
        weights = weights.view(grid.functions, *x.shape)
        if not _is_dense(x, table, grid):
            ctx.save_for_backward(x, table, *tensors, slopes, cell, weights)
            return _bags(weights, cell, table)
        rows = table.shape[1]
        starts = _starts if cell.numel() < SMALL else _starts.__wrapped__  # keep what is small
        places = (starts(*x.shape, rows, grid.functions) + cell).flatten()
        basis = x.new_zeros(cell.numel() * rows).scatter_(0, places, weights.flatten())
        basis = basis.view(len(x), rows * x.shape[1])
        ctx.save_for_backward(x, table, *tensors, slopes, places, basis)
        return basis @ table.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, table, first, spacing, polynomials, slopes, *kept = ctx.saved_tensors
        grid, (grad,) = Grid(first, spacing, polynomials), grads
        by_x = by_table = None
        if torch.is_grad_enabled():  # a derivative of this derivative is wanted: keep its graph
            total = spline_values(x, table, grid).sum(1)
            by_x, by_table = plain_gradients(total, (x, table), grad)
        else:
            dense = _is_dense(x, table, grid)
            by_weights, table_slope = _dense_slopes if dense else _bag_slopes
            if ctx.needs_input_grad[0]:
                total = (by_weights(table, grad, *kept).reshape(slopes.shape) * slopes).sum(0)
                by_x = total.view_as(x) / spacing
            if ctx.needs_input_grad[1]:
                by_table = table_slope(table, grad, *kept)
        return by_x, by_table, None, None, None


@functools.lru_cache(64)
def _starts(batch: int, dim_in: int, rows: int, functions: int) -> Tensor:
    """Where each sample's basis functions begin, `(functions, batch, in)`, the next one further."""
    start = torch.arange(0, batch * dim_in * rows, rows).view(batch, dim_in)
    return start + torch.arange(functions).view(-1, 1, 1)


def _evaluate(grid: Grid, t: Tensor) -> Tensor:
    """Values of the basis functions, and then their derivatives: `(2 functions, batch * in)`."""
    t = t.flatten()
    powers = t.new_empty(grid.functions - 1, len(t))
    rows = powers.unbind()
    torch.div(t, grid.scale, out=rows[0])
    for power, following in itertools.pairwise(rows):
        torch.mul(power, t, out=following)
    constant = grid.polynomials[0].unsqueeze(1) / grid.scale
    return torch.addmm(constant, grid.polynomials[1:].T, powers)


def _dense_by_weights(table: Tensor, grad: Tensor, places: Tensor, basis: Tensor) -> Tensor:
    return (grad @ table.flatten(0, 1).T).flatten().index_select(0, places)


def _dense_by_table(table: Tensor, grad: Tensor, places: Tensor, basis: Tensor) -> Tensor:
    return (basis.T @ grad).view_as(table)


def _bags(weights: Tensor, cell: Tensor, table: Tensor) -> Tensor:
    """Sums of the rows that each sample reads, `(batch, out)`."""
    rows = _first_row(cell, table).unsqueeze(1) + torch.arange(len(weights)).unsqueeze(1)
    return functional.embedding_bag(
        rows.flatten(1),  # (batch, functions * in)
        table.flatten(0, 1),
        mode="sum",
        per_sample_weights=weights.transpose(0, 1).flatten(1),
    )


def _bag_by_weights(table: Tensor, grad: Tensor, cell: Tensor, weights: Tensor) -> Tensor:
    with torch.enable_grad():
        free = torch.zeros_like(weights).requires_grad_()
        (found,) = torch.autograd.grad(_bags(free, cell, table.detach()), free, grad)
    return found


def _bag_by_table(table: Tensor, grad: Tensor, cell: Tensor, weights: Tensor) -> Tensor:
    """For each row the sum over the samples that read it.

    Samples are sorted by the cell in which they lie, so that the sum over a cell is a bag like
    those of the forward pass; the cell's other rows get such bags too, one row further each.
    """
    key = _first_row(cell, table).flatten()
    order = key.int().argsort()  # 32 bits are sorted twice as fast
    cells, counts = torch.unique_consecutive(key[order], return_counts=True)
    starts = counts.cumsum(0) - counts
    samples = torch.div(order, cell.shape[1], rounding_mode="floor")
    total = torch.zeros_like(table).flatten(0, 1)
    for shift, weight in enumerate(weights.flatten(1).index_select(1, order)):
        bags = functional.embedding_bag(
            samples, grad, starts, mode="sum", per_sample_weights=weight
        )
        total.index_add_(0, cells + shift, bags)
    return total.view_as(table)


# Gradients of the weights `(functions, batch, in)` and of the table, in both ways.
_dense_slopes = _dense_by_weights, _dense_by_table
_bag_slopes = _bag_by_weights, _bag_by_table
