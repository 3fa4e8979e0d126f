"""Sums of splines by the fastest implementation, with derivatives of any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from kan_exp.layers.kernels import native_sum, torch_sum
from kan_exp.layers.kernels.splines import Grid, spline_values
from kan_exp.layers.tracing import is_traced, plain_gradients


def spline_sum(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The sum of `spline_values` over inputs, `(batch, out)`, by the fastest implementation.

    Implementations agree to rounding. `torch.compile`, `torch.func` and devices other than the CPU
    use the definition.
    """
    tensors = (x, table, *grid)
    # Traced tensors may have unknown sizes.
    if is_traced(x, table) or not _are_alike(tensors):
        return _defined(x, table, grid)
    native = native_sum.takes(x)  # faster at any size
    if not native and not torch_sum.pays(x, table, grid):
        return _defined(x, table, grid)
    total: Tensor = _SplineSum.apply(native_sum if native else torch_sum, *tensors)
    return total


def stacked_spline_sum(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """`spline_sum` of many independent replicas.

    Args:
        x: Samples `(replicas, batch, in)`.
        table: Coefficients `(replicas, in, rows, out)`.
        grid: The grid, `first` and `spacing` being `(replicas, in)`.

    Returns:
        `(replicas, batch, out)`.
    """
    tensors = (x, table, *grid)
    if is_traced(x, table) or not _are_alike(tensors) or not native_sum.takes(x):
        return _defined(x, table, grid)
    total: Tensor = _SplineSum.apply(native_sum, *tensors)
    return total


def kernel_name(x: Tensor) -> str:
    """The implementation for such samples, "native" or "torch", which round differently."""
    return "native" if x.is_cpu and native_sum.takes(x) else "torch"


def _defined(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The sums by their definition, of one replica or all."""

    def sums(x: Tensor, table: Tensor, first: Tensor, spacing: Tensor) -> Tensor:
        return spline_values(x, table, Grid(first, spacing, grid.polynomials)).sum(1)

    total: Tensor = (vmap(sums) if x.ndim == 3 else sums)(x, table, grid.first, grid.spacing)
    return total


def _are_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether all have one dtype and are on the CPU."""
    dtype = tensors[0].dtype
    return all(tensor.dtype == dtype and tensor.is_cpu for tensor in tensors)


class _SplineSum(torch.autograd.Function):
    """Sums by an implementation: a module with `forward` and `backward`."""

    @staticmethod
    def forward(ctx: Any, kernel: Any, x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
        total, kept = kernel.forward(x, table, Grid(*tensors))
        ctx.kernel = kernel
        ctx.save_for_backward(x, table, *tensors, *kept)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, table, first, spacing, polynomials, *kept = ctx.saved_tensors
        grid, (grad,) = Grid(first, spacing, polynomials), grads
        by_x: Tensor | None
        by_table: Tensor | None
        twice = torch.is_grad_enabled()  # whether this derivative is to be differentiated
        if twice or is_traced(grad):
            with torch.enable_grad():
                total = _defined(x, table, grid)
            by_x, by_table = plain_gradients(total, (x, table), grad, twice)
        else:
            wanted = ctx.needs_input_grad[1:3]
            by_x, by_table = ctx.kernel.backward(x, table, grid, grad, kept, wanted)
        return None, by_x, by_table, None, None, None
