"""Tables in memory, of whatever library, as columns by name; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kan_exp.data.columns import tidy
from kan_exp.errors import KanExpError
from kan_exp.lazy import polars as pl


def as_table(x: Any) -> Any:
    """Rows that are mappings, and frames that are yet to be computed, as columns; others as is."""
    if isinstance(x, list) and x and all(isinstance(row, Mapping) for row in x):
        names = dict.fromkeys(name for row in x for name in row)
        return {name: [row.get(name) for row in x] for name in names}
    collect = getattr(x, "collect", None)  # of a polars.LazyFrame
    x = collect() if callable(collect) else x
    if hasattr(x, "column_names") and hasattr(x, "__arrow_c_stream__"):  # a pyarrow.Table
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


def series_of(column: Any) -> pl.Series:
    """A column of polars, in which values that pandas knows as missing are null."""
    array = np.asarray(column).reshape(-1)
    if array.dtype.kind in "Mm":
        return pl.Series(array.astype(f"{array.dtype.kind}8[us]"))
    if array.dtype.kind in "biuf":
        return pl.Series(array)
    gaps = ("NAType", "NaTType")
    values = [None if type(one).__name__ in gaps else one for one in array.tolist()]
    return pl.Series(values, strict=False)
