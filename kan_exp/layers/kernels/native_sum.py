"""Sums of splines in C, compiled on this machine: `spline_sum.c`."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from kan_exp.layers.kernels.compiler import load_library
from kan_exp.layers.kernels.splines import Grid

REALS = {torch.float32: "float", torch.float64: "double"}
# Numbers that a pass reads for each thread: waking one takes some 50 microseconds.
MIN_WORK = 2**19

_POINTER, _WHOLE = ctypes.c_void_p, ctypes.c_int64
_SPLINES = [_POINTER] * 5 + [_WHOLE] * 7


def takes(x: Tensor) -> bool:
    """Whether there is compiled code for such numbers on this device."""
    return x.is_cpu and x.dtype in REALS and _library(x.dtype) is not None


def forward(x: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, list[Tensor]]:
    """The sums `(batch, out)`; the backward pass computes the weights again.

    Args:
        x: Samples `(batch, in)`.
        table: Coefficients `(in, rows, out)`.
        grid: The grid.

    All but the polynomials may have a leading axis of replicas, and so have the sums.
    """
    library = _library(x.dtype)
    assert library is not None
    total = x.new_empty(*x.shape[:-1], table.shape[-1])
    splines = _Splines(x, table, grid)

    def call(begin: int, end: int) -> None:
        library.spline_sum_forward(*splines.arguments, total.data_ptr(), begin, end)

    _share(call, splines.parts(x.shape[-2]), splines.work)
    return total, []


def backward(
    x: Tensor,
    table: Tensor,
    grid: Grid,
    grad: Tensor,
    kept: Sequence[Tensor],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients by `x` and by the table, each if `wanted`, from the gradient by the sums."""
    library = _library(x.dtype)
    assert library is not None
    grad = grad.contiguous()
    splines = _Splines(x, table, grid)
    found = [
        torch.empty_like(part, memory_format=torch.contiguous_format) if wants else None
        for part, wants in zip((x, table), wanted, strict=True)
    ]

    def call(begin: int, end: int) -> None:
        # Holds the tensors that it writes to: after Ctrl-C in this thread others continue.
        pointers = [None if part is None else part.data_ptr() for part in found]
        library.spline_sum_backward(*splines.arguments, grad.data_ptr(), *pointers, begin, end)

    _share(call, splines.parts(x.shape[-1]), 2 * splines.work)
    by_x, by_table = found
    return by_x, by_table


class _Splines:
    """The first arguments of the C functions, and the tensors that they point to."""

    def __init__(self, x: Tensor, table: Tensor, grid: Grid) -> None:
        self.tensors = [part.contiguous() for part in (x, table, *grid)]
        self.replicas = table.shape[0] if table.ndim == 4 else 1
        batch, (dim_in, rows, dim_out) = x.shape[-2], table.shape[-3:]
        self.work = x.numel() * dim_out * grid.functions
        sizes = self.replicas, batch, dim_in, rows, dim_out, grid.functions, grid.scale
        self.arguments = [*(part.data_ptr() for part in self.tensors), *sizes]

    def parts(self, of_one: int) -> int:
        """Number of parts into which the work can be split."""
        return self.replicas if self.replicas > 1 else of_one


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    library = load_library("spline_sum.c", {"REAL": REALS[dtype]})
    if library is not None:
        library.spline_sum_forward.argtypes = [*_SPLINES, _POINTER, _WHOLE, _WHOLE]
        library.spline_sum_backward.argtypes = [*_SPLINES, *[_POINTER] * 3, _WHOLE, _WHOLE]
        for function in (library.spline_sum_forward, library.spline_sum_backward):
            function.restype = None
    return library


def _share(call: Callable[[int, int], None], count: int, work: int) -> None:
    """Calls for parts of `range(count)`, on torch's number of threads or fewer for less work.

    Results do not depend on the number of threads.
    """
    threads = min(torch.get_num_threads(), count, work // MIN_WORK)
    if threads <= 1 or not threading.main_thread().is_alive():  # none start while the program exits
        call(0, count)
        return
    ends = [count * part // threads for part in range(threads + 1)]
    others = [
        _workers(os.getpid(), threads).submit(call, *part) for part in itertools.pairwise(ends[1:])
    ]
    call(0, ends[1])
    for other in others:
        other.result()


@functools.lru_cache(1)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked process needs its own."""
    return ThreadPoolExecutor(threads - 1)
