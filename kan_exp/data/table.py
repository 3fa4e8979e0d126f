"""Tables of a user's own: rows of numbers, dealt at random to training, validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kan_exp.data.base import ExperimentData, Scaling, Split, measure_scaling
from kan_exp.data.columns import FloatArray, shown, tidy
from kan_exp.data.doubts import far_values, repeated_rows
from kan_exp.data.readers import open_columns
from kan_exp.errors import KanExpError, listing, suggest

MIN_TRAIN = 10


@dataclass(frozen=True, eq=False)
class Table:
    """The chosen columns of one file, all finite, in the user's own units.

    Attributes:
        source: Where they come from, as the user named it.
        features: Names of the inputs, in the order of `x`.
        target: Name of the output; `None` where only inputs were asked for.
        x: Inputs `(n, in)`.
        y: Outputs `(n,)`, or `None`.
        columns: Columns of the whole file, chosen or not.
    """

    source: str
    features: tuple[str, ...]
    target: str | None
    x: FloatArray
    y: FloatArray | None
    columns: int

    @property
    def rows(self) -> int:
        return len(self.x)

    def split(self) -> Split:
        """All rows in the order of the file, float64."""
        if self.y is None:
            raise KanExpError(f"{self.source}: data.target is needed to score its rows.")
        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y).unsqueeze(1))


def read_table(
    path: str | Path | None,
    features: Sequence[str] | None,
    target: str | None,
    separator: str = ",",
) -> Table:
    """Reads inputs and, where `target` names it, the output from a file.

    Names are compared with runs of blanks taken as one. In text, `true` and `false` count as 1 and
    0 in a column that holds nothing else; so do the booleans of Parquet and npz.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; relative to the current folder, `~` is home.
        features: Input columns in the wanted order; `None` takes all but the target.
        target: The output column; `None` reads inputs only.
        separator: What separates the cells of a .csv file.

    Raises:
        KanExpError: The file cannot be read, a column is unknown or chosen twice, or a chosen cell
            is missing, infinite or no number.
    """
    reader = open_columns(path, separator)
    output = None if target is None else tidy(target)
    if features is None:
        inputs = tuple(name for name in reader.names if name != output)
        if "" in inputs:
            place = reader.names.index("") + 1
            raise reader.error(
                f"column {place} has no name: give it one, or choose columns with "
                "data.features=[...]."
            )
    else:
        if isinstance(features, str):
            raise KanExpError(
                f"data.features must be a list of columns, got {shown(features)}: "
                "set data.features=[...]."
            )
        inputs = tuple(map(tidy, features))
    named = [("data.features", name) for name in inputs]
    named += [("data.target", output)] if output is not None else []
    for option, name in named:
        if not name or name not in reader.names:
            raise reader.error(
                f"has no column {shown(name)}, which {option} names; "
                f"columns: {listing(map(shown, reader.names))}.{suggest(name, reader.names)}"
            )
    for name in inputs:
        if name == output:
            raise reader.error(
                f"column {shown(name)} is data.target and among data.features: leave it out there."
            )
        if inputs.count(name) > 1:
            raise reader.error(f"data.features names {shown(name)} twice: name it once.")
    if not inputs:
        raise reader.error("data.features leaves no column to learn from: name at least one.")
    values = reader.read(inputs if output is None else [*inputs, output])
    x, y = (values, None) if output is None else (values[:, :-1].copy(), values[:, -1].copy())
    return Table(reader.source, inputs, output, x, y, len(reader.names))


def score_rows(
    path: str | Path | None, features: Sequence[str] | None, target: str, separator: str
) -> Split:
    """All rows of a file, float64, for a network trained on others; one row is enough.

    Raises:
        KanExpError: As `read_table` does.
    """
    return read_table(path, features, target, separator).split()


class DealtData(ExperimentData):
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
        train, val, test = check_fractions(fractions)
        rows = table.rows
        needed = max(math.ceil(MIN_TRAIN / train), math.ceil(1 / val), math.ceil(1 / test))
        if rows < needed:
            raise KanExpError(
                f"{table.source}: has {rows} rows, but data.fractions={[train, val, test]} needs "
                f"at least {needed}: add rows, or change the fractions."
            )
        self.table = table
        self.features = table.features
        self.target_name = str(table.target)
        points = table.split()
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        num_val, num_test = round(rows * val), round(rows * test)
        sizes = [rows - num_val - num_test, num_val, num_test]
        parts = [Split(points.x[index], points.y[index]) for index in torch.split(order, sizes)]
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
    def doubts(self) -> list[str]:
        table = self.table
        columns = np.column_stack([table.x, self.table.split().y.numpy()])
        far = far_values([*table.features, self.target_name], columns)
        return [*far, *repeated_rows(self.train.x, self.test.x)]


class TableData(DealtData):
    """Rows of a .csv, .tsv, .parquet or .npz file.

    Args:
        path: The file; relative to the current folder, `~` is home.
        target: The column to learn.
        features: Columns to learn from; `None` takes all the others.
        fractions: Share of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.
        separator: What separates the cells of a .csv file.

    Raises:
        KanExpError: As `read_table` and `DealtData` do, or no target is named.
    """

    def __init__(
        self,
        path: str | Path | None,
        target: str | None,
        features: Sequence[str] | None,
        fractions: Sequence[float],
        seed: int,
        separator: str,
    ) -> None:
        if target is None:
            reader = open_columns(path, separator)
            names = listing(map(shown, reader.names))
            raise reader.error(f"data.target=COLUMN is needed; columns: {names}.")
        super().__init__(read_table(path, features, target, separator), fractions, seed)


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Shares of training, validation and test: three positive numbers that sum to 1."""
    if isinstance(fractions, Sequence) and len(fractions) == 3:
        numbers = [share for share in fractions if isinstance(share, int | float) and share > 0]
        if len(numbers) == 3 and math.isclose(sum(numbers), 1, abs_tol=1e-6):
            return numbers[0], numbers[1], numbers[2]
    raise KanExpError(
        "data.fractions must be three positive numbers that sum to 1 (training, validation, test), "
        f"got {fractions}."
    )


def check_spread(table: Table, train: Split, scaling: Scaling) -> None:
    """Refuses columns without a scale: one value throughout, or a range beyond float32."""
    values = torch.cat([train.x, train.y], dim=1)  # (rows, in + 1)
    constant = values.amin(0) == values.amax(0)
    spread = torch.cat([scaling.x_std, scaling.y_std])
    limits = torch.finfo(torch.float32)
    for at, name in enumerate([*table.features, table.target]):
        column = f"{table.source}: column {shown(name)}"
        if constant[at]:
            option = "data.target" if name == table.target else "data.features"
            raise KanExpError(
                f"{column} holds only {values[0, at]:g} in its {len(values)} training rows, which "
                f"teaches nothing: choose others with {option}."
            )
        if not limits.tiny < spread[at] < limits.max:
            low, high = values[:, at].aminmax()
            raise KanExpError(
                f"{column} ranges from {low:g} to {high:g}, beyond what float32 can scale: "
                "change its unit."
            )
