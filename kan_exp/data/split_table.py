"""Rows of a table, dealt at random to training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kan_exp.data.base import ExperimentData
from kan_exp.data.columns import shown
from kan_exp.data.data_warnings import far_values, repeated_rows
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.points import Scaling, Split, measure_scaling
from kan_exp.data.table import Table, learning_table, split_rows, take_table
from kan_exp.errors import KanExpError


class SplitTableData(ExperimentData):
    """The rows of a table, dealt at random to training, validation and test.

    Args:
        table: Inputs and output.
        fractions: Share of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.

    Raises:
        KanExpError: The fractions are no fractions, the rows are too few, or a column is constant
            over the training rows, so that it has no scale.
    """

    def __init__(self, table: Table, fractions: Sequence[float], seed: int) -> None:
        super().__init__(seed)
        sizes = split_rows(table.source, table.rows, fractions)
        self.table = table
        self.features = table.features
        self.target_name = str(table.target)
        points = table.split()
        order = torch.randperm(table.rows, generator=torch.Generator().manual_seed(seed))
        parts = [
            Split(points.x[index], points.y[index]) for index in torch.split(order, list(sizes))
        ]
        self.train, self.val, self.test = parts
        self.scaling = measure_scaling(self.train)
        check_spread(table, self.train, self.scaling)

    @property
    def summary(self) -> str:
        table, many = self.table, "s" if len(self.features) > 1 else ""
        read = f"{table.rows:,} rows, {len(self.features)} feature{many} -> {table.target}"
        counts = f"{len(self.train.x):,} train, {len(self.val.x):,} validation, "
        return f"{table.source}: {read}; {counts}{len(self.test.x):,} test"

    @property
    def data_warnings(self) -> list[str]:
        table = self.table
        columns = np.column_stack([table.x, self.table.split().y.numpy()])
        far = far_values([*table.features, self.target_name], columns)
        return [*far, *repeated_rows(self.train.x, self.test.x)]


class TableData(SplitTableData):
    """Rows of a .csv, .tsv, .parquet or .npz file.

    Args:
        path: The file; relative to the current folder, `~` is home.
        target: The column to learn.
        features: Columns to learn from; `None` takes all the others.
        fractions: Share of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.
        separator: What separates the cells of a .csv file.
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
        table = take_table(path, target, features, separator)
        if table is None:
            table = learning_table(path, target, features, fractions, separator, options)
        super().__init__(table, fractions, seed)


def check_spread(table: Table, train: Split, scaling: Scaling) -> None:
    """Refuses columns without a scale among the training rows.

    Raises:
        KanExpError: A column has one value throughout, or a range beyond float32.
    """
    values = torch.cat([train.x, train.y], dim=1)  # (rows, in + 1)
    constant = values.amin(0) == values.amax(0)
    spread = torch.cat([scaling.x_std, scaling.y_std])
    limits = torch.finfo(torch.float32)
    for at, name in enumerate([*table.features, table.target]):
        column = f"{table.source}: column {shown(name)}"
        option = "data.target" if name == table.target else "data.features"
        if constant[at]:
            raise KanExpError(
                f"{column} holds only {values[0, at]:g} in its {len(values)} training rows, which "
                f"teaches nothing: choose others with {option}, or other rows with data.seed."
            )
        if not limits.tiny < spread[at] < limits.max:
            low, high = values[:, at].aminmax()
            raise KanExpError(
                f"{column} ranges from {low:g} to {high:g}, beyond what float32 can scale: "
                "change its unit."
            )
