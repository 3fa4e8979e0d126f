"""Points as users have them: tensors, arrays, lists, tables with named columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kan_exp.data.columns import tidy
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError, listing, message_of

if TYPE_CHECKING:
    from polars import Series


def as_points(x: Any, schema: Schema, device: torch.device, columns: Sequence[str] = ()) -> Tensor:
    """Converts points to a tensor `(n, in)`.

    Args:
        x: A tensor, which keeps its dtype, device and graph, or anything that NumPy makes an array
            of numbers of. Columns of a table, a mapping or a structured array are taken by name
            where it has any of the schema, or else of the features. A list of mappings has one for
            each row. One-dimensional: the points of a model with one input, else one point.
        schema: Of the columns that the inputs of the network are made of.
        device: Where arrays go.
        columns: Names of the columns of rows without names; a table must then have those that are
            read. Tensors `(n, in)` are taken as inputs of the network.

    Returns:
        Floating-point numbers; integers and booleans as float64.

    Raises:
        KanExpError: The shape is wrong, a column is missing, or a value is no number.
    """
    features = schema.features
    try:
        found = _inputs(as_table(x), schema, tuple(columns))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = message_of(error).rstrip(".")
        raise KanExpError(
            f"model takes numbers for x, an array of shape (n, {len(features)}), "
            f"got {type(x).__name__}: {reason}."
        ) from error
    points = found if isinstance(found, Tensor) else torch.from_numpy(found).to(device)
    if points.layout != torch.strided:
        points = points.to_dense()
    if points.is_complex():
        raise KanExpError(f"model takes real numbers for x, got {points.dtype}.")
    return _as_rows(points if points.is_floating_point() else points.double(), features)


def _inputs(x: Any, schema: Schema, columns: tuple[str, ...]) -> Tensor | NDArray[Any]:
    """The network's inputs, or numbers that may be these by their place."""
    features, table = schema.features, columns_of(x)
    if not table and columns and not (schema.is_plain and columns == features):
        if isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] == len(features):
            return x
        rows = _as_rows(x if isinstance(x, Tensor) else np.asarray(x), columns)
        if isinstance(rows, Tensor) and schema.is_plain:  # which keeps its graph
            return rows[:, [columns.index(name) for name in features]]
        table = dict(zip(columns, rows.T, strict=True))
    encodes = not schema.is_plain and not {*schema.columns}.isdisjoint(table)
    names = schema.columns if encodes else features
    by_name = columns or isinstance(x, Mapping) or not {*names}.isdisjoint(table)
    if not table or not by_name:
        return x if isinstance(x, Tensor) else as_numbers(x)
    if missing := [name for name in names if name not in table]:
        raise KanExpError(
            f"model takes the columns {listing(names)}, but x lacks {listing(missing)}."
        )
    if encodes:
        return _encoded(table, schema)
    parts = []
    for name in names:
        try:
            parts.append(as_numbers(table[name]).reshape(-1))
        except TypeError as error:
            raise TypeError(f"column {name!r}: {error}") from error
    return np.stack(parts, axis=-1)


def _as_rows(x: Any, names: Sequence[str]) -> Any:
    """A tensor or an array as one of shape `(n, len(names))`."""
    shape, width = tuple(x.shape), len(names)
    if x.ndim == 1:
        x = x[:, None] if width == 1 else x[None]
    if x.ndim != 2 or x.shape[1] != width:
        raise KanExpError(f"model takes x of shape (n, {width}) ({listing(names)}), got {shape}.")
    return x


def as_table(x: Any) -> Any:
    """Rows that are mappings, and frames that are yet to be computed, as columns; others as is."""
    if isinstance(x, list) and x and all(isinstance(row, Mapping) for row in x):
        names = dict.fromkeys(name for row in x for name in row)
        return {name: [row.get(name) for row in x] for name in names}
    collect = getattr(x, "collect", None)  # of a polars.LazyFrame
    x = collect() if callable(collect) else x
    if hasattr(x, "column_names") and hasattr(x, "__arrow_c_stream__"):  # a pyarrow.Table
        import polars as pl

        return pl.DataFrame(x)
    return x


def columns_of(x: Any) -> dict[str, Any]:
    """The columns of a table, a mapping or a structured array by their tidy names; else none.

    They are taken one by one: a whole table may turn dates among numbers into numbers.

    Raises:
        KanExpError: Two columns have the same name.
    """
    found: dict[str, Any] = {}
    for given in column_names(x):
        if (name := tidy(given)) in found:
            raise KanExpError(f"two columns are called {name!r}: give each a name of its own.")
        found[name] = x[given] if isinstance(x, Mapping | np.ndarray) else x[[given]]
    return found


def column_names(x: Any) -> list[Any]:
    """Names of the columns of a table, a mapping or a structured array; of others none."""
    if isinstance(x, np.ndarray):
        return list(x.dtype.names or ())
    names = x if isinstance(x, Mapping) else getattr(x, "columns", None)
    return [] if names is None or callable(names) else list(names)


def _encoded(table: Mapping[str, Any], schema: Schema) -> NDArray[np.float64]:
    """The network's inputs `(n, in)` from the columns of a schema."""
    import polars as pl

    from kan_exp.data.fields import clean_fields
    from kan_exp.data.kinds import read_as

    columns = {}
    for column in schema.inputs:
        name = column.name
        fields = clean_fields(series_of(table[name]), schema.missing_values)
        found = read_as(column, fields)
        if found.fault:
            rows = [] if found.rows is None else found.rows.arg_true().to_list()
            field = found.example or f"{fields[rows[0]]!r} in row {rows[0] + 1:,}"
            raise KanExpError(f"model takes a {column.kind} in column {name!r}, got {field}.")
        columns[name] = found.values
    return schema.encode(pl.DataFrame(columns))


def series_of(column: Any) -> Series:
    """A column of polars, in which values that pandas knows as missing are null."""
    import polars as pl

    array = np.asarray(column).reshape(-1)
    if array.dtype.kind in "Mm":
        return pl.Series(array.astype(f"{array.dtype.kind}8[us]"))
    if array.dtype.kind in "biuf":
        return pl.Series(array)
    gaps = ("NAType", "NaTType")
    values = [None if type(one).__name__ in gaps else one for one in array.tolist()]
    return pl.Series(values, strict=False)


def as_numbers(x: Any) -> NDArray[Any]:
    """An array of floating-point numbers, float32 or float64; NaN where a value is masked.

    Durations are in seconds.
    """
    if isinstance(x, Tensor):
        x = x.detach().cpu().to_dense()
        x = (x if x.is_complex() else x.double()).numpy()
    if isinstance(x, Sequence) and any(isinstance(part, Tensor) for part in x):
        x = [part.detach().cpu().numpy() if isinstance(part, Tensor) else part for part in x]
    if isinstance(x, np.ma.MaskedArray):
        x = np.ma.filled(x.astype(np.float64), np.nan)
    if hasattr(x, "toarray"):
        raise TypeError("a sparse matrix, which its toarray() turns into an array")
    array = np.asarray(x)
    if array.dtype.kind == "m":  # seconds, as in tables
        array = array / np.timedelta64(1, "s")
    if array.dtype.kind not in "fiubO":
        raise TypeError(array.dtype.name)
    exact = array.dtype in (np.float32, np.float64)
    return np.array(array, dtype=array.dtype.name if exact else np.float64, order="C")
