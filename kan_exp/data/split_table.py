"""Rows of a table, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kan_exp.data.base import ExperimentData
from kan_exp.data.column_notes import how_taken
from kan_exp.data.columns import CONSTANT, shown
from kan_exp.data.data_warnings import far_values, few_rows, repeated_rows, same_as_target
from kan_exp.data.new_levels import new_levels
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.points import measure_scaling
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.splitting import Rows
from kan_exp.data.table import Table, scale_fault
from kan_exp.data.training_table import learning_table
from kan_exp.data.treatment import take_treatment
from kan_exp.errors import KanExpError
from kan_exp.runs.printable import counted


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

    _takes_constants = False
    _cure = "choose others with data.features, or other rows with data.seed"

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
        self._take(table)
        self._check_spread()

    def _take(self, table: Table) -> None:
        """Takes the rows of each part, and the schema and the scaling of the training rows."""
        self.schema = table.schema.fit(table.frame[self.parts.train])
        self.table = replace(table, schema=self.schema)
        kept = self.schema.columns
        self.constant_columns = [name for name in table.schema.columns if name not in kept]
        if not kept:
            raise KanExpError(
                f"{table.source}: no column but the target varies in the {len(self.parts.train)} "
                f"training rows: {self._cure}."
            )
        points = self.table.split()
        self.train, self.val, self.test = (
            points.rows(torch.from_numpy(rows)) for rows in self.parts
        )
        self.scaling = measure_scaling(self.train)

    @property
    def test_rows(self) -> Rows:
        """Numbers of the test rows in the file, from 0."""
        kept = self.table.kept
        return self.parts.test if kept is None else kept[self.parts.test]

    def fold(self, number: int) -> SplitTableData:
        return SplitTableData(self._read, self.options, number)

    @property
    def summary(self) -> str:
        table, features = self.table, counted(len(self.features), "feature")
        read = f"{table.rows:,} rows, {features} -> {self.target_name}"
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
            for name in self.constant_columns
        ]
        names = (*self.features, *self.schema.targets)
        values = np.column_stack([table.x, table.y])
        names = names[: len(values.T) - bool(self.schema.classes)]
        far = far_values(names, values, table.row_name)
        train, test = self.train, self.test
        rows = [*few_rows(len(test.x)), *repeated_rows(train.x, test.x)] * (not self.num_folds)
        said = [*how_taken(self.schema, table.frame), *new_levels(self.schema, table.frame)]
        same = same_as_target(self.schema, train)
        return [*said, *table.notes, *flat, *far, *same, *rows]

    def _check_spread(self) -> None:
        """Refuses columns without a scale among the training rows."""
        columns = np.column_stack([self.train.x, self.train.y])
        for name, values in zip((*self.features, *self.schema.targets), columns.T, strict=True):
            fault = scale_fault(name, values)
            column = f"{self.table.source}: column {shown(name)}"
            if fault is not None and fault.kind == CONSTANT:
                if self._takes_constants:
                    continue
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
