"""Rows of a table, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kan_exp.data.base import ExperimentData
from kan_exp.data.columns import CONSTANT, FloatArray, shown
from kan_exp.data.kinds import take_treatment
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.points import measure_scaling
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.table import Table, learning_table, scale_fault
from kan_exp.errors import KanExpError

FAR = 1000.0  # times the distance of the quartiles, from the median


class SplitTableData(ExperimentData):
    """The rows of a table, split into training, validation and test.

    With `split.folds`, these are the data of the network that is trained on all rows. Its `test`
    are all rows: what stands for its predictions of them are those of the folds.

    Args:
        table: Inputs and outputs.
        split: Which rows go where.
        number: Of the fold whose data these are, from 0; `None` for those of the run.

    Raises:
        KanExpError: The rows are too few, or a column is constant over the training rows, so that
            it has no scale.
    """

    def __init__(self, table: Table, split: SplitOptions, number: int | None = None) -> None:
        super().__init__(split.seed)
        split.check(table)
        self.options = split
        generator = torch.Generator().manual_seed(split.seed)
        given = table.rows - table.test_rows
        orders = [torch.randperm(given, generator=generator).numpy() for _ in range(split.repeats)]
        parts = split.parts(table, orders)
        self.num_folds = split.num_folds if number is None else 0
        self.parts = split.final(table, orders[0]) if self.num_folds else parts[number or 0]
        self._read = table
        self.schema = table.schema.fit(table.frame[self.parts.train])
        self.table = replace(table, schema=self.schema)
        kept = self.schema.columns
        self.flat = [name for name in table.schema.columns if name not in kept]
        if not kept:
            raise KanExpError(
                f"{table.source}: no column but the target varies in the {len(self.parts.train)} "
                f"training rows: choose others with data.features, or other rows with data.seed."
            )
        points = self.table.split()
        self.train, self.val, self.test = (
            points.rows(torch.from_numpy(rows)) for rows in self.parts
        )
        self.scaling = measure_scaling(self.train)
        self._check_spread()

    def fold(self, number: int) -> SplitTableData:
        return SplitTableData(self._read, self.options, number)

    @property
    def summary(self) -> str:
        table, many = self.table, "s" if len(self.features) > 1 else ""
        read = f"{table.rows:,} rows, {len(self.features)} feature{many} -> {self.target_name}"
        counts = f"{len(self.train.x):,} train, {len(self.val.x):,} validation"
        test = f"{len(self.test.x):,} test"
        if self.num_folds:
            repeats = self.options.repeats
            also = f", {repeats} times" if repeats > 1 else ""
            test = f"tested by {self.options.folds} folds{also}"
        return f"{table.source}: {read}; {counts}, {test}"

    @property
    def data_warnings(self) -> list[str]:
        table = self.table
        flat = [
            f"column {shown(name)} is left out: it has one value in all training rows."
            for name in self.flat
        ]
        names = (*self.features, *self.schema.targets)
        values = np.column_stack([table.x, table.y])
        far = far_values(names[: len(values.T) - bool(self.schema.classes)], values)
        repeated = [] if self.num_folds else repeated_rows(self.train.x, self.test.x)
        said = [*self.schema.summary(table.frame), *self.schema.unknown_levels(table.frame)]
        return [*said, *table.notes, *flat, *far, *repeated]

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
    """Rows of a file.

    Args:
        path: See `read_table` for this, `target`, `features` and `separator`.
        fractions: See `SplitOptions` for this and `seed`.
        options: What the command calls these, for messages.
        classes: Whether the output is a class; recognized if `None`, see `with_outputs`.
        others: The other options of `Treatment` and `SplitOptions`.

    Raises:
        KanExpError: As `learning_table` and `SplitTableData` do.
    """

    def __init__(
        self,
        path: str | Path | None,
        target: str | Sequence[str] | None,
        features: Sequence[str] | None,
        fractions: Sequence[float],
        seed: int,
        separator: str | None = None,
        options: Options = TRAINING,
        classes: bool | None = None,
        **others: Any,
    ) -> None:
        treatment, others = take_treatment(others)
        split = SplitOptions(fractions, seed, **others)
        table = learning_table(
            path, target, features, split, separator, options, classes, treatment
        )
        super().__init__(table, split)


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
