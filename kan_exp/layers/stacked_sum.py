"""Sums of splines for many replicas at once, of which each has tables of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.layers.spline_sum import Grid


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


class _StackedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
        grid = Grid(*tensors)
        replicas, batch, dim_in = x.shape
        cell, t = grid.locate(x, table)
        inside = t.clamp(0, 1)
        values = _basis(grid, inside).unbind()
        weights = torch.stack(values[: grid.functions], dim=-1)  # (replicas, batch, in, functions)
        slopes = torch.stack(values[grid.functions :], dim=-1)
        beyond = t - inside
        if beyond.count_nonzero():  # most often all samples lie on the grid
            weights = torch.addcmul(weights, slopes, beyond.unsqueeze(-1))
        tables = torch.arange(0, table.shape[0] * table.shape[1], table.shape[1], device=x.device)
        row = cell + tables.view(replicas, 1, dim_in)
        ctx.save_for_backward(table, row, weights, slopes, grid.spacing)
        rows = row.unsqueeze(-1) + torch.arange(grid.functions, device=x.device)
        total = functional.embedding_bag(
            rows.view(replicas * batch, -1),
            table.flatten(0, 1),
            mode="sum",
            per_sample_weights=weights.view(replicas * batch, -1),
        )
        return total.view(replicas, batch, -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads  # (replicas, batch, out)
        table, row, weights, slopes, spacing = ctx.saved_tensors
        by_x = by_table = None
        if ctx.needs_input_grad[0]:
            rows = row.unsqueeze(-1) + torch.arange(weights.shape[-1], device=row.device)
            found = functional.embedding(rows, table.flatten(0, 1))
            pull = (found * grad[:, :, None, None]).sum(-1)  # of each basis function's value
            by_x = (pull * slopes).sum(-1) / spacing
        if ctx.needs_input_grad[1]:
            dim_out = table.shape[2]
            total = torch.zeros_like(table).flatten()
            places = row.unsqueeze(-1) * dim_out + torch.arange(dim_out, device=row.device)
            places = places.flatten()
            for shift, weight in enumerate(weights.unbind(-1)):
                part = weight.unsqueeze(-1) * grad.unsqueeze(2)  # (replicas, batch, in, out)
                total[shift * dim_out :].scatter_add_(0, places, part.flatten())
            by_table = total.view_as(table)
        return by_x, by_table, None, None, None


def _basis(grid: Grid, t: Tensor) -> Tensor:
    """Values of the basis functions, and then their derivatives: `(2 functions, *t.shape)`."""
    shape = (-1,) + (1,) * t.ndim
    value = grid.polynomials[-1].view(shape)
    for coefficients in grid.polynomials[:-1].flip(0):
        value = torch.addcmul(coefficients.view(shape), value, t)
    return value / grid.scale
