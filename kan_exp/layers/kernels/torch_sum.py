"""Sums of splines by torch's own operations, for machines without a C compiler."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.layers.kernels.splines import Grid, first_row

# Measured (benchmarks/README.md): a matrix product with all rows is faster than looking some of
# them up if there are at most this many per row that is read, or if all is small anyway.
DENSE_ROWS = 8
DENSE_PRODUCTS = 2**20
SMALL = 2**15  # numbers below which looking up in one go is faster than saving memory


def pays(x: Tensor, table: Tensor, grid: Grid) -> bool:
    """Whether it is faster than the definition: on a CPU, without replicas, if sizes allow."""
    if not x.is_cpu or x.ndim == 3:
        return False
    return x.numel() * table.shape[2] >= SMALL or _is_dense(x, table, grid)


def forward(x: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, list[Tensor]]:
    """The sums `(batch, out)`, and what to keep for the gradient.

    No temporary is of the size of all that is read. With few rows all basis functions are written
    out and multiplied with the table; with many the rows are looked up. Tensors of weights have the
    basis functions first, `(functions, batch, in)`, so that what is done to each of them is done to
    contiguous numbers.

    Args:
        x: Samples `(batch, in)`.
        table: Coefficients `(in, rows, out)`.
        grid: The cells.
    """
    cell, t = grid.locate(x, table)
    inside = t.clamp(0, 1)
    both = _evaluate(grid, inside)
    weights, slopes = both[: grid.functions], both[grid.functions :]
    beyond = t - inside
    if beyond.count_nonzero():  # most often all samples lie on the grid
        weights = torch.addcmul(weights, slopes, beyond.flatten())
    weights = weights.view(grid.functions, *x.shape)
    if not _is_dense(x, table, grid):
        return _bags(weights, cell, table), [slopes, cell, weights]
    rows = table.shape[1]
    starts = _starts if cell.numel() < SMALL else _starts.__wrapped__  # keep what is small
    places = (starts(*x.shape, rows, grid.functions) + cell).flatten()
    basis = x.new_zeros(cell.numel() * rows).scatter_(0, places, weights.flatten())
    basis = basis.view(len(x), rows * x.shape[1])
    return basis @ table.flatten(0, 1), [slopes, places, basis]


def backward(
    x: Tensor,
    table: Tensor,
    grid: Grid,
    grad: Tensor,
    kept: Sequence[Tensor],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `x` and of the table, each if it is wanted, for that of the sums, `grad`."""
    by_x = by_table = None
    slopes, *kept = kept
    dense = _is_dense(x, table, grid)
    by_weights, table_slope = _dense_slopes if dense else _bag_slopes
    if wanted[0]:
        total = (by_weights(table, grad, *kept).reshape(slopes.shape) * slopes).sum(0)
        by_x = total.view_as(x) / grid.spacing
    if wanted[1]:
        by_table = table_slope(table, grad, *kept)
    return by_x, by_table


def _is_dense(x: Tensor, table: Tensor, grid: Grid) -> bool:
    few = table.shape[1] <= DENSE_ROWS * grid.functions
    return few or len(x) * table.numel() <= DENSE_PRODUCTS


@functools.lru_cache(64)
def _starts(batch: int, dim_in: int, rows: int, functions: int) -> Tensor:
    """Where each sample's basis functions begin, `(functions, batch, in)`, the next one further."""
    # Only the CPU sums this way, whatever the default device is.
    start = torch.arange(0, batch * dim_in * rows, rows, device="cpu").view(batch, dim_in)
    return start + torch.arange(functions, device="cpu").view(-1, 1, 1)


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
    rows = first_row(cell, table).unsqueeze(1) + torch.arange(
        len(weights), device=cell.device
    ).unsqueeze(1)
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
    key = first_row(cell, table).flatten()
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
