"""Learning curves of a setting: the spread of its seeds at every step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kan_exp.reporting.statistics import Values
from kan_exp.runs.lenient_json import entry, number, read_object
from kan_exp.runs.records import Record

HISTORY = "history.json"

Curve = list[tuple[float, float]]


@dataclass
class Band:
    """Quartiles of a setting over its seeds, at each step."""

    label: str
    steps: Values  # (steps,)
    quartiles: Values  # lower, median and upper, (3, steps)
    seeds: int


def read_curves(records: Iterable[Record]) -> list[Curve]:
    """The validation losses of runs, or training losses of runs that were validated only once.

    Runs with a missing or damaged history are left out.
    """
    histories: dict[Path, Any] = {}
    curves = []
    for record in records:
        if record.folder not in histories:
            histories[record.folder] = read_object(record.folder / HISTORY)
        curve = _curve(histories[record.folder], record.replica)
        if curve:
            curves.append(curve)
    return curves


def band(label: str, curves: Sequence[Curve]) -> Band | None:
    """The quartiles of curves, from the step at which all have begun.

    A curve that ends early keeps its last value: its run kept that network.
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


def _curve(history: Mapping[str, Any] | None, replica: int | None) -> Curve:
    if replica is not None:
        history = entry(history, "replicas", dict)
    val, train = (_pairs(entry(history, name, list), replica) for name in ("val", "train"))
    return val if len(val) > 1 else train or val


def _pairs(entries: Sequence[Any], replica: int | None) -> Curve:
    """Pairs of step and finite loss, in order; of a stack, those of one replica."""
    pairs = []
    for pair in entries:
        try:
            step, loss = pair
            loss = number(loss if replica is None else loss[replica])
            if loss is not None:
                pairs.append((float(step), float(loss)))
        except (TypeError, ValueError, IndexError):
            return []
    return sorted(pairs)
