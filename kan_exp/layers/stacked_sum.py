"""Sums of splines for many replicas at once, of which each has tables of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.layers.kernels import Grid


def stacked_spline_sum(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """`spline_sum` of every replica.

    All tables are one long table, of which a sample of a replica reads a few rows: a bag of rows
    forward, and one scatter for each basis function back. Under `vmap` the definition's gradient
    takes some ten times as long, a call for every row (benchmarks/README.md).

    Args:
        x: Samples `(replicas, batch, in)`.
        table: Coefficients `(replicas * in, rows, out)`.
        grid: The cells, `first` and `spacing` being `(replicas, 1, in)`.

    Returns:
        `(replicas, batch, out)`. It can be differentiated once.
    """
    total: Tensor = _StackedSum.apply(x, table, *grid)
    return total


def squared_differences(table: Tensor, order: int) -> Tensor:
    """Sum of the squared differences of neighbouring rows, `(tables, rows, out)` -> `(tables,)`.

    Written out, it takes a third of what autograd does with as many numbers.
    """
    total: Tensor = _SquaredDifferences.apply(table, order)
    return total


class _StackedSum(torch.autograd.Function):
    """Sample by sample `(n,)` and basis function by basis function, so that all is contiguous.

    Rows are those of all tables below one another; a basis function's row is the one after that of
    the function before it, which a view of the table from there on does without new indices.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
        grid = Grid(*tensors)
        replicas, batch, dim_in = x.shape
        cell, t = grid.locate(x, table)
        inside = t.clamp(0, 1)
        weights, slopes = _basis(grid, inside.flatten()).chunk(2)  # (functions, n)
        beyond = t - inside
        if beyond.count_nonzero():  # most often all samples lie on the grid
            weights = torch.addcmul(weights, slopes, beyond.flatten())
        tables = torch.arange(0, len(table) * table.shape[1], table.shape[1], device=x.device)
        rows = cell.add_(tables.view(replicas, 1, dim_in)).view(-1, dim_in)  # a bag per sample
        flat = table.flatten(0, 1)
        total = _bags(rows, flat, weights[0].view_as(rows))
        for shift in range(1, grid.functions):
            total += _bags(rows, flat[shift:], weights[shift].view_as(rows))
        ctx.save_for_backward(table, rows, weights, slopes, grid.spacing)
        return total.view(replicas, batch, -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        table, rows, weights, slopes, spacing = ctx.saved_tensors
        (grad,) = grads
        by_x = by_table = None
        if ctx.needs_input_grad[0]:
            by_x = _by_samples(table, rows, slopes, grad).view(*grad.shape[:2], -1) / spacing
        if ctx.needs_input_grad[1]:
            by_table = _by_table(table, rows, weights, grad.flatten(0, 1))
        return by_x, by_table, None, None, None


def _bags(rows: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    return functional.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)


def _by_samples(table: Tensor, rows: Tensor, slopes: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the places in the cells, `(samples, in)`."""
    flat, right = table.flatten(0, 1), grad.reshape(len(rows), -1, 1)
    total = torch.zeros_like(rows, dtype=table.dtype)
    for shift, slope in enumerate(slopes):
        found = functional.embedding(rows, flat[shift:])  # (samples, in, out)
        pull = found * right if right.shape[1] == 1 else found @ right
        total.addcmul_(pull.squeeze(-1), slope.view_as(rows))
    return total


def _by_table(table: Tensor, rows: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the coefficients, from that of the sums `(samples, out)`."""
    dim_out = grad.shape[1]
    places = rows.unsqueeze(-1)
    if dim_out > 1:
        places = places * dim_out + torch.arange(dim_out, device=rows.device)
    places = places.flatten()
    total = torch.zeros_like(table)
    for shift, weight in enumerate(weights):
        part = weight.view(*rows.shape, 1) * grad.unsqueeze(1)  # (samples, in, out)
        total.view(-1)[shift * dim_out :].scatter_add_(0, places, part.flatten())
    return total


def _basis(grid: Grid, t: Tensor) -> Tensor:
    """Values of the basis functions, and then their derivatives: `(2 functions, n)`."""
    powers = [t / grid.scale]
    for _ in range(2, grid.functions):
        powers.append(powers[-1] * t)
    constant = grid.polynomials[0].unsqueeze(1) / grid.scale
    return torch.addmm(constant, grid.polynomials[1:].T, torch.stack(powers))


class _SquaredDifferences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, order: int) -> Tensor:
        differences = table.diff(n=order, dim=1)
        ctx.save_for_backward(differences)
        ctx.order = order
        return differences.square().sum((1, 2))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (differences,) = ctx.saved_tensors
        (grad,) = grads
        # The transpose of a difference is minus the difference of what is framed with zeros.
        scale = 2 * (-1) ** ctx.order * grad.view(-1, 1, 1)
        tables, count, dim_out = differences.shape
        framed = differences.new_zeros(tables, count + 2 * ctx.order, dim_out)
        torch.mul(differences, scale, out=framed[:, ctx.order : ctx.order + count])
        return framed.diff(n=ctx.order, dim=1), None
