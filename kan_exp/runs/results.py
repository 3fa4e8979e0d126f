"""The result of a run: `metrics.json`, complete or absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kan_exp.runs.files import parse_json, write_json
from kan_exp.runs.lenient_json import entry
from kan_exp.runs.metrics import is_shared

NAME = "metrics.json"
INCOMPLETE = ("diverged", "interrupted")  # values of `stopped` of results that do not count


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Writes `metrics.json`, complete or not at all: its presence means done."""
    write_json(folder / NAME, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The content of `metrics.json`; empty if there is none that can be read."""
    try:
        metrics = parse_json((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def is_complete(folder: Path) -> bool:
    """Whether a run has its result; what follows, such as figures, is not part of it."""
    stopped = read_metrics(folder).get("stopped")
    return stopped is not None and stopped not in INCOMPLETE


@dataclass(frozen=True, slots=True)
class SeedResult:
    """The result of one seed of a stacked run."""

    seed: int | None  # none if it is unknown
    metrics: dict[str, Any]  # its own entries, and those that all seeds share
    diverged: str | None  # why it has no result, in one line; None if it did not diverge


def seed_results(metrics: Mapping[str, Any]) -> list[SeedResult]:
    """Splits the result of a stacked run by its seeds; empty for other runs.

    Entries of an unexpected type are ignored: the file may be old, or edited.
    """
    replicas = entry(metrics, "replicas", dict)
    steps = {str(seed["seed"]): seed.get("step") for seed in _objects(replicas, "diverged")}
    shared = {name: value for name, value in metrics.items() if is_shared(name)}
    results = []
    for own in _objects(replicas, "each"):
        seed, reason = own["seed"], None
        if str(seed) in steps:
            step = steps[str(seed)]
            shown = f"{step:,}" if isinstance(step, int) else "?"
            reason = f"the loss became NaN or infinite at step {shown}."
        own = {name: value for name, value in own.items() if name != "seed"}
        known = isinstance(seed, int)
        results.append(SeedResult(seed if known else None, {**shared, **own}, reason))
    return results


def _objects(replicas: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = [item for item in entry(replicas, name, list) if isinstance(item, dict)]
    return [{"seed": None, **item} for item in items]
