"""Learning curves of a setting: how its seeds are spread at every step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kan_exp.reporting.statistics import Values
from kan_exp.runs.files import parse_json
from kan_exp.runs.records import Record

HISTORY = "history.json"

Curve = list[tuple[float, float]]


@dataclass
class Band:
    """Quartiles over seeds at each step.

    Args:
        label: Of the setting.
        steps: `(steps,)`.
        quartiles: Lower, median and upper, `(3, steps)`.
        seeds: How many curves it is of.
    """

    label: str
    steps: Values
    quartiles: Values
    seeds: int


def read_curves(records: Iterable[Record]) -> list[Curve]:
    """The validation losses of runs, or training losses where a run was not validated twice.

    A missing or damaged history is left out: its run's result does not depend on it.
    """
    histories: dict[Path, Any] = {}
    curves = []
    for record in records:
        if record.folder not in histories:
            histories[record.folder] = _read(record.folder / HISTORY)
        curve = _curve(histories[record.folder], record.replica)
        if curve:
            curves.append(curve)
    return curves


def band(label: str, curves: Sequence[Curve]) -> Band | None:
    """Folds curves into quartiles; one that ends early goes on with its last value.

    A run that converged keeps its network, so that this is what it has at later steps. The band
    begins where all curves have begun.
    """
    if not curves:
        return None
    begin = max(curve[0][0] for curve in curves)
    steps = sorted({step for curve in curves for step, _ in curve if step >= begin})
    values = np.empty((len(curves), len(steps)))
    for row, curve in zip(values, curves, strict=True):
        own, losses = np.array(curve).T
        row[:] = losses[np.searchsorted(own, steps, side="right") - 1]
    return Band(label, np.array(steps), np.quantile(values, [0.25, 0.5, 0.75], axis=0), len(curves))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _curve(history: Mapping[str, Any], replica: int | None) -> Curve:
    if replica is not None:
        history = history.get("replicas") or {}
    curves = [_pairs(history.get(name), replica) for name in ("val", "train")]
    return curves[0] if len(curves[0]) > 1 else curves[1] or curves[0]


def _pairs(listed: Any, replica: int | None) -> Curve:
    """Pairs of step and positive loss, in order; of a stack, those of one replica."""
    pairs = []
    for entry in listed if isinstance(listed, list) else []:
        try:
            step, loss = entry
            loss = loss if replica is None else loss[replica]
            if loss is not None and math.isfinite(loss):
                pairs.append((float(step), float(loss)))
        except (TypeError, ValueError, IndexError):
            return []
    return sorted(pairs)
