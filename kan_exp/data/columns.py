"""Names and fields of a table's columns as text, and fields as numbers."""

from __future__ import annotations

import re
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from polars import Series

FloatArray = NDArray[np.float64]
MAX_EXACT = 2.0**53  # whole numbers up to here are exact in float64

# What may be wrong with a column.
UNNAMED, REPEATED = "no name", "a repeated name"
TEXT, DATES, COMMAS, UNITS = "text", "dates or times", "numbers with commas", "numbers with units"
OTHER, MISSING, INFINITE = "values that are no numbers", "missing cells", "infinite values"
CONSTANT, RANGE = "one value throughout", "a range beyond what float32 can scale"

_NUMBER = r"[+-]?\d[\d.,' _]*"
PATTERNS = (
    (COMMAS, re.compile(r"[+-]?\d[\d.]*,[\d,.]*\d(e[+-]?\d+)?", re.IGNORECASE)),
    (DATES, re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2}.*)?")),
    (UNITS, re.compile(rf"([^\w\s]|[A-Z]{{3}}\b)?\s*{_NUMBER}\s*[^\d]{{0,12}}")),
)
# Fields of text that count as missing, in lower case, and those that C programs write for NaN.
MISSING_WORDS = ["", "?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"]
MISSING_WORDS += ["#div/0!", "#value!", "#num!", "#ref!"]
NAN = r"^[+-]?(nan(\(\w*\))?|1\.#(ind|[qs]nan)\d*)$"
INFINITY = r"^[+-]?1\.#inf\d*$"


def tidy(name: object) -> str:
    """A column's name as a user can type it: blanks and control characters become one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())


def shown(value: object, most: int = 40) -> str:
    """A field or a name for a message: quoted, in one line and cut short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


def new_name(name: str) -> str:
    """This name, numbered if the current folder has such a file."""
    path, number = Path(name), 1
    while Path(name).exists():
        number += 1
        name = f"{path.stem}{number}{path.suffix}"
    return name


class Fault(NamedTuple):
    """Why a column cannot be used, and where it shows first; empty if everywhere."""

    kind: str
    name: str
    example: str


def to_numbers(fields: Series, typed: bool) -> tuple[FloatArray, list[int]]:
    """Reads a column as numbers.

    Args:
        fields: Of the column.
        typed: Whether columns of the file have types, so that text is never a number.

    Returns:
        Values, NaN where a field is missing or no number, and rows of fields that are no numbers.
    """
    import polars as pl

    if fields.dtype.is_numeric() or fields.dtype in (pl.Boolean, pl.Null):
        numbers, words = fields, pl.Series([], dtype=pl.Boolean)
    elif typed:
        numbers, words = pl.repeat(None, len(fields), eager=True), fields.is_not_null()
    else:
        numbers, words = _parse(fields)
    values = numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values, words.arg_true().to_list()


def _parse(fields: Series) -> tuple[Series, Series]:
    """Numbers, and which fields are neither numbers nor missing.

    `true` and `false` count as 1 and 0 in a column that holds nothing else.
    """
    import polars as pl

    numbers = fields.cast(pl.Float64, strict=False)
    if not numbers.null_count():
        return numbers, numbers.is_null()
    text = pl.col("fields").str.strip_chars()
    lower = text.str.to_lowercase()
    infinity = pl.when(lower.str.contains(INFINITY)).then(float("inf"))
    frame = pl.DataFrame({"fields": fields, "numbers": numbers}).select(
        number=pl.coalesce("numbers", text.cast(pl.Float64, strict=False), infinity),
        truth=pl.when(lower == "true").then(1.0).when(lower == "false").then(0.0),
        missing=text.is_null() | lower.is_in(MISSING_WORDS) | lower.str.contains(NAN),
    )
    numbers = frame["number"]
    if numbers.drop_nulls().drop_nans().is_in([0.0, 1.0]).all():
        numbers = numbers.fill_null(frame["truth"])
    return numbers, numbers.is_null() & ~frame["missing"]


def rounding_notes(name: str, fields: Series, values: FloatArray) -> list[str]:
    """Names the first whole number of a column that float64 cannot hold, if there is one."""
    rows = np.flatnonzero((np.abs(values) >= MAX_EXACT) & np.isfinite(values))
    for row, field in zip(rows.tolist(), fields.gather(rows).to_list(), strict=True):
        digits = str(field).strip()
        if digits.lstrip("+-").isdigit() and Decimal(digits) != Decimal(values[row]):
            return [
                f"column {shown(name)} has whole numbers with more digits than float64 holds: "
                f"{shown(digits)} in row {row + 1:,} is read as {values[row]:.17g}."
            ]
    return []


def kind_of(field: object) -> str:
    """What a field that is no number looks like."""
    if isinstance(field, date | time | timedelta):
        return DATES
    if not isinstance(field, str):
        return OTHER
    if not field.strip().isprintable():  # a zero byte is no unit
        return TEXT
    return next((kind for kind, pattern in PATTERNS if pattern.fullmatch(field.strip())), TEXT)
