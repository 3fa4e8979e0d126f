"""Rows in the trained range, by which an export is compared with its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kan_exp.data.columns import FloatArray
from kan_exp.data.schema import Column
from kan_exp.exporting.tables import Tables

if TYPE_CHECKING:
    from polars import DataFrame, Series

ROWS = 500
GAP_SHARE = 0.1
NO_DATE = -(2**63)  # stands for a missing date
DAY = 86_400_000_000  # microseconds
UNKNOWN = "none of these"  # a level that was not there in training
INVERSE = {"": np.positive, "log": np.exp, "log1p": np.expm1}
YEARS = (2000.0, 2010.0)  # of dates whose year is no input


def fresh_rows(tables: Tables, generator: torch.Generator, rows: int = ROWS) -> DataFrame:
    """Rows whose values are evenly distributed over the trained ranges, with gaps if allowed."""
    import polars as pl

    draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    known = np.isfinite(tables.ranges)
    spread = np.stack([tables.x_mean - tables.x_std, tables.x_mean + tables.x_std], 1)
    ranges = dict(zip(tables.schema.features, np.where(known, tables.ranges, spread), strict=True))
    return pl.DataFrame([_values(column, ranges, draws, rows) for column in tables.schema.inputs])


def _values(column: Column, ranges: Any, draws: np.random.Generator, rows: int) -> Series:
    import polars as pl

    values: Any
    if column.kind == "category":
        values = draws.choice([*column.levels, *column.rare, UNKNOWN], rows).tolist()
    elif column.kind == "boolean":
        values = draws.integers(0, 2, rows).astype(float).tolist()
    elif column.kind == "date":
        low, high = ranges.get(f"{column.name}.year", YEARS)
        days = draws.uniform((low - 1970) * 365.25 + 1, (high - 1969) * 365.25 - 1, rows)
        values = (days * DAY).astype(int).tolist()
    else:
        low, high = ranges[column.features[0]]
        values = INVERSE[column.scale](draws.uniform(low, high, rows)).tolist()
    if column.impute:
        gaps = draws.random(rows) < GAP_SHARE
        values = [None if gap else value for gap, value in zip(gaps, values, strict=True)]
    dtypes = {"category": pl.String(), "date": pl.Datetime("us")}
    return pl.Series(column.name, values, dtype=dtypes.get(column.kind, pl.Float64()))


def as_arrays(tables: Tables, rows: DataFrame) -> dict[str, Any]:
    """Columns as the exports take them, see `kan_exp.exporting.describing.KINDS`."""
    import polars as pl

    found: dict[str, Any] = {}
    for column in tables.schema.inputs:
        values = rows[column.name]
        if column.kind == "category":
            found[column.name] = np.array(values.fill_null("").to_list(), dtype=object)
        elif column.kind == "date":
            found[column.name] = values.cast(pl.Int64).fill_null(NO_DATE).to_numpy()
        else:
            found[column.name] = values.fill_null(float("nan")).to_numpy()
    return found


def difference(found: FloatArray, expected: FloatArray) -> float:
    """The largest difference of predictions `(n, outputs)`, relative to their size and spread."""
    size = np.maximum(np.abs(expected), expected.std(0))
    apart = np.abs(found - expected) / np.where(size > 0, size, 1.0)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return float(np.where(same, 0.0, apart).max(initial=0.0))
