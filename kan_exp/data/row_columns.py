"""Columns that say something about rows instead of being inputs: weights and groups."""

from __future__ import annotations

import numpy as np

from kan_exp.data.columns import MISSING_WORDS, FloatArray, one_of, shown, tidy
from kan_exp.data.fields import clean_fields, read
from kan_exp.data.schema import Column
from kan_exp.data.table_file import TableFile
from kan_exp.lazy import polars as pl


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
