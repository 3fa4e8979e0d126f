"""The result of a run: `metrics.json`, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kan_exp.runs.files import parse_json, write_json

NAME = "metrics.json"
INCOMPLETE = ("diverged", "interrupted")  # values of `stopped` of results that do not count


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Writes `metrics.json` so that it is either whole or absent: its presence means done."""
    write_json(folder / NAME, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The content of a run's `metrics.json`; empty where there is none that can be read."""
    try:
        metrics = parse_json((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def is_complete(folder: Path) -> bool:
    """Whether a run has its result; what follows, such as drawing, is not part of it."""
    stopped = read_metrics(folder).get("stopped")
    return stopped is not None and stopped not in INCOMPLETE
