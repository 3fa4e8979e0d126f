"""Sums of splines on a GPU, in Triton: `triton_kernels.py`."""

from __future__ import annotations

import functools
import logging
import subprocess
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kan_exp.layers.kernels.splines import Grid, interval_polynomials

log = logging.getLogger(__name__)

OLDEST = (3, 6)  # version of Triton with which the kernels have been compiled
CAPABILITY = (8, 0)  # of devices with products of float32 on tensor cores
REALS = (torch.float32, torch.float64, torch.bfloat16)

# The sizes of blocks. None has been measured yet; they keep all sums of a program in registers.
SAMPLES = 16  # at least, and as many more as there are fewer outputs
SUMS = 1024
OUTPUTS = 128  # at most
INPUTS = 8  # whose gradients a program computes, so that samples are read in whole sectors
ROWS = 16  # of the product with weights, the least that tensor cores take
PRODUCT_ROWS = 64  # of several inputs together
PRODUCT_SAMPLES = 32
DENSE_ROWS = 32  # up to which all samples are multiplied with all rows, and none are sorted
PROGRAMS = 512  # that a device should have at least: samples are divided among more, then added up


def takes(x: Tensor) -> bool:
    """Whether there are kernels for such numbers on this device."""
    return x.is_cuda and x.dtype in REALS and _kernels() is not None and _works(x.device)


def forward(x: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, list[Tensor]]:
    """The sums `(batch, out)`; the backward pass computes the weights again.

    Args:
        x: Samples `(batch, in)`.
        table: Coefficients `(in, rows, out)`.
        grid: The grid, its polynomials being those of `interval_polynomials`.

    All but the polynomials may have a leading axis of replicas, and so have the sums.
    """
    total = x.new_empty(*x.shape[:-1], table.shape[-1])
    splines = _Splines(x, table, grid)
    samples, outputs = _block(splines)
    splines.start(
        "forward",
        (splines.replicas * _count(splines.batch, samples), _count(splines.outputs, outputs)),
        *(*splines.tensors, total, *splines.sizes),
        **splines.shape,
        SAMPLES=samples,
        OUTPUTS=outputs,
    )
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
    splines, grad = _Splines(x, table, grid), grad.contiguous()
    return (
        _by_x(splines, grad) if wanted[0] else None,
        _by_table(splines, grad).view_as(table) if wanted[1] else None,
    )


class _Splines:
    """The arguments that the kernels share."""

    def __init__(self, x: Tensor, table: Tensor, grid: Grid) -> None:
        tensors = (x, table, grid.first, grid.spacing)
        self.tensors = [part.contiguous() for part in tensors]
        self.x, self.table, self.first, self.spacing = self.tensors
        self.replicas = table.shape[0] if table.ndim == 4 else 1
        self.sizes = x.shape[-2], *table.shape[-3:]
        self.batch, self.inputs, self.rows, self.outputs = self.sizes
        self.functions = grid.functions
        self.shape = {"F": grid.functions, "POLYNOMIALS": _polynomials(grid.functions)}
        self.real = torch.promote_types(x.dtype, torch.float32)  # the type of the sums

    def start(self, name: str, programs: tuple[int, ...], *args: Any, **constants: Any) -> None:
        """Starts a kernel on the device of the samples, if there is anything to do."""
        if 0 not in programs:
            with torch.cuda.device_of(self.x):
                getattr(_kernels(), name)[programs](*args, **constants, enable_fp_fusion=True)


def _by_x(splines: _Splines, grad: Tensor) -> Tensor:
    found = torch.empty_like(splines.x)
    samples, outputs = _block(splines)
    splines.start(
        "backward_x",
        (splines.replicas * _count(splines.batch, samples), _count(splines.inputs, INPUTS)),
        *(*splines.tensors, grad, found, *splines.sizes),
        **splines.shape,
        INPUTS=INPUTS,
        SAMPLES=samples,
        OUTPUTS=outputs,
    )
    return found


def _by_table(splines: _Splines, grad: Tensor) -> Tensor:
    """Sorts the samples where there are many rows, so that the work does not depend on them."""
    order = starts = None
    rows, inputs = ROWS, 1
    if splines.rows > DENSE_ROWS:
        order, starts = _sorted(splines)
    else:
        rows = max(ROWS, _power_of_two(splines.rows))
        inputs = min(PRODUCT_ROWS // rows, _power_of_two(splines.inputs))
    outputs = min(OUTPUTS, max(16, _power_of_two(splines.outputs)))
    blocks = splines.replicas * _count(splines.inputs, inputs) * _count(splines.rows, rows)
    columns = _count(splines.outputs, outputs)
    parts = min(_count(splines.batch, 4 * PRODUCT_SAMPLES), _count(PROGRAMS, blocks * columns))
    parts = max(1, parts)  # also of an empty batch, whose gradient is zero
    # One part is written as it is, several are added up in a fixed order.
    dtype = grad.dtype if parts == 1 else splines.real
    found = grad.new_empty(parts, *splines.table.shape, dtype=dtype)
    splines.start(
        "backward_table",
        (blocks, columns, parts),
        *(splines.x, splines.first, splines.spacing, grad, order, starts, found),
        *(*splines.sizes, splines.replicas, parts),
        **splines.shape,
        SORTED=order is not None,
        INPUTS=inputs,
        ROWS=rows,
        SAMPLES=PRODUCT_SAMPLES,
        OUTPUTS=outputs,
        # Three products of 11 bits, nearly exact in float32.
        PRECISION="ieee" if splines.real == torch.float64 else "tf32x3",
    )
    return found[0] if parts == 1 else found.sum(0).to(grad.dtype)


def _sorted(splines: _Splines) -> tuple[Tensor, Tensor]:
    """Samples of each input by their cells, and where those of each cell begin."""
    count = splines.rows - splines.functions + 1
    narrow = torch.int16 if count <= torch.iinfo(torch.int16).max else torch.int32
    shape = splines.replicas, splines.inputs
    cells = splines.x.new_empty(*shape, splines.batch, dtype=narrow)
    samples, inputs = 64, min(32, _power_of_two(splines.inputs))
    splines.start(
        "find_cells",
        (splines.replicas * _count(splines.batch, samples), _count(splines.inputs, inputs)),
        *(splines.x, splines.first, splines.spacing, cells),
        *(splines.batch, splines.inputs, count),
        SAMPLES=samples,
        INPUTS=inputs,
    )
    cells, order = cells.sort(stable=True)
    edges = torch.arange(count + 1, dtype=narrow, device=cells.device).expand(*shape, -1)
    return order, torch.searchsorted(cells, edges.contiguous(), out_int32=True)


def _block(splines: _Splines) -> tuple[int, int]:
    """The samples and the outputs of a program."""
    outputs = min(OUTPUTS, _power_of_two(splines.outputs))
    return max(SAMPLES, min(8 * SAMPLES, SUMS // outputs)), outputs


def _count(size: int, block: int) -> int:
    return -(-size // block)


def _power_of_two(size: int) -> int:
    """The smallest that is at least this."""
    return 1 << max(0, size - 1).bit_length()


@functools.cache
def _polynomials(functions: int) -> tuple[int, ...]:
    return tuple(map(int, interval_polynomials(functions - 1).flatten().tolist()))


@functools.cache
def _works(device: torch.device) -> bool:
    """Whether kernels run on a device, which takes a C compiler; if not, the reason is logged."""
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    one = torch.zeros(1, 1, device=device)
    grid = Grid(one[0], one[0] + 1, interval_polynomials(1).to(one))
    try:
        forward(one, torch.zeros(1, 2, 1, device=device), grid)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        _log(f"Triton fails ({(str(error).splitlines() or [type(error).__name__])[0]})")
        return False
    return True


@functools.cache
def _kernels() -> ModuleType | None:
    """The kernels, if there is a version of Triton for them; else the reason is logged once."""
    try:
        version: str = import_module("triton").__version__
        if tuple(map(int, version.split(".")[:2])) >= OLDEST:
            return import_module("kan_exp.layers.kernels.triton_kernels")
        _log(f"Triton {version} is older than {OLDEST[0]}.{OLDEST[1]}")
    except ImportError as error:
        _log(f"Triton cannot be imported ({error})")
    return None


def _log(reason: str) -> None:
    log.info("Tables and splines on a GPU take torch's operations, which are slower: %s.", reason)
