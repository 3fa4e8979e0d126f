"""Points as users have them: tensors, arrays, lists, tables with named columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError, listing, message_of

if TYPE_CHECKING:
    from polars import Series


def as_points(
    x: Any, features: Sequence[str], device: torch.device, schema: Schema | None = None
) -> Tensor:
    """Converts points to a tensor `(n, in)`.

    Args:
        x: A tensor, which keeps its dtype, device and graph, or anything that NumPy makes an array
            of numbers of. Columns of a table, a mapping or a structured array are taken by name
            where it has any of the features. A list of mappings has one for each row.
            One-dimensional: the points of a model with one input, else one point.
        features: Name of each input.
        device: Where arrays go.
        schema: Of the columns that the features are made of; a table that has any of these must
            have them all, as they are in the user's files.

    Returns:
        Floating-point numbers; integers and booleans as float64.

    Raises:
        KanExpError: The shape is wrong, a column is missing, or a value is no number.
    """
    x = as_table(x)
    if schema is not None and not schema.is_plain and not isinstance(x, Tensor):
        x = _encoded(x, schema)
    points = x if isinstance(x, Tensor) else _from_array(x, features, device)
    if points.layout != torch.strided:
        points = points.to_dense()
    if points.is_complex():
        raise KanExpError(f"model takes real numbers for x, got {points.dtype}.")
    if not points.is_floating_point():
        points = points.double()
    width, shape = len(features), tuple(points.shape)
    if points.ndim == 1:
        points = points[:, None] if width == 1 else points[None]
    if points.ndim != 2 or points.shape[1] != width:
        raise KanExpError(
            f"model takes x of shape (n, {width}) ({listing(features)}), got {shape}."
        )
    return points


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


def _encoded(x: Any, schema: Schema) -> Any:
    """The features of a table that has the columns of the schema; anything else as it is."""
    names = column_names(x)
    missing = [name for name in schema.columns if name not in names]
    if len(missing) == len(schema.columns):
        return x
    if missing:
        raise KanExpError(
            f"model takes the columns {listing(schema.columns)}, but x lacks {listing(missing)}."
        )
    import polars as pl

    from kan_exp.data.fields import clean_fields
    from kan_exp.data.kinds import read_as

    columns = {}
    for column in schema.inputs:
        name = column.name
        part = x[name] if isinstance(x, Mapping | np.ndarray) else x[[name]]
        fields = clean_fields(series_of(np.asarray(part).reshape(-1)), schema.missing_values)
        found = read_as(column, fields)
        if found.fault:
            rows = [] if found.rows is None else found.rows.arg_true().to_list()
            field = found.example or f"{fields[rows[0]]!r} in row {rows[0] + 1:,}"
            raise KanExpError(f"model takes a {column.kind} in column {name!r}, got {field}.")
        columns[name] = found.values
    return schema.encode(pl.DataFrame(columns))


def series_of(array: NDArray[Any]) -> Series:
    """A column of polars, in which values that pandas knows as missing are null."""
    import polars as pl

    if array.dtype.kind in "Mm":
        return pl.Series(array.astype(f"{array.dtype.kind}8[us]"))
    if array.dtype.kind in "biuf":
        return pl.Series(array)
    gaps = ("NAType", "NaTType")
    values = [None if type(one).__name__ in gaps else one for one in array.tolist()]
    return pl.Series(values, strict=False)


def _from_array(x: Any, features: Sequence[str], device: torch.device) -> Tensor:
    try:
        array = _by_name(x, features)
        array = as_numbers(x) if array is None else array
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = message_of(error).rstrip(".")
        raise KanExpError(
            f"model takes numbers for x, an array of shape (n, {len(features)}), "
            f"got {type(x).__name__}: {reason}."
        ) from error
    return torch.from_numpy(array).to(device)


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


def _by_name(x: Any, features: Sequence[str]) -> NDArray[Any] | None:
    """The columns of the features, in their order; `None` if no column has the name of one."""
    names = column_names(x)
    missing = [name for name in features if name not in names]
    if len(missing) == len(features):
        return None
    if missing and isinstance(x, Mapping):
        raise TypeError(f"it lacks {listing(map(repr, missing))}")
    if missing:
        raise KanExpError(
            f"model takes the columns {listing(features)}, but x lacks {listing(missing)}."
        )
    columns = []
    for name in features:
        # One by one: a whole table may turn dates among numbers into numbers.
        try:
            part = x[name] if isinstance(x, Mapping | np.ndarray) else x[[name]]
            columns.append(as_numbers(part).reshape(-1))
        except TypeError as error:
            raise TypeError(f"column {name!r}: {error}") from error
    return np.stack(columns, axis=-1)


def column_names(x: Any) -> list[Any]:
    """Names of the columns of a table, a mapping or a structured array; of others none."""
    if isinstance(x, np.ndarray):
        return list(x.dtype.names or ())
    names = x if isinstance(x, Mapping) else getattr(x, "columns", None)
    return [] if names is None or callable(names) else list(names)
