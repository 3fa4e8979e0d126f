"""Names and fields of a table's columns as text, and what may be wrong with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kan_exp.errors import check_once
from kan_exp.lazy import polars as pl

FloatArray = NDArray[np.float64]
MAX_EXACT = 2.0**53  # whole numbers up to here are exact in float64

# What may be wrong with a column.
REPEATED, TEXT, NAMES = "a repeated name", "text", "mostly different texts"
SWAPPED, COMMAS = "dates whose day and month are unclear", "commas of unclear meaning"
UNITS, OTHER = "another unit", "values that are no numbers"
MISSING, INFINITE, SCALE = "missing cells", "infinite values", "numbers without a logarithm"
CONSTANT, RANGE = "one value throughout", "a range beyond what float32 can scale"

# Fields of text that count as missing, in lower case, and those that C programs write for NaN.
MISSING_WORDS = ["", "?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"]
MISSING_WORDS += ["#div/0!", "#value!", "#num!", "#ref!"]
TRUE, FALSE = ("true", "yes", "y", "t", "on", "1"), ("false", "no", "n", "f", "off", "0")
NAN = r"^[+-]?(nan(\(\w*\))?|1\.#(ind|[qs]nan)\d*)$"
INFINITY = r"^[+-]?1\.#inf\d*$"


def tidy(name: object) -> str:
    """A column's name as a user can type it: blanks and control characters become one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())


def shown(value: object, most: int = 40) -> str:
    """A field or a name for a message: quoted, in one line and cut short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


def by_column(value: object, option: str) -> Any:
    """An option such as `{age: 1}` by the names of columns, or by the list of its parts.

    The command line gives the parts where Hydra cannot read the names.

    Returns:
        A mapping; what is neither as it is.

    Raises:
        KanExpError: A column is there twice.
    """
    if isinstance(value, Mapping):
        pairs = [*value.items()]
    elif (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(":" in str(part) for part in value)
    ):
        parts = (str(part).rpartition(":") for part in value)
        pairs = [(column, word.strip()) for column, _, word in parts]
    else:
        return value
    check_once((tidy(column) for column, _ in pairs), option)
    return {tidy(column): word for column, word in pairs}


def free_name(name: str, taken: Iterable[str]) -> str:
    """A name, numbered if it is taken."""
    names = {*taken}
    numbered = (f"{name}{number if number > 1 else ''}" for number in itertools.count(1))
    return next(one for one in numbered if one not in names)


def as_texts(column: pl.Series) -> list[str]:
    """Values as they are written to tables of text: numbers with nine digits, gaps empty."""
    write: Any = {pl.Boolean: lambda value: str(value).lower(), pl.Float64: "{:.9g}".format}
    write = write.get(column.dtype, str)
    return ["" if value is None else write(value) for value in column.to_list()]


def one_of(count: int) -> str:
    """Text behind an example that counts all of its kind; empty for one."""
    return f", one of {count:,}" if count > 1 else ""


class Fault(NamedTuple):
    """Why a column cannot be used.

    Attributes:
        kind: One of the above.
        name: Of the column.
        example: Where it shows first.
        remedies: Values of an option that mend it.
    """

    kind: str
    name: str
    example: str
    remedies: tuple[str, ...] = ()


def rounding_notes(name: str, fields: pl.Series, values: pl.Series) -> list[str]:
    """Names the first whole number of a column that float64 cannot hold, if there is one."""
    if not values.dtype.is_float():
        return []
    ends = cast("list[float | None]", [values.min(), values.max()])
    if all(end is None or abs(end) < MAX_EXACT for end in ends):
        return []
    numbers = values.fill_null(0.0).to_numpy()
    rows = np.flatnonzero((np.abs(numbers) >= MAX_EXACT) & np.isfinite(numbers))
    for row, field in zip(rows.tolist(), fields.gather(rows).to_list(), strict=True):
        digits = str(field).strip()
        if digits.lstrip("+-").isdigit() and Decimal(digits) != Decimal(numbers[row]):
            return [
                f"column {shown(name)} has whole numbers with more digits than float64 holds: "
                f"{shown(digits)} in row {row + 1:,} is read as {numbers[row]:.17g}."
            ]
    return []
