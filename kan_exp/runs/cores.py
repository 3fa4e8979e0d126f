"""The cores that a process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any

from kan_exp.errors import KanExpError

# Time on cores, and the period in which it is granted, of a control group: version 2, then 1.
_LIMITS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """The number of cores that the affinity and the limits of a container leave to this process.

    `groups` is where Linux shows the limits of control groups.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    for names in _LIMITS:
        with suppress(OSError, ValueError):  # there is no group, or "max": no limit
            quota, period = map(int, " ".join((groups / n).read_text() for n in names).split())
            if quota > 0 and period > 0:
                cores = min(cores, -(-quota // period))
    return max(cores, 1)


def count_workers(option: str, workers: Any) -> int:
    """The number of processes, at least 1, that an option asks for.

    None or "auto" is one for each core.
    """
    if workers is None or workers == "auto":
        return usable_cores()
    if isinstance(workers, bool) or not isinstance(workers, Integral) or workers < 1:
        raise KanExpError(f"{option} must be auto or a number of at least 1, got {workers!r}.")
    return int(workers)
