"""Chooses the fastest way to sum splines, and gives each the same derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kan_exp.layers.kernels import native_sum, torch_sum
from kan_exp.layers.kernels.splines import Grid, spline_values
from kan_exp.layers.tracing import is_traced, plain_gradients


def spline_sum(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The sum of `spline_values` over inputs, `(batch, out)`, by the fastest way known.

    The ways agree to rounding. Compiled code, `torch.func` and other devices than the CPU take the
    definition: compilers fuse it, and transforms have rules for all that it does.
    """
    tensors = (x, table, *grid)
    # Sizes may be unknown to who traces, and are asked for only after that.
    if is_traced(x, table) or not _are_alike(tensors):
        return spline_values(x, table, grid).sum(1)
    way: Any = native_sum if native_sum.takes(x) else torch_sum
    if not way.pays(x, table, grid):
        return spline_values(x, table, grid).sum(1)
    total: Tensor = _SplineSum.apply(way, *tensors)
    return total


def _are_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether all are numbers of one kind in the CPU's memory."""
    dtype = tensors[0].dtype
    return all(tensor.dtype == dtype and tensor.is_cpu for tensor in tensors)


class _SplineSum(torch.autograd.Function):
    """A way to sum splines: a module with `forward` and `backward`."""

    @staticmethod
    def forward(ctx: Any, way: Any, x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
        total, kept = way.forward(x, table, Grid(*tensors))
        ctx.way = way
        ctx.save_for_backward(x, table, *tensors, *kept)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, table, first, spacing, polynomials, *kept = ctx.saved_tensors
        grid, (grad,) = Grid(first, spacing, polynomials), grads
        by_x: Tensor | None
        by_table: Tensor | None
        twice = torch.is_grad_enabled()  # a derivative of this derivative is wanted: keep its graph
        if twice or is_traced(grad):
            with torch.enable_grad():
                total = spline_values(x, table, grid).sum(1)
            by_x, by_table = plain_gradients(total, (x, table), grad, twice)
        else:
            wanted = ctx.needs_input_grad[1:3]
            by_x, by_table = ctx.way.backward(x, table, grid, grad, kept, wanted)
        return None, by_x, by_table, None, None, None
