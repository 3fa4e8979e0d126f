"""The minimum of memory that a training takes, compared with what is free; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from kan_exp.errors import KanExpError
from kan_exp.training.stages import Stage

FLOAT, DOUBLE = 4, 8  # bytes
WEIGHT_COPIES = 3  # weights, their gradients, and the best on validation
MATRIX_COPIES = 3  # a penalty's matrix, those of all networks in one tensor, and the normal matrix


def check_network_fits(shown: str, weights: int, basis: int, batch: int) -> None:
    """Raises a `KanExpError` if no memory here can hold a network.

    Args:
        shown: The network as the user chose it.
        weights: Its trainable numbers.
        basis: Numbers that a pass holds of one point, at least.
        batch: Points of a pass.
    """
    needs = _needs(FLOAT * (WEIGHT_COPIES * weights + basis * batch))
    if needs:
        raise KanExpError(
            f"{shown}: {weights:,} parameters and {batch:,} points a step need {needs}: lower "
            f"dims, the options of the layer, or batch_size."
        )


def check_points_fit(option: str, points: int, width: int) -> None:
    """Raises a `KanExpError` if points of so many numbers each do not fit into the free memory."""
    if needs := _needs(FLOAT * points * width):
        raise KanExpError(f"{option}: {points:,} points need {needs}: set fewer.")


def check_grids_fit(sizes: Sequence[int], stages: Sequence[Stage], penalized: bool) -> None:
    """Raises a `KanExpError` if no memory here can hold the matrices of least squares on grids.

    The message names the first grid of which this is so. `sizes` are the parameters of one network
    at each stage; if it is `penalized`, there is a matrix of all of them.
    """
    grids = [stage.num_intervals or 0 for stage in stages]
    changes = [0, *(coarse * fine if coarse < fine else 0 for coarse, fine in pairwise(grids))]
    for size, stage, change in zip(sizes, stages, changes, strict=True):
        matrices = MATRIX_COPIES * stage.num_candidates * size**2 if penalized else 0
        if needs := _needs(DOUBLE * max(matrices, change)):
            raise KanExpError(
                f"optimizer=lm on {stage.num_intervals:,} intervals ({size:,} parameters, "
                f"refine.num_candidates={stage.num_candidates}) needs {needs}: set fewer intervals "
                f"(the layer's, or refine.grids), or optimizer=adam."
            )


def _needs(needed: float) -> str:
    """A text on needed and free memory; empty if enough is free."""
    free = host_bytes()
    if needed <= free:
        return ""
    return f"at least {needed / 1e9:,.1f} GB of memory, but {free / 1e9:,.1f} GB are free"


def host_bytes() -> float:
    """Free memory of this machine."""
    import psutil

    free = [float(psutil.virtual_memory().available)]
    group = Path("/sys/fs/cgroup")  # a container may have less than its machine
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        free.append(float(text) - float(used.read_text()))
    return max(0.0, min(free))
