"""Recognizes what a column of a table holds, and reads its fields as that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as fields_of
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from kan_exp.data import columns
from kan_exp.data.classes import level_names
from kan_exp.data.columns import INFINITY, MISSING_WORDS, NAN, by_column, shown, tidy
from kan_exp.data.schema import MAX_LEVELS, SCALES, Column
from kan_exp.data.table_file import are_numbers
from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from polars import Series

TRUE, FALSE = ("true", "yes", "y", "t", "on", "1"), ("false", "no", "n", "f", "off", "0")
DIGITS = FALSE[-1] + TRUE[-1]
CHOICES = ("number", "boolean", "category", "date")  # kinds that an option may name
GAPS = ("error", "impute", "drop")
MAX_WORDS = 3  # texts of a column that may stand for missing values
NEARLY_ALL = 0.9  # of the fields are numbers: others are faults rather than levels
MAX_WORD = 40  # characters of such a text
MANY = 20  # different numbers in a column, whose other fields are then no levels
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
EPOCH = "1970-01-01"  # the day of times without one
LIKE_A_DATE = re.compile(r"\d{1,4}[-/. ]\w{1,9}[-/., ]|\d{4}-\d\d$|[A-Za-z]{3,9} \d|\d?\d:\d\d")
TWO_DIGITS = r"[./-]\d\d(\s|$)"
SAMPLE = 1000  # fields that formats of dates are tried on first


@dataclass(frozen=True)
class Treatment:
    """Options that say how the columns of a table are read.

    Attributes:
        drop: Columns to leave out.
        missing: What happens to gaps: `error`, `impute` or `drop` (of rows).
        missing_values: Texts and numbers that stand for gaps, too.
        kinds: Kinds of columns that are not to be recognized, one of `CHOICES` or a format of
            `strptime` for dates.
        scale: Names in `SCALES` for columns of numbers.
        decimal: The decimal sign; None where it is recognized.
    """

    drop: tuple[str, ...] = ()
    missing: str = "error"
    missing_values: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, str] = field(default_factory=dict)
    decimal: str | None = None

    @classmethod
    def of(
        cls,
        drop: object = None,
        missing: object = None,
        missing_values: object = None,
        kinds: object = None,
        scale: object = None,
        decimal: object = None,
    ) -> Treatment:
        """Checks the options, of which `None` means the usual.

        Raises:
            KanExpError: One has no such value.
        """
        known = {"missing": ("error", missing, GAPS), "decimal": (None, decimal, (".", ","))}
        for name, (usual, value, allowed) in known.items():
            if value not in (usual, None, *allowed):
                raise KanExpError(f"data.{name} must be {' or '.join(allowed)}, got {value!r}.")
        kinds, scale = _mapping("kinds", kinds), _mapping("scale", scale)
        for name, kind in kinds.items():
            if kind not in CHOICES and "%" not in kind:
                raise KanExpError(
                    f"data.kinds: column {shown(name)} must be one of {listing(CHOICES)}, or a "
                    f"format of dates such as %d.%m.%Y, got {kind!r}."
                )
        for name, function in scale.items():
            if function not in SCALES:
                raise KanExpError(
                    f"data.scale: column {shown(name)} must be one of {listing(SCALES)}, got "
                    f"{function!r}."
                )
        words = tuple(str(value).strip() for value in _list(missing_values))
        names = tuple(map(tidy, _list(drop)))
        sign = None if decimal is None else str(decimal)
        return cls(names, str(missing or "error"), words, kinds, scale, sign)


def take_treatment(options: Mapping[str, Any]) -> tuple[Treatment, dict[str, Any]]:
    """The options of a `Treatment` among others, and the others."""
    own = {one.name for one in fields_of(Treatment)}
    treatment = Treatment.of(**{name: options[name] for name in own & options.keys()})
    return treatment, {name: value for name, value in options.items() if name not in own}


def _list(value: object) -> Sequence[object]:
    """A list, which one value may stand for."""
    if value is None:
        return ()
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _mapping(name: str, value: object) -> dict[str, str]:
    """An option `{column: word}`, see `by_column`."""
    words = by_column(value or {}, f"data.{name}")
    if not isinstance(words, Mapping):
        raise KanExpError(
            f"data.{name} must name columns, such as {{price: "
            f"{'log' if name == 'scale' else 'category'}}}, got {shown(value)}."
        )
    return {column: tidy(word) for column, word in words.items()}


class Found(NamedTuple):
    """A column as it was recognized.

    Attributes:
        column: What it is.
        values: Its fields, see `Column.fit`.
        fault: Why it cannot be used, one of those in `kan_exp.data.columns`; empty if it can.
        rows: Where that shows, booleans.
        words: Values of an option that mend it.
        example: What shows it, if it is no field.
    """

    column: Column
    values: Series
    fault: str = ""
    rows: Series | None = None
    words: tuple[str, ...] = ()
    example: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether all fields are the same, or missing."""
        blank = self.column.kind == "category" and self.column.impute and self.values.null_count()
        return not self.fault and not blank and self.values.drop_nulls().n_unique() < 2


def without_words(fields: Series, words: Sequence[str] = ()) -> Series:
    """The fields without blanks around them; null where they stand for missing values.

    Args:
        fields: Of a column of any type.
        words: Which also stand for missing values.
    """
    import polars as pl

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


def read(column: Column, fields: Series) -> Series:
    """Reads fields as a column that is known; null where that is impossible.

    Args:
        column: What it is.
        fields: See `without_words`.

    Returns:
        Values as `Column.fit` takes them.
    """
    import polars as pl

    text = fields.dtype == pl.String
    if column.kind in ("category", "class"):
        return _as_text(fields)
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


def _as_text(fields: Series) -> Series:
    """Levels; null where a type has no text."""
    import polars as pl

    if isinstance(fields.dtype, pl.List | pl.Array | pl.Struct | pl.Object | pl.Binary):
        return pl.repeat(None, len(fields), dtype=pl.String, eager=True)
    return level_names(fields)


def _numbers(text: Series, decimal: str) -> Series:
    import polars as pl

    if decimal == ".":
        plain = _plain(text)
        if plain.null_count() == text.null_count():
            return plain
    groups = _groups(text, decimal)
    sign = groups["1"].fill_null("") + groups["3"].fill_null("")
    digits = groups["4"].str.replace_all(r"['\s.]" if decimal == "," else r"['\s,]", "")
    return (sign + digits.str.replace(",", ".", literal=True)).cast(pl.Float64, strict=False)


def _plain(text: Series) -> Series:
    """Numbers as programs write them, with words for infinity."""
    import polars as pl

    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers.fill_nan(None)
    lower = text.str.strip_chars().str.to_lowercase()
    again = lower.cast(pl.Float64, strict=False)
    infinite = lower.str.contains(INFINITY)
    frame = pl.DataFrame({"n": again, "i": infinite, "low": lower.str.starts_with("-")})
    signed = pl.when("low").then(float("-inf")).otherwise(float("inf"))
    return frame.select(pl.when("i").then(signed).otherwise("n").fill_nan(None)).to_series()


def _groups(text: Series, decimal: str) -> Any:
    """Signs, currency, digits and unit of numbers, see `WRITTEN`; a frame of texts."""
    for sign, plain in TYPOGRAPHIC.items():
        text = text.str.replace_all(sign, plain, literal=True)
    return text.str.extract_groups(WRITTEN[decimal]).struct.unnest()


def units(text: Series, decimal: str) -> list[str]:
    """What stands in front of and behind numbers, each once; no number has none."""
    import polars as pl

    groups = _groups(text, decimal)
    found = pl.concat([groups["2"], groups["5"]]).drop_nulls().unique(maintain_order=True)
    return [unit for unit in found.to_list() if unit]


def styles(text: Series) -> list[str]:
    """The decimal signs with which all fields are numbers of the same unit."""
    known = text.drop_nulls()
    return [
        sign
        for sign in WRITTEN
        if not _groups(known, sign)["4"].null_count() and len(units(known, sign)) < 2
    ]


def table_decimal(fields: Iterable[Series]) -> str | None:
    """The decimal sign that a column of the table is certain to have; None if there is none."""
    texts = (text for text in fields if _is_text(text))
    found = [styles(text) for text in texts if text.str.contains(",", literal=True).any()]
    return next((sign for sign in (",", ".") if [sign] in found), None)


def _dates(fields: Series, form: str) -> Series:
    import polars as pl

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
    text = _date_text(_as_text(fields), form)
    if not form:
        return pl.repeat(None, len(fields), dtype=pl.Datetime("us"), eager=True)
    return text.str.to_datetime(_with_day(form), strict=False, time_unit="us")


def _with_day(form: str) -> str:
    return f"{form}-%d" if form == "%Y-%m" else form


def _date_text(text: Series, form: str) -> Series:
    text = text.str.replace(r"(\d)T(\d)", "$1 $2")
    text = text.str.replace(r"(:\d\d(?:\.\d+)?)\s*(?:Z|UTC|[+-]\d\d:?\d\d)$", "$1")
    if form in TIMES_ALONE and not text.str.contains(r"^\d{4}-\d").any():
        text = EPOCH + " " + text
    return text + "-01" if form == "%Y-%m" else text


def date_formats(text: Series) -> list[str]:
    """The formats in which all fields are dates or times; two of them if day and month differ."""
    import polars as pl

    known = text.drop_nulls()
    if not len(known) or not LIKE_A_DATE.match(str(known[0])):
        return []
    found = [f"{day}{time}" for day in DAYS for time in TIMES]
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


def recognize(
    name: str, fields: Series, treatment: Treatment, decimal: str | None, is_target: bool = False
) -> Found:
    """Recognizes one column.

    Args:
        name: Of the column.
        fields: See `without_words`.
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
    return Found(column, read(column, fields), fault, fields.is_not_null(), words)


def _kind_of(column: Column, kind: str, fields: Series, decimal: str | None) -> tuple[Column, str]:
    """What a column is, by the option that says so or by its fields, and why it can be nothing."""
    import polars as pl

    is_time = fields.dtype.is_temporal() and not isinstance(fields.dtype, pl.Duration)
    if "%" in kind:
        return replace(column, kind="date", format=kind), ""
    if kind == "date" or (is_time and not kind):
        forms = [""] if is_time else date_formats(_as_text(fields))
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


def adapt(column: Column, fields: Series) -> Found:
    """Reads fields as a column of a trained network, however they are written.

    Args:
        column: Of the network.
        fields: See `without_words`.
    """
    written = column
    if _is_text(fields):
        if column.kind == "number":
            plain = replace(column, format="", unit="")
            written, _ = _number_style(plain, fields, column.format or ".")
            if written.unit and column.unit and written.unit != column.unit:
                example = f"{shown(written.unit)}, trained on {shown(column.unit)}"
                return Found(column, fields, columns.UNITS, None, (), example)
        elif column.kind == "date" and read(column, fields).null_count() > fields.null_count():
            forms = date_formats(fields)
            written = replace(column, format=forms[0]) if len(forms) == 1 else column
    return _checked(column, fields, written)


def _is_text(fields: Series) -> bool:
    import polars as pl

    return fields.dtype == pl.String


def _checked(column: Column, fields: Series, written: Column | None = None) -> Found:
    """Reads fields and checks what came of them."""
    values = read(written or column, fields)
    bad = values.is_null() & fields.is_not_null()
    if bad.any():
        words = fields.filter(bad).unique(maintain_order=True).head(MAX_WORDS + 1)
        texts = tuple(map(str, words.to_list()))
        if len(texts) > MAX_WORDS or any(len(t) > MAX_WORD or not t.isprintable() for t in texts):
            texts = ()
        kind = columns.TEXT if _is_text(fields) else columns.OTHER
        return Found(column, values, kind, bad, texts if kind == columns.TEXT else ())
    if column.kind == "number" and (infinite := values.is_infinite().fill_null(False)).any():
        signs = tuple(str(value) for value in values.filter(infinite).unique().to_list())
        return Found(column, values, columns.INFINITE, infinite, signs)
    if column.scale and column.kind == "number" and (low := _below_scale(column, values)).any():
        other = replace(column, scale="log1p")
        scales = () if _below_scale(other, values).any() else (other.scale,)
        return Found(column, values, columns.SCALE, low, scales)
    return Found(column, values)


def _below_scale(column: Column, values: Series) -> Series:
    """Where numbers have no logarithm."""
    low = values <= (0 if column.scale == "log" else -1)
    return low.fill_null(False)


def _of_text(column: Column, fields: Series, decimal: str | None) -> tuple[Column, str]:
    """What a column of text is, and why it can be nothing."""
    known = fields.drop_nulls()
    if _plain(known).null_count() == 0:
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
    numbers = _plain(known).drop_nulls()
    share = len(numbers) / len(known) if len(known) else 0.0
    many = numbers.n_unique() > MANY or 2 * levels > len(known)
    if share >= NEARLY_ALL or (share >= 0.5 and many):
        return column, ""  # whose other fields are faults
    if levels > max(2, min(MAX_LEVELS, len(known) / 2)):
        return replace(column, kind="category"), columns.NAMES
    return replace(column, kind="category"), ""


def _number_style(column: Column, fields: Series, decimal: str | None) -> tuple[Column, str]:
    """The decimal sign and the unit of a column of numbers, and whether the sign is unclear."""
    known = fields.drop_nulls()
    plain = not _plain(known).null_count()
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
