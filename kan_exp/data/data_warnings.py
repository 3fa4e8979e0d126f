"""Warnings about a table before it is trained on, one line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from kan_exp.data.columns import FloatArray, shown
from kan_exp.data.options import assign
from kan_exp.data.points import Split
from kan_exp.data.schema import Schema
from kan_exp.lazy import polars as pl

FAR = 1000.0  # times the distance of the quartiles, from the median
FEW = 50  # test rows
SAME = 0.999  # correlation of two names of one quantity


def few_rows(test: int) -> list[str]:
    """A line if the test rows are too few to measure an error."""
    if test >= FEW:
        return []
    return [
        f"{test} test row{'s are' if test > 1 else ' is'} few to measure an error by: data.folds=5 "
        f"tests every row in turn."
    ]


def same_as_target(schema: Schema, train: Split) -> list[str]:
    """A line for each column that has nearly the target's values up to a scale.

    The schema is fitted; its outputs are numbers, or one of two classes.
    """
    if len(schema.classes) > 2:
        return []
    x, y = (part.double() - part.double().mean(0) for part in train[:2])
    scale = x.norm(dim=0)[:, None] * y.norm(dim=0)
    alike = ((x.T @ y).abs() > SAME * scale) & (scale > 0)  # (in, out)
    lines, place = [], 0
    for column in schema.inputs:
        own = alike[place : place + len(column.features)].any(0)
        place += len(column.features)
        for output in own.nonzero().flatten().tolist():
            lines.append(
                f"column {shown(column.name)} has a correlation beyond {SAME} with the target "
                f"{shown(schema.targets[output])}: if it is the target under another name, leave "
                f"it out: {assign('data.drop', [column.name])}"
            )
    return lines


def repeated_rows(train: torch.Tensor, test: torch.Tensor) -> list[str]:
    """A line if test rows have the inputs of training rows; `(n, in)` each."""
    # Frames compare by bits, which differ between 0 and -0 unless a 0 is added.
    known, found = (pl.from_numpy((part + 0.0).numpy()) for part in (train, test))
    repeated = len(found.join(known, on=known.columns, how="semi", nulls_equal=True))
    if not repeated:
        return []
    return [
        f"{repeated:,} of {len(test):,} test rows have the inputs of a training row: the test "
        "error says less about new rows than it seems."
    ]


def far_values(
    names: Sequence[str], values: FloatArray, row_name: Callable[[int], str]
) -> list[str]:
    """A warning for each column `(n, columns)` with a value very far from the others."""
    lows, middles, highs = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    distances = np.abs(values - middles)
    warnings = []
    for place, name in enumerate(names):
        row = int(distances[:, place].argmax())
        spread = highs[place] - lows[place]
        count = int((distances[:, place] > FAR * spread).sum())
        if spread > 0 and count:
            also = f" (one of {count:,} so far out)" if count > 1 else ""
            warnings.append(
                f"column {shown(name)} has {values[row, place]:g} in {row_name(row)}{also}, where "
                f"half of all rows are between {lows[place]:g} and {highs[place]:g}: "
                f"{'these decide' if count > 1 else 'that one decides'} the scale."
            )
    return warnings
