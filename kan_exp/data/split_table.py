"""Rows of a table, split at random into training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kan_exp.data.base import ExperimentData
from kan_exp.data.columns import CONSTANT, FloatArray, shown
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.points import measure_scaling
from kan_exp.data.table import Table, learning_table, scale_fault, split_rows
from kan_exp.errors import KanExpError

FAR = 1000.0  # times the distance of the quartiles, from the median


class SplitTableData(ExperimentData):
    """The rows of a table, split at random into training, validation and test.

    Args:
        table: Inputs and outputs.
        fractions: Of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.

    Raises:
        KanExpError: The fractions are no fractions, the rows are too few, or a column is constant
            over the training rows, so that it has no scale.
    """

    def __init__(self, table: Table, fractions: Sequence[float], seed: int) -> None:
        super().__init__(seed)
        sizes = split_rows(table.source, table.rows, fractions)
        order = torch.randperm(table.rows, generator=torch.Generator().manual_seed(seed))
        parts = torch.split(order, list(sizes))
        self.schema = table.schema.fit(table.frame[parts[0].numpy()])
        self.table = replace(table, schema=self.schema)
        points = self.table.split()
        self.train, self.val, self.test = (points.rows(index) for index in parts)
        kept = self.schema.columns
        self.flat = [name for name in table.schema.columns if name not in kept]
        if not kept:
            raise KanExpError(
                f"{table.source}: no column but the target varies in the {sizes.train} training "
                f"rows: choose others with data.features, or other rows with data.seed."
            )
        self.scaling = measure_scaling(self.train)
        self._check_spread()

    @property
    def summary(self) -> str:
        table, many = self.table, "s" if len(self.features) > 1 else ""
        read = f"{table.rows:,} rows, {len(self.features)} feature{many} -> {self.target_name}"
        counts = f"{len(self.train.x):,} train, {len(self.val.x):,} validation, "
        return f"{table.source}: {read}; {counts}{len(self.test.x):,} test"

    @property
    def data_warnings(self) -> list[str]:
        table = self.table
        flat = [
            f"column {shown(name)} is left out: it has one value in all training rows."
            for name in self.flat
        ]
        names = (*self.features, *self.schema.targets)
        far = far_values(names, np.column_stack([table.x, table.y]))
        return [*table.notes, *flat, *far, *repeated_rows(self.train.x, self.test.x)]

    def _check_spread(self) -> None:
        """Refuses columns without a scale among the training rows."""
        columns = np.column_stack([self.train.x, self.train.y])
        for name, values in zip((*self.features, *self.schema.targets), columns.T, strict=True):
            fault = scale_fault(name, values)
            column = f"{self.table.source}: column {shown(name)}"
            if fault is not None and fault.kind == CONSTANT:
                raise KanExpError(
                    f"{column} holds only {fault.example} in its {len(values)} training rows, "
                    f"which teaches nothing: choose another data.target, or other rows with "
                    f"data.seed."
                )
            if fault is not None:
                raise KanExpError(
                    f"{column} ranges from {fault.example}, beyond what float32 can scale: change "
                    f"its unit."
                )


class TableData(SplitTableData):
    """Rows of a .csv, .tsv, .parquet or .npz file.

    Args:
        path: See `read_table` for this, `target`, `features` and `separator`.
        fractions: Of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.
        options: What the command calls these, for messages.

    Raises:
        KanExpError: As `learning_table` and `SplitTableData` do.
    """

    def __init__(
        self,
        path: str | Path | None,
        target: str | None,
        features: Sequence[str] | None,
        fractions: Sequence[float],
        seed: int,
        separator: str,
        options: Options = TRAINING,
    ) -> None:
        table = learning_table(path, target, features, fractions, separator, options)
        super().__init__(table, fractions, seed)


def repeated_rows(train: torch.Tensor, test: torch.Tensor) -> list[str]:
    """A warning if test rows have the inputs of training rows; `(n, in)` each."""
    # Compared by their bits, which differ between 0 and -0 unless a 0 is added.
    known = {row.tobytes() for row in (train + 0.0).numpy()}
    repeated = sum(row.tobytes() in known for row in (test + 0.0).numpy())
    if not repeated:
        return []
    return [
        f"{repeated:,} of {len(test):,} test rows have the inputs of a training row: the test "
        "error says less about new rows than it seems."
    ]


def far_values(names: Sequence[str], values: FloatArray) -> list[str]:
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
                f"column {shown(name)} has {values[row, place]:g} in row {row + 1:,}{also}, where "
                f"half of all rows are between {lows[place]:g} and {highs[place]:g}: "
                f"{'these decide' if count > 1 else 'that one decides'} the scale."
            )
    return warnings
