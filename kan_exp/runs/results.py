"""The result of a run: `metrics.json`, complete or absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kan_exp.runs.files import write_json
from kan_exp.runs.lenient_json import entry, objects, read_object

NAME = "metrics.json"
INCOMPLETE = ("diverged", "interrupted")  # values of `stopped` of results that do not count


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


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Writes `metrics.json`, complete or not at all: its presence means done."""
    write_json(folder / NAME, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The content of `metrics.json`; empty if there is none that can be read."""
    return read_object(folder / NAME) or {}


def is_complete(folder: Path) -> bool:
    """Whether a run has its result; what follows, such as figures, is not part of it."""
    stopped = read_metrics(folder).get("stopped")
    return stopped is not None and stopped not in INCOMPLETE


@dataclass(frozen=True, slots=True)
class SeedResult:
    """The result of one seed of a stacked run."""

    seed: int | None  # None if it is unknown
    metrics: dict[str, Any]  # its own entries, and those that all seeds share
    diverged: str | None  # why it has no result, in one line; None if it did not diverge


def seed_results(metrics: Mapping[str, Any]) -> list[SeedResult]:
    """Splits the result of a stacked run by its seeds; empty for other runs.

    Entries of an unexpected type are ignored: the file may be old, or edited.
    """
    replicas = entry(metrics, "replicas", dict)
    steps = {str(one.get("seed")): one.get("step") for one in objects(replicas, "diverged")}
    shared = {name: value for name, value in metrics.items() if is_shared(name)}
    results = []
    for one in objects(replicas, "each"):
        seed, reason = one.get("seed"), None
        if str(seed) in steps:
            step = steps[str(seed)]
            shown = f"{step:,}" if isinstance(step, int) else "?"
            reason = f"the loss became NaN or infinite at step {shown}."
        own = {name: value for name, value in one.items() if name != "seed"}
        seed = seed if isinstance(seed, int) else None
        results.append(SeedResult(seed, {**shared, **own}, reason))
    return results
