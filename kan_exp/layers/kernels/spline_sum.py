"""Sums of splines by the fastest implementation, with derivatives of any order."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from kan_exp.layers.kernels import native_sum, torch_sum, triton_sum
from kan_exp.layers.kernels.splines import Grid, spline_values
from kan_exp.layers.tracing import is_compiled, is_traced, plain_gradients

GPUS = ("cuda",)  # devices on which compiled programs call an operator


def spline_sum(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The sum of `spline_values` over inputs, `(batch, out)`, by the fastest implementation.

    Implementations agree to rounding: C, or else torch's operations, on a CPU, and Triton on a GPU.
    `torch.compile` and `torch.export` see an operator on a GPU. On a CPU they use the definition,
    as do `torch.func` and other devices.

    Args:
        x: Samples `(batch, in)`.
        table: Coefficients `(in, rows, out)`.
        grid: The grid, its polynomials being those of `interval_polynomials`.

    All but the polynomials may have a leading axis of replicas, and so have the sums.
    """
    tensors = (x, table, *grid)
    total: Tensor
    if not _are_alike(tensors):
        return _defined(x, table, grid)
    if is_traced(x, table):  # traced tensors may have unknown sizes
        if x.device.type in GPUS and is_compiled():
            total = _operator(*tensors)
            return total
        return _defined(x, table, grid)
    kernel = _kernel(x, table, grid)
    if kernel is None:
        return _defined(x, table, grid)
    total = _SplineSum.apply(kernel, *tensors)
    return total


def kernel_name(x: Tensor) -> str:
    """The implementation for such samples, which round differently: native, triton or torch."""
    if triton_sum.takes(x):
        return "triton"
    return "native" if native_sum.takes(x) else "torch"


def _kernel(x: Tensor, table: Tensor, grid: Grid) -> ModuleType | None:
    """A module with `forward` and `backward`, or `None` where the definition is best."""
    for kernel in (triton_sum, native_sum):  # faster at any size
        if kernel.takes(x):
            return kernel
    return torch_sum if torch_sum.pays(x, table, grid) else None


def _defined(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """The sums by their definition, of one replica or all."""

    def sums(x: Tensor, table: Tensor, first: Tensor, spacing: Tensor) -> Tensor:
        return spline_values(x, table, Grid(first, spacing, grid.polynomials)).sum(1)

    total: Tensor = (vmap(sums) if x.ndim == 3 else sums)(x, table, grid.first, grid.spacing)
    return total


def _are_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether all have one dtype and are on one device."""
    kind = tensors[0].dtype, tensors[0].device
    return all((tensor.dtype, tensor.device) == kind for tensor in tensors)


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


_GRID = "Tensor first, Tensor spacing, Tensor polynomials"


@torch.library.custom_op(
    "kan_exp::spline_sum",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, {_GRID}) -> Tensor",
)
def _operator(x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
    """`spline_sum` as one operator, which compiled and exported programs call."""
    grid = Grid(*tensors)
    kernel = _kernel(x, table, grid)
    return kernel.forward(x, table, grid)[0] if kernel else _defined(x, table, grid)


@torch.library.custom_op(
    "kan_exp::spline_sum_backward",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, {_GRID}, Tensor grad, bool[] wanted) -> Tensor[]",
)
def _slopes(x: Tensor, table: Tensor, *others: Any) -> list[Tensor]:
    """The gradients that are wanted of `x` and of the table."""
    *tensors, grad, wanted = others
    grid = Grid(*tensors)
    kernel = _kernel(x, table, grid)
    if kernel in (triton_sum, native_sum):
        found = kernel.backward(x, table, grid, grad, [], wanted)
    else:
        with torch.enable_grad():
            x, table = (
                part.detach().requires_grad_(wants)
                for part, wants in zip((x, table), wanted, strict=True)
            )
            found = plain_gradients(_defined(x, table, grid), (x, table), grad, False)
    return [part for part in found if part is not None]


@_operator.register_fake
def _(x: Tensor, table: Tensor, *tensors: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[-1])


@_slopes.register_fake
def _(x: Tensor, table: Tensor, *others: Any) -> list[Tensor]:
    pairs = zip((x, table), others[-1], strict=True)
    return [part.new_empty(part.shape) for part, wants in pairs if wants]


def _keep(ctx: Any, inputs: Sequence[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _chain(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:2])
    found = iter(_slopes(*ctx.saved_tensors, grad, wanted))
    return *(next(found) if wants else None for wants in wanted), None, None, None


_operator.register_autograd(_chain, setup_context=_keep)
