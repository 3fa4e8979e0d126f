"""Lines about columns: how they are taken, values that may stand for gaps, long tails."""

from __future__ import annotations

import numpy as np

from kan_exp.data.columns import FloatArray, shown
from kan_exp.data.options import assign, assign_words
from kan_exp.data.schema import PARTS, Column, Schema
from kan_exp.lazy import polars as pl
from kan_exp.runs.printable import counted

# What people write where nothing was measured.
CODES = {-1.0, -9.0, *(sign * (10.0**n - 1) for n in range(2, 8) for sign in (1, -1))}
CODES |= {-99.9, -999.9, -9999.9}
MIN_ROWS = 30  # that show the shape of a distribution
SKEW = 2.0
MAX_NAMED = 3
MAX_KINDS = 12  # of columns in a line


def column_notes(schema: Schema, frame: pl.DataFrame) -> list[str]:
    """Advice on columns of numbers: values that may stand for gaps, and long tails."""
    codes, tails, lines = [], [], []
    for column in (*schema.inputs, *schema.outputs):
        if column.kind != "number":
            continue
        values = frame[column.name].drop_nulls().to_numpy()
        ends = [float(values.min()), float(values.max())] if len(values) else []
        found = [code for code in ends if is_code(values, code)]
        for code in found:
            rest, count = values[values != code], int((values == code).sum())
            codes.append(f"{code:g}")
            lines.append(
                f"column {shown(column.name)} has {code:g} in {counted(count, 'row')}, "
                f"far from the others ({rest.min():g} to {rest.max():g}): if that stands for "
                f"missing values, set data.missing=impute "
            )
        if not column.scale and not found and has_long_tail(values):
            tails.append(column.name)
    words = assign_words([*schema.missing_values, *dict.fromkeys(codes)])
    lines = [f"{line}{words}" for line in lines[:MAX_NAMED]]
    if tails:
        named = ", ".join(map(shown, tails[:MAX_NAMED]))
        typed = assign("data.scale", dict.fromkeys(tails[:MAX_NAMED], "log"))
        many = "s" if len(tails) > 1 else ""
        lines.append(f"long tail{many} in {named}: a logarithmic scale may suit: set {typed}")
    return lines


def how_taken(schema: Schema, frame: pl.DataFrame) -> list[str]:
    """A line about columns that are not taken as numbers as they are; none if all are."""
    said: dict[str, list[str]] = {}
    for column in (*schema.inputs, *schema.outputs):
        if column.kind != "class" and (text := _how_taken(column, frame[column.name])):
            said.setdefault(text, []).append(column.name)
    lines = [f"{', '.join(names)}: {text}" for text, names in said.items()]
    more = f"; {len(lines) - MAX_KINDS:,} more kinds" if len(lines) > MAX_KINDS else ""
    return [f"columns: {'; '.join(lines[:MAX_KINDS])}{more}"] if lines else []


def _how_taken(column: Column, values: pl.Series) -> str:
    said = []
    if column.kind == "category":
        said.append(f"category of {len(column.levels) + len(column.rare)}")
        if column.rare:
            said.append(
                f"{len(column.rare)} rare levels {'as one' if column.other else 'left out'}"
            )
    elif column.kind == "date":
        parts = (part for part, features in PARTS.items() if {*features} & {*column.parts})
        said.append(f"date -> {', '.join(parts)}")
    elif column.kind == "boolean":
        said.append("yes is 1, no is 0")
    elif column.unit or column.format:
        signs = [column.unit] if column.unit else ["thousands separators"] * (column.format == ".")
        signs += ["decimal comma"] * (column.format == ",")
        said.append(f"numbers with {' and '.join(signs)}")
    said += [f"{column.scale} scale"] * bool(column.scale)
    if column.impute and (gaps := values.null_count()):
        said.append(f"{counted(gaps, 'gap')} filled")
    return ", ".join(said)


def is_code(values: FloatArray, code: float) -> bool:
    """Whether a number stands for missing values: a usual code, farther out than others spread."""
    rest = values[values != code]
    if code not in CODES or len(rest) < 2:
        return False
    low, high = rest.min(), rest.max()
    return bool(low < high and max(low - code, code - high) > high - low)


def has_long_tail(values: FloatArray) -> bool:
    """Whether positive numbers are skewed, and their logarithms are not."""
    if len(values) < MIN_ROWS or values.min() <= 0 or _skew(values) < SKEW:
        return False
    return abs(_skew(np.log(values))) < SKEW / 2 and len(np.unique(values)) >= MIN_ROWS / 2


def _skew(values: FloatArray) -> float:
    centered = values - values.mean()
    spread = centered.std()
    return float(((centered / spread) ** 3).mean()) if spread > 0 else 0.0
