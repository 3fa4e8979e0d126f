"""The least memory that a training takes, compared with what is free; no torch."""

from __future__ import annotations

import os
from pathlib import Path

from kan_exp.errors import KanExpError

FLOAT = 4  # bytes
# Weights, their gradients, and the best on validation.
WEIGHT_COPIES = 3


def check_network_fits(shown: str, weights: int, basis: int, batch: int) -> None:
    """Refuses a network that cannot fit into the memory that is free.

    Args:
        shown: The network as it was asked for.
        weights: Its trainable numbers.
        basis: Numbers that a pass holds of one point, at least.
        batch: Points of a pass.

    Raises:
        KanExpError: It cannot.
    """
    needed, free = FLOAT * (WEIGHT_COPIES * weights + basis * batch), host_bytes()
    if needed > free:
        raise KanExpError(
            f"{shown}: {weights:,} parameters and {batch:,} points a step need at least "
            f"{needed / 1e9:,.1f} GB of memory, but {free / 1e9:,.1f} GB are free: lower dims, the "
            f"options of the layer, or batch_size."
        )


def check_points_fit(option: str, points: int, width: int) -> None:
    """Refuses more points than fit into the memory that is free.

    Args:
        option: What sets their number.
        points: Training, validation and test points.
        width: Numbers of each.

    Raises:
        KanExpError: They do not fit.
    """
    needed, free = FLOAT * points * width, host_bytes()
    if needed > free:
        raise KanExpError(
            f"{option}: {points:,} points need at least {needed / 1e9:,.1f} GB of memory, but "
            f"{free / 1e9:,.1f} GB are free: set fewer."
        )


def host_bytes() -> float:
    """Memory of this machine that can be taken."""
    free = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free.append(1024.0 * int(lines["MemAvailable"].split()[0]))
    group = Path("/sys/fs/cgroup")  # a container may have less than its machine
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        free.append(float(text) - float(used.read_text()))
    return max(0.0, min(free))
