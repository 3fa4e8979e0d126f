"""Tables: the chosen columns of a file, weights and groups of its rows; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.data import columns
from kan_exp.data.columns import MISSING_WORDS, Fault, FloatArray, one_of, shown, tidy
from kan_exp.data.fields import clean_fields, read
from kan_exp.data.schema import Column, Schema
from kan_exp.data.splitting import Rows
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError
from kan_exp.lazy import polars as pl

if TYPE_CHECKING:
    from kan_exp.data.points import Split

FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True, eq=False)
class Table:
    """The chosen columns of a file, in the user's own units.

    Attributes:
        source: Where they come from, as the user named it.
        schema: Their kinds; those of a trained network are fitted, those of a new file are not.
        frame: The rows of `schema.names`, of the types in `Column.fit`.
        notes: Lines about what was recognized, rounded or left out.
        weight: Of each row, `(n,)`.
        groups: Number of each row's group, `(n,)`, without those of `test_rows`.
        test_rows: How many of the last rows come from a file of test rows.
        kept: Number of each row in its file, from 0, if some were left out.
    """

    source: str
    schema: Schema
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    weight: FloatArray | None = None
    groups: Rows | None = None
    test_rows: int = 0
    kept: Rows | None = None

    @classmethod
    def of_arrays(cls, source: str, schema: Schema, x: FloatArray, y: FloatArray) -> Table:
        """A table of numbers: inputs `(n, in)` and outputs `(n, out)`."""
        values = np.column_stack([x, y]).T
        return cls(source, schema, pl.DataFrame(dict(zip(schema.names, values, strict=True))))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return self.schema.features

    @property
    def rows(self) -> int:
        return len(self.frame)

    def row_name(self, row: int) -> str:
        """A row, counted from 0, as its file counts it."""
        given = self.rows - self.test_rows
        number = row - given * (row >= given) if self.kept is None else int(self.kept[row])
        return f"row {number + 1:,} of {self.source if row < given else 'data.test_path'}"

    @property
    def x(self) -> FloatArray:
        """Inputs of the network, `(n, in)`; the schema must be fitted."""
        return self.schema.encode(self.frame)

    @property
    def y(self) -> FloatArray:
        """Outputs `(n, out)`."""
        return self.schema.encode_outputs(self.frame)

    @property
    def classes(self) -> Rows | None:
        """A number for each row's class, `(n,)`; None if the output is a number."""
        if len(self.schema.outputs) != 1 or self.schema.outputs[0].kind != "class":
            return None
        return ranks(self.frame[self.schema.targets[0]])

    @property
    def gaps(self) -> pl.Series:
        """Which rows have a gap that is not filled."""
        needed = [one.name for one in (*self.schema.inputs, *self.schema.outputs) if not one.impute]
        if not needed:
            return pl.repeat(False, self.rows, eager=True)
        return self.frame.select(pl.any_horizontal(pl.col(needed).is_null())).to_series()

    def without_gaps(self) -> Table:
        """The rows that have no gap, but for those that are filled."""
        gaps = self.gaps
        if not gaps.any():
            return self
        if gaps.all():
            raise KanExpError(
                f"{self.source}: every row has a gap: leave columns out with data.drop=[...]"
            )
        note = f"{int(gaps.sum()):,} of {self.rows:,} rows with gaps are left out."
        kept = (~gaps).arg_true().to_numpy().astype(np.int64)  # torch adds no uint32
        return replace(self, frame=self.frame.filter(~gaps), notes=(*self.notes, note), kept=kept)

    def with_notes(self, notes: Sequence[str]) -> Table:
        """The table with further lines."""
        return replace(self, notes=(*self.notes, *notes))

    def with_weight(self, file: TableFile, name: str | None) -> Table:
        """The table with the weights of its rows, from a column of its file if one is named."""
        return self if name is None else replace(self, weight=self.rows_of(read_weight(file, name)))

    def rows_of(self, values: Any) -> Any:
        """Values of all rows of the file, of those that are kept."""
        return values if self.kept is None else values[self.kept]

    def split(self) -> Split:
        """All rows in the order of the file, float64; the schema must be fitted."""
        import torch

        from kan_exp.data.points import Split

        weight = None if self.weight is None else torch.from_numpy(self.weight)
        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y), weight)


def ranks(values: pl.Series) -> Rows:
    """The place of each value among the different ones, from 1."""
    return values.rank("dense").cast(pl.Int64).to_numpy()


def scale_fault(name: str, values: FloatArray) -> Fault | None:
    """The fault of a column with one value throughout, or a range beyond float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = values.std()
    low, high = values.min(), values.max()
    return scale_fault_of(name, low, high, spread) if len(values) > 1 else None


def scale_fault_of(name: str, low: float, high: float, spread: float) -> Fault | None:
    """`scale_fault` of a column by its range and its standard deviation."""
    if low == high:
        return Fault(columns.CONSTANT, name, f"{low:g}")
    if low < high and not FLOAT32.tiny < spread < FLOAT32.max:
        return Fault(columns.RANGE, name, f"{low:g} to {high:g}")
    return None


def read_weight(file: TableFile, name: str, is_part: bool = False) -> FloatArray:
    """The weights of all rows, `(rows,)`; those of a part of a file may all be 0.

    Raises:
        KanExpError: There is no such column, a field is negative or no finite number, or the
            weights of a whole file are all 0.
    """
    fields = _column(file, name, "data.weight")
    values = read(Column(name), clean_fields(fields)).fill_null(float("nan")).to_numpy()
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        (field,) = fields.gather([int(bad[0])]).to_list()
        raise file.error(
            f"data.weight={name} has {shown(field)} in {file.row_name(int(bad[0]))}"
            f"{one_of(len(bad))}: weights must be finite numbers of at least 0."
        )
    if not is_part and not values.any():
        raise file.error(f"data.weight={name} is 0 in all rows: choose another column.")
    return values.copy()  # what polars lends cannot be written


def read_groups(file: TableFile, name: str) -> pl.Series:
    """Each row's group as text; equal fields are a group.

    Raises:
        KanExpError: There is no such column, or a field is empty.
    """
    fields = _column(file, name, "data.group")
    if fields.dtype == pl.Object:  # of arrays whose type polars has not
        fields = pl.Series(list(map(str, fields.to_list())))
    texts = fields.cast(pl.String).str.strip_chars()
    missing = (texts.is_null() | texts.str.to_lowercase().is_in(MISSING_WORDS)).arg_true()
    if len(missing):
        raise file.error(
            f"data.group={name} has no value in {file.row_name(missing[0])}{one_of(len(missing))}: "
            f"every row needs a group."
        )
    return texts


def _column(file: TableFile, name: str, option: str) -> pl.Series:
    """The fields of a column."""
    places = file.places(tidy(name))
    if not places:
        raise file.unknown([tidy(name)], option)
    if len(places) > 1:
        raise file.error(f"{option}={name} names {len(places)} columns: rename all but one.")
    return file.columns[places[0]]
