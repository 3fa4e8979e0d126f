"""Rows as users have them in memory, as a table that networks learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kan_exp.data.classes import with_outputs
from kan_exp.data.columns import free_name, tidy
from kan_exp.data.options import Options
from kan_exp.data.reading import learn_columns
from kan_exp.data.schema import Column, Schema
from kan_exp.data.table import Table
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError
from kan_exp.models.inputs import as_numbers, as_table, columns_of, series_of

# Up to so many rows whole weights are numbers of copies; of more rows they are proportions.
MAX_COPIES = 10_000
WEIGHT = "\0weight"  # no name of a column
OPTIONS = Options("X", "separator", None, "y", "missing")


class FrameColumns(TableFile):
    """The columns of a frame in memory.

    Args:
        frame: The rows.
        rows: Their numbers, from 0, as the user counts them.
    """

    def __init__(self, frame: pl.DataFrame, rows: NDArray[np.int64]) -> None:
        self.columns = frame.get_columns()
        self.types = ["" for _ in self.columns]
        self._names, self._rows = frame.columns, rows
        super().__init__(Path("X"), "X and y", OPTIONS)

    def _read_header(self) -> list[str]:
        return self._names

    def row_name(self, row: int) -> str:
        return f"row {self._rows[row] + 1:,}"


def as_frame(x: Any, name: str) -> pl.DataFrame:
    """A frame of any columns: of a frame, a mapping, an array, a tensor or lists.

    Args:
        x: `(n, columns)`, or `(n,)` for one column.
        name: Of a column without a name; several are numbered from 0.

    Raises:
        KanExpError: It is none of these, or has more than two dimensions.
    """
    x = as_table(x)
    if isinstance(x, pl.Series):
        x = x.to_frame(x.name or name)
    table = {name: series_of(column) for name, column in columns_of(x).items()}
    if not table:
        own = getattr(x, "name", None)  # of a series of pandas
        array = _array(x, name)
        names = [f"{name}{place}" for place in range(array.shape[1])]
        if array.shape[1] == 1 and name != "x":
            names = [name if own is None else own]
        table = {tidy(name): series_of(part) for name, part in zip(names, array.T, strict=True)}
    if len({len(column) for column in table.values()}) > 1:
        raise KanExpError(f"the columns of {name} have different lengths.")
    return pl.DataFrame(table)


def _array(x: Any, name: str) -> NDArray[Any]:
    try:
        array = as_numbers(x)
    except (TypeError, ValueError) as error:
        if hasattr(x, "toarray"):
            raise KanExpError(f"{name} is {error}.") from None
        try:
            array = np.asarray(x, dtype=object)
        except ValueError:
            raise KanExpError(f"{name} must have as many columns in every row.") from None
    if array.ndim not in (1, 2) or not array.size:
        raise KanExpError(
            f"{name} must be an array of rows and columns, got the shape {array.shape}."
        )
    return array if array.ndim == 2 else array[:, None]


def make_table(
    x: pl.DataFrame,
    y: pl.DataFrame,
    weight: NDArray[np.float64] | None,
    missing: str,
    classes: bool | tuple[str, ...] | None,
) -> Table:
    """A table of rows in memory.

    Its rows are sorted, so that neither their order matters nor whether a row is there twice or
    has twice the weight. A row of weight 0 is left out.

    Args:
        x: Inputs.
        y: Outputs; if `classes` are names, the number of each row's class.
        weight: Of the rows, `(n,)`, of at least 0.
        missing: What happens to gaps, see `Treatment`.
        classes: Names of the classes; or whether the output is a class, None where it decides.

    Raises:
        KanExpError: A column cannot be used as it is, or no row has a weight.
    """
    if len(x) != len(y):
        raise KanExpError(f"X has {len(x):,} rows, but y has {len(y):,}.")
    y = y.rename({name: free_name(name, x.columns) for name in y.columns})
    rows = np.arange(len(x))
    if weight is not None:
        weight = _check_weight(weight, len(x))
        rows = np.flatnonzero(weight)
        weight = weight[rows]
    file = FrameColumns(x.hstack(y)[rows], rows)
    chosen = Schema.of_numbers(file.names[: x.width], file.names[x.width :])
    table = learn_columns(file, chosen, Treatment(missing=missing))
    if isinstance(classes, tuple):
        (output,) = table.schema.targets
        names = table.frame[output].replace_strict(
            list(range(len(classes))), list(classes), return_dtype=pl.String
        )
        schema = replace(table.schema, outputs=(Column(output, "class", levels=classes),))
        table = replace(table, schema=schema, frame=table.frame.with_columns(names))
    else:
        table = with_outputs(table, classes, "y")
    return _sorted_rows(table, None if weight is None else table.rows_of(weight))


def _check_weight(weight: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    if len(weight) != rows:
        raise KanExpError(f"X has {rows:,} rows, but weight has {len(weight):,} numbers.")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise KanExpError("weight must be finite numbers of at least 0, and not all of them 0.")
    return weight


def _sorted_rows(table: Table, weight: NDArray[np.float64] | None) -> Table:
    """The rows sorted by their values, and copied where weights are numbers of copies."""
    keys = table.frame if weight is None else table.frame.with_columns(pl.Series(WEIGHT, weight))
    order = keys.select(pl.arg_sort_by(keys.columns)).to_series().to_numpy()
    if weight is not None:
        weight = weight[order]
        if (weight == weight.round()).all() and weight.sum() <= max(MAX_COPIES, table.rows):
            order, weight = np.repeat(order, weight.astype(int)), None
    return replace(table, frame=table.frame[order], weight=weight, kept=None)
