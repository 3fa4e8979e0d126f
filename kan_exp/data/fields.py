"""Reads the fields of a column as numbers, words, dates or levels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from kan_exp.data.columns import FALSE, INFINITY, MISSING_WORDS, NAN, TRUE
from kan_exp.data.schema import Column
from kan_exp.data.table_file import are_numbers
from kan_exp.lazy import polars as pl

# Numbers as text by their decimal sign: currency in front, groups of three, unit behind.
_WHOLE = (
    r"^([+\-])?\s*([A-Z]{{0,2}}\p{{Sc}}|[A-Z]{{3}}\b)?\s*([+\-])?"
    r"((?:\d{{1,3}}(?:[{0}'\s]\d{{3}})+|\d+)(?:[{1}]\d*)?(?:[eE][+-]?\d+)?|[{1}]\d+)"
    r"\s*([\p{{L}}\p{{Sc}}%\u2030°]\S{{0,11}}(?:\s\S{{1,11}})?)?$"
)
WRITTEN = {".": _WHOLE.format(",", "."), ",": _WHOLE.format(".", ",")}
TYPOGRAPHIC = {"\N{MINUS SIGN}": "-", "\N{RIGHT SINGLE QUOTATION MARK}": "'"}
DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"),
    *("%m-%d-%Y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%d.%m.%y"),
    *("%d/%m/%y", "%m/%d/%y", "%Y-%m"),
)
TIMES = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
TIMES_ALONE = tuple(f"%Y-%m-%d{time}" for time in TIMES[1:])
FORMATS = tuple(f"{day}{time}" for day in DAYS for time in TIMES)
EPOCH = "1970-01-01"  # the day of times without one
LIKE_A_DATE = re.compile(r"\d{1,4}[-/. ]\w{1,9}[-/., ]|\d{4}-\d\d$|[A-Za-z]{3,9} \d|\d?\d:\d\d")
TWO_DIGITS = r"[./-]\d\d(\s|$)"
SAMPLE = 1000  # fields that formats of dates are tried on first


def is_text(fields: pl.Series) -> bool:
    """Whether fields are text."""
    return fields.dtype == pl.String


def clean_fields(fields: pl.Series, words: Sequence[str] = ()) -> pl.Series:
    """The fields without blanks around them; null where they stand for missing values.

    `words` are texts and numbers that stand for missing values, too.
    """
    if isinstance(fields.dtype, pl.Categorical | pl.Enum):
        fields = fields.cast(pl.String)
    if fields.dtype == pl.String:
        plain = fields.cast(pl.Float64, strict=False)
        if not words and not plain.null_count() and not plain.is_nan().any():
            return fields
        text = fields.str.strip_chars()
        lower = text.str.to_lowercase()
        gaps = lower.is_in([*MISSING_WORDS, *map(str.lower, words)]) | lower.str.contains(NAN)
    elif fields.dtype.is_numeric():
        text = fields.cast(pl.Float64) if fields.dtype.is_float() else fields
        gaps = text.is_nan() if fields.dtype.is_float() else text.is_null()
    else:
        return fields
    if numbers := [float(word) for word in words if are_numbers([word])]:
        gaps |= text.cast(pl.Float64, strict=False).is_in(numbers).fill_null(False)
    if not gaps.any() and not gaps.null_count():
        return text
    return text.set(gaps.fill_null(True), None)


def read(column: Column, fields: pl.Series) -> pl.Series:
    """Values of fields as `Column.fit` takes them; null where they cannot be read as this column.

    For `fields` see `clean_fields`.
    """
    text = fields.dtype == pl.String
    if column.kind in ("category", "class"):
        return as_text(fields)
    if column.kind == "date":
        return _dates(fields, column.format)
    if column.kind == "boolean" and text:
        lower = fields.str.to_lowercase()
        words = dict.fromkeys(TRUE, 1.0) | dict.fromkeys(FALSE, 0.0)
        return lower.replace_strict(words, default=None, return_dtype=pl.Float64)
    if isinstance(fields.dtype, pl.Duration):
        return fields.dt.total_microseconds().cast(pl.Float64) / 1e6
    if text:
        return _numbers(fields, column.format or ".")
    if fields.dtype.is_numeric() or fields.dtype in (pl.Boolean, pl.Null):
        values = fields.cast(pl.Float64)
        return values.fill_nan(None)
    return pl.repeat(None, len(fields), dtype=pl.Float64, eager=True)


def level_names(fields: pl.Series) -> pl.Series:
    """Classes as text: a number has one name, however it is written; null for missing ones."""
    if fields.dtype == pl.Boolean:
        return fields.cast(pl.String)
    if fields.dtype.is_numeric():
        numbers = fields.cast(pl.Float64).fill_nan(None)
    else:
        text = fields.cast(pl.String, strict=False).str.strip_chars()
        text = text.set(text.str.to_lowercase().is_in(MISSING_WORDS), None)
        numbers = text.cast(pl.Float64, strict=False)
        if numbers.null_count() > text.null_count():
            return text
    whole = (numbers == numbers.round()) & (numbers.abs() < 2**53)
    frame = pl.DataFrame({"number": numbers, "whole": whole})
    name = pl.when("whole").then(pl.col("number").cast(pl.Int64, strict=False).cast(pl.String))
    return frame.select(name.otherwise(pl.col("number").cast(pl.String))).to_series()


def as_text(fields: pl.Series) -> pl.Series:
    """Levels; null where a type has no text."""
    if isinstance(fields.dtype, pl.List | pl.Array | pl.Struct | pl.Object | pl.Binary):
        return pl.repeat(None, len(fields), dtype=pl.String, eager=True)
    return level_names(fields)


def _numbers(text: pl.Series, decimal: str) -> pl.Series:
    if decimal == ".":
        plain = plain_numbers(text)
        if plain.null_count() == text.null_count():
            return plain
    groups = _groups(text, decimal)
    sign = groups["1"].fill_null("") + groups["3"].fill_null("")
    digits = groups["4"].str.replace_all(r"['\s.]" if decimal == "," else r"['\s,]", "")
    return (sign + digits.str.replace(",", ".", literal=True)).cast(pl.Float64, strict=False)


def plain_numbers(text: pl.Series) -> pl.Series:
    """Numbers as programs write them, with words for infinity."""
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers.fill_nan(None)
    lower = text.str.strip_chars().str.to_lowercase()
    again = lower.cast(pl.Float64, strict=False)
    infinite = lower.str.contains(INFINITY)
    frame = pl.DataFrame({"n": again, "i": infinite, "low": lower.str.starts_with("-")})
    signed = pl.when("low").then(float("-inf")).otherwise(float("inf"))
    return frame.select(pl.when("i").then(signed).otherwise("n").fill_nan(None)).to_series()


def _groups(text: pl.Series, decimal: str) -> Any:
    """Signs, currency, digits and unit of numbers, see `WRITTEN`; a frame of texts."""
    for sign, plain in TYPOGRAPHIC.items():
        text = text.str.replace_all(sign, plain, literal=True)
    return text.str.extract_groups(WRITTEN[decimal]).struct.unnest()


def units(text: pl.Series, decimal: str) -> list[str]:
    """The distinct currencies and units of numbers; all numbers must have one or none."""
    groups = _groups(text, decimal)
    found = pl.concat([groups["2"], groups["5"]]).drop_nulls().unique(maintain_order=True)
    return [unit for unit in found.to_list() if unit]


def styles(text: pl.Series) -> list[str]:
    """The decimal signs with which all fields are numbers of the same unit."""
    known = text.drop_nulls()
    return [
        sign
        for sign in WRITTEN
        if not _groups(known, sign)["4"].null_count() and len(units(known, sign)) < 2
    ]


def table_decimal(fields: Iterable[pl.Series]) -> str | None:
    """The decimal sign that a column of the table is certain to have; None if there is none."""
    texts = (text for text in fields if is_text(text))
    found = [styles(text) for text in texts if text.str.contains(",", literal=True).any()]
    return next((sign for sign in (",", ".") if [sign] in found), None)


def _dates(fields: pl.Series, form: str) -> pl.Series:
    if fields.dtype == pl.Time:
        return (
            pl.DataFrame({"t": fields})
            .select(pl.date(1970, 1, 1).dt.combine(pl.col("t")))
            .to_series()
        )
    if fields.dtype.is_temporal() and not isinstance(fields.dtype, pl.Duration):
        if isinstance(fields.dtype, pl.Datetime):
            fields = fields.dt.replace_time_zone(None)
        return fields.cast(pl.Datetime("us"))
    text = _date_text(as_text(fields), form)
    if not form:
        return pl.repeat(None, len(fields), dtype=pl.Datetime("us"), eager=True)
    form = f"{form}-%d" if form == "%Y-%m" else form
    return text.str.to_datetime(form, strict=False, time_unit="us")


def _date_text(text: pl.Series, form: str) -> pl.Series:
    text = text.str.replace(r"(\d)T(\d)", "$1 $2")
    text = text.str.replace(r"(:\d\d(?:\.\d+)?)\s*(?:Z|UTC|[+-]\d\d:?\d\d)$", "$1")
    if form in TIMES_ALONE and not text.str.contains(r"^\d{4}-\d").any():
        text = EPOCH + " " + text
    return text + "-01" if form == "%Y-%m" else text


def date_formats(text: pl.Series) -> list[str]:
    """The formats in which all fields are dates or times; two of them if day and month differ."""
    known = text.drop_nulls()
    if not len(known) or not LIKE_A_DATE.match(str(known[0])):
        return []
    found = list(FORMATS)
    for part in (known.head(1), known.head(SAMPLE), known):
        dates = {form: _dates(part, form) for form in found}
        # Years have two or four digits, as a format says.
        early = pl.Series([datetime(1000, 1, 1)])
        found = [
            form
            for form, values in dates.items()
            if not values.null_count()
            and (part.str.contains(TWO_DIGITS) if "%y" in form else values >= early).all()
        ]
    first = {form: _dates(known, form) for form in found}
    kept: list[str] = []
    for form, values in first.items():
        if not any(values.equals(first[other]) for other in kept):
            kept.append(form)
    return kept


def nearly_dates(text: pl.Series, share: float) -> str:
    """The format in which such a share of the fields are dates or times; empty if there is none."""
    known = text.drop_nulls().head(SAMPLE)
    alike = known.str.contains(f"^(?:{LIKE_A_DATE.pattern})")
    if alike.sum() < max(1, share * len(known)):
        return ""
    for form in FORMATS:
        found = _dates(known, form).drop_nulls()
        if len(found) >= max(1, share * len(known)) and (found.dt.year() >= 1000).all():
            return form
    return ""
