"""The numbers of `metrics.json` that every run has, whatever its task."""

from __future__ import annotations

from typing import NamedTuple


class RunMetric(NamedTuple):
    """A number that describes a run."""

    name: str  # its key in `metrics.json`
    per_seed: bool = False  # seeds trained together have one each (`replicas.each`)
    in_sweeps: bool = False  # is a column of `sweep.csv`


RUN_METRICS = (
    RunMetric("parameters", in_sweeps=True),
    RunMetric("steps"),
    RunMetric("best_step", per_seed=True, in_sweeps=True),
    RunMetric("train_seconds", per_seed=True),
    RunMetric("devices"),
)
_SHARED = {metric.name for metric in RUN_METRICS if not metric.per_seed}
_SHARED |= {"scoring", "test_points"}


def is_shared(name: str) -> bool:
    """Whether seeds trained together share an entry: the linear model's, the number of steps."""
    return name in _SHARED or name.startswith("linear_")
