"""Outputs that are classes: recognized, named, and checked; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from kan_exp.data.columns import FALSE, TRUE, shown
from kan_exp.data.fields import level_names
from kan_exp.data.schema import MAX_LEVELS, Column, Schema
from kan_exp.data.table_file import TableFile, are_numbers
from kan_exp.errors import KanExpError, listing
from kan_exp.lazy import polars as pl

if TYPE_CHECKING:
    from kan_exp.data.table import Table

MAX_FEW = 10  # different whole numbers that are taken for classes
REPEATS = 5  # rows of each of them, on average


def sorted_levels(names: Iterable[str]) -> tuple[str, ...]:
    """Numbers by their size, other texts by their letters."""
    levels = sorted({*names})
    try:
        return tuple(sorted(levels, key=float))
    except ValueError:
        return tuple(levels)


def with_outputs(table: Table, classes: bool | None, option: str = "data.target") -> Table:
    """A table whose output is a class, or whose outputs are numbers.

    Args:
        table: Outputs that are text are classes, all others numbers.
        classes: What is wanted; if `None`, few whole numbers become classes, too.
        option: The name of the option that names the output.

    Raises:
        KanExpError: They cannot be, such as dates; or a class is the only one.
    """
    outputs = table.schema.outputs
    if dates := [column.name for column in outputs if column.kind == "date"]:
        raise KanExpError(
            f"{table.source}: column {shown(dates[0])} holds dates, which cannot be predicted: "
            f"choose another {option}, or write them as numbers of days."
        )
    if len(outputs) != 1:
        if classes:
            raise KanExpError(
                f"{table.source}: task=classification takes one target, got {len(outputs)}: set "
                f"{option} to one of them, or task=regression"
            )
        for column in outputs:
            if column.kind == "class":
                advice = f"set {option} to one of them"
                raise _no_number(table, column, "several targets must be numbers", advice)
        return table
    (column,) = outputs
    if classes is None:
        classes = column.kind == "class" or (
            not column.scale and _are_few(table.frame[column.name])
        )
    if not classes:
        return _as_number(table, column) if column.kind == "class" else table
    names = level_names(table.frame[column.name])
    levels = sorted_levels(names.drop_nulls())
    said = f"{table.source}: column {shown(column.name)}"
    if len(levels) < 2:
        raise KanExpError(
            f"{said} has one class only, {shown(levels[0])}: choose another {option}."
        )
    if len(levels) > max(MAX_FEW, min(MAX_LEVELS, table.rows // 2)):
        number = column.kind != "class"
        cure = "set task=regression" if number else f"choose another {option}."
        what = "numbers" if number else "texts"
        raise KanExpError(
            f"{said} has {len(levels):,} different {what} in {table.rows:,} rows, too many for "
            f"classes: {cure}"
        )
    column = replace(column, kind="class", levels=levels, scale="")
    frame = table.frame.with_columns(names.alias(column.name))
    return replace(table, schema=replace(table.schema, outputs=(column,)), frame=frame)


def note_on_classes(schema: Schema) -> str:
    """A line about recognized classes, with the option to change."""
    (column,) = schema.outputs
    count = f"{len(column.levels)} classes ({listing(map(shown, column.levels), most=4)})"
    numbers = are_numbers(column.levels)
    other = "; task=regression treats them as numbers" if numbers else ""
    return f"target {shown(column.name)} has {count}: task=classification{other}"


def check_known(table: Table, file: TableFile) -> None:
    """Raises a `KanExpError` if a class of a table is none of its schema's.

    `file` has all rows of the table, and names them.
    """
    for column in table.schema.outputs:
        if column.kind == "class":
            values = table.frame[column.name]
            rows = (~values.is_in(list(column.levels))).arg_true()
            if len(rows):
                row = int(rows[0])
                raise KanExpError(
                    f"column {shown(column.name)} has {shown(values[row])} in "
                    f"{file.row_name(row)} of {file.source}, a class that training did not see; "
                    f"known are {listing(map(shown, column.levels))}."
                )


def _are_few(values: pl.Series) -> bool:
    """Whether numbers are whole and of few values, each with many rows."""
    count = values.n_unique()
    whole = bool((values == values.round()).all())
    return whole and 1 < count <= MAX_FEW and REPEATS * count <= len(values)


def _as_number(table: Table, column: Column) -> Table:
    names = table.frame[column.name]
    lower = names.str.to_lowercase()
    for yes, no in zip(TRUE[:2], FALSE[:2], strict=True):
        if {*lower.unique()} <= {yes, no}:
            frame = table.frame.with_columns((lower == yes).cast(float).alias(column.name))
            schema = replace(table.schema, outputs=(Column(column.name, "boolean"),))
            return replace(table, schema=schema, frame=frame)
    raise _no_number(table, column, "the task needs numbers", "set task=classification")


def _no_number(table: Table, column: Column, rule: str, advice: str) -> KanExpError:
    field = table.frame[column.name][0]
    return KanExpError(
        f"{table.source}: {rule}, but the target {shown(column.name)} is text, such as "
        f"{shown(field)}: {advice}"
    )
