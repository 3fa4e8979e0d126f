"""Recognizes what a column of a table holds."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from kan_exp.data import columns
from kan_exp.data.columns import FALSE, TRUE, shown
from kan_exp.data.fields import (
    WRITTEN,
    as_text,
    date_formats,
    is_text,
    nearly_dates,
    plain_numbers,
    read,
    styles,
    units,
)
from kan_exp.data.schema import MAX_LEVELS, Column
from kan_exp.data.treatment import Treatment
from kan_exp.lazy import polars as pl

DIGITS = FALSE[-1] + TRUE[-1]
MAX_WORDS = 3  # texts of a column that may stand for missing values
MAX_WORD = 40  # characters of such a text
NEARLY_ALL = 0.9  # of the fields are numbers: others are faults rather than levels
MANY = 20  # different numbers in a column, whose other fields are then no levels


class Recognized(NamedTuple):
    """A column as it was recognized.

    Attributes:
        column: What it is.
        values: Its fields, see `Column.fit`.
        fault: Why it cannot be used, one of those in `kan_exp.data.columns`; empty if it can.
        rows: Where that shows, booleans.
        remedies: Values of an option that mend it.
        example: What shows it, if it is no field.
    """

    column: Column
    values: pl.Series
    fault: str = ""
    rows: pl.Series | None = None
    remedies: tuple[str, ...] = ()
    example: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether all fields are the same, or missing."""
        blank = self.column.kind == "category" and self.column.impute and self.values.null_count()
        return not self.fault and not blank and self.values.drop_nulls().n_unique() < 2


def recognize(
    name: str, fields: pl.Series, treatment: Treatment, decimal: str | None, is_target: bool = False
) -> Recognized:
    """Recognizes one column.

    Args:
        name: Of the column.
        fields: See `clean_fields`.
        treatment: Options.
        decimal: Sign of the table, if it is known.
        is_target: Whether it is an output, of which text and booleans are classes.
    """
    column, fault = _kind_of(
        Column(name, scale=treatment.scale.get(name, "")),
        treatment.kinds.get(name, ""),
        fields,
        decimal,
    )
    if is_target and column.kind in ("boolean", "category"):
        column = replace(column, kind="class")
    known = fields.drop_nulls()
    # A single word among blanks, such as an x: the blanks are the other level.
    blank = column.kind == "category" and known.n_unique() == 1 and len(known) < len(fields)
    column = replace(column, impute=not is_target and (treatment.missing == "impute" or blank))
    if not fault:
        return _checked(column, fields)
    words: tuple[str, ...] = tuple(date_formats(fields)) if fault == columns.SWAPPED else ()
    words = (".",) if fault == columns.COMMAS else words
    return Recognized(column, read(column, fields), fault, fields.is_not_null(), words)


def _kind_of(
    column: Column, kind: str, fields: pl.Series, decimal: str | None
) -> tuple[Column, str]:
    """The column, by an option or by its fields, and the fault that makes it unusable, if any."""
    is_time = fields.dtype.is_temporal() and not isinstance(fields.dtype, pl.Duration)
    if "%" in kind:
        return replace(column, kind="date", format=kind), ""
    if kind == "date" or (is_time and not kind):
        forms = [""] if is_time else date_formats(as_text(fields))
        column = replace(column, kind="date", format=(*forms, "")[0])
        return column, columns.SWAPPED if len(forms) > 1 else ""
    if kind in ("boolean", "category"):
        return replace(column, kind=kind), ""
    if fields.dtype == pl.String:
        return (_number_style if kind else _of_text)(column, fields, decimal)
    if fields.dtype == pl.Boolean:
        return (column if kind else replace(column, kind="boolean")), ""
    known = fields.dtype.is_numeric() or fields.dtype in (pl.Null, pl.Duration)
    return column, "" if known else columns.OTHER


def read_as(column: Column, fields: pl.Series) -> Recognized:
    """Reads fields, see `clean_fields`, as a column of a network, however they are written."""
    written = column
    if is_text(fields):
        if column.kind == "number":
            plain = replace(column, format="", unit="")
            written, _ = _number_style(plain, fields, column.format or ".")
            if written.unit and column.unit and written.unit != column.unit:
                example = f"{shown(written.unit)}, trained on {shown(column.unit)}"
                return Recognized(column, fields, columns.UNITS, None, (), example)
        elif column.kind == "date" and read(column, fields).null_count() > fields.null_count():
            forms = date_formats(fields)
            written = replace(column, format=forms[0]) if len(forms) == 1 else column
    return _checked(column, fields, written)


def _checked(column: Column, fields: pl.Series, written: Column | None = None) -> Recognized:
    """Reads fields and checks what came of them."""
    values = read(written or column, fields)
    bad = values.is_null() & fields.is_not_null()
    if bad.any():
        words = fields.filter(bad).unique(maintain_order=True).head(MAX_WORDS + 1)
        texts = tuple(map(str, words.to_list()))
        if len(texts) > MAX_WORDS or any(len(t) > MAX_WORD or not t.isprintable() for t in texts):
            texts = ()
        kind = columns.TEXT if is_text(fields) else columns.OTHER
        return Recognized(column, values, kind, bad, texts if kind == columns.TEXT else ())
    if column.kind == "number" and (infinite := values.is_infinite().fill_null(False)).any():
        signs = tuple(str(value) for value in values.filter(infinite).unique().to_list())
        return Recognized(column, values, columns.INFINITE, infinite, signs)
    if column.scale and column.kind == "number" and (low := _below_scale(column, values)).any():
        other = replace(column, scale="log1p")
        scales = () if _below_scale(other, values).any() else (other.scale,)
        return Recognized(column, values, columns.SCALE, low, scales)
    return Recognized(column, values)


def _below_scale(column: Column, values: pl.Series) -> pl.Series:
    """Where numbers have no logarithm."""
    low = values <= (0 if column.scale == "log" else -1)
    return low.fill_null(False)


def _of_text(column: Column, fields: pl.Series, decimal: str | None) -> tuple[Column, str]:
    """The column that a text column holds, and the fault that makes it unusable, if any."""
    known = fields.drop_nulls()
    if plain_numbers(known).null_count() == 0:
        return _number_style(column, fields, decimal) if decimal == "," else (column, "")
    words = {*known.str.to_lowercase().unique().to_list()}
    for yes, no in zip(TRUE, FALSE, strict=True):
        if len(words) > 1 and words <= {yes, no, *DIGITS} and words != {*DIGITS}:
            return replace(column, kind="boolean"), ""
    if forms := date_formats(known):
        fault = columns.SWAPPED if len(forms) > 1 else ""
        return replace(column, kind="date", format=forms[0]), fault
    if styles(known):
        return _number_style(column, fields, decimal)
    levels = known.n_unique()
    numbers = plain_numbers(known).drop_nulls()
    share = len(numbers) / len(known) if len(known) else 0.0
    many = numbers.n_unique() > MANY or 2 * levels > len(known)
    if share >= NEARLY_ALL or (share >= 0.5 and many):
        return column, ""  # whose other fields are faults
    if levels > max(2, min(MAX_LEVELS, len(known) / 2)):
        if form := nearly_dates(known, NEARLY_ALL):
            return replace(column, kind="date", format=form), ""  # whose other fields are faults
        return replace(column, kind="category"), columns.NAMES
    return replace(column, kind="category"), ""


def _number_style(column: Column, fields: pl.Series, decimal: str | None) -> tuple[Column, str]:
    """The decimal sign and the unit of a column of numbers, and whether the sign is unclear."""
    known = fields.drop_nulls()
    plain = not plain_numbers(known).null_count()
    if plain and decimal != ",":
        return column, ""
    fitting = styles(known)
    marked = known.str.contains(r"\d[.,]\d{3}").any()
    if plain and not (fitting == list(WRITTEN) and marked):
        return column, ""
    commas = known.str.contains(",", literal=True).any()
    sign = decimal if decimal in fitting else fitting[0] if fitting else decimal or "."
    found = units(known, sign)
    column = replace(
        column, format="" if plain and sign == "." else sign, unit=found[0] if found else ""
    )
    unclear = decimal is None and len(fitting) == 2 and commas
    return column, columns.COMMAS if unclear else ""
