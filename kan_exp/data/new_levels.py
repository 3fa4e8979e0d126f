"""Levels of categories that were not there in training, where outputs of a network are guesses."""

from __future__ import annotations

from kan_exp.data.schema import Schema
from kan_exp.lazy import polars as pl
from kan_exp.runs.printable import counted

MAX_SHOWN = 3  # levels in a line


class NewLevels:
    """Counts the rows with levels that were not there in training, a part of them at a time.

    Args:
        schema: Of the columns.
    """

    def __init__(self, schema: Schema) -> None:
        self.columns = [column for column in schema.inputs if column.levels]
        self.counts = {column.name: 0 for column in self.columns}  # of rows
        self.examples: dict[str, list[str]] = {column.name: [] for column in self.columns}

    def add(self, frame: pl.DataFrame) -> None:
        """Adds rows of all columns of the schema."""
        for column in self.columns:
            values = frame[column.name]
            new = values.filter(~values.is_in([*column.levels, *column.rare]))
            self.counts[column.name] += len(new)
            shown = self.examples[column.name]
            if len(new) and len(shown) <= MAX_SHOWN:  # one more shows that there are others
                levels = new.filter(~new.is_in(shown)).unique(maintain_order=True)
                shown += levels.head(MAX_SHOWN + 1 - len(shown)).to_list()

    def lines(self) -> list[str]:
        """A line for each column that has some."""
        lines = []
        for name, count in self.counts.items():
            if not count:
                continue
            names = ", ".join(map(repr, self.examples[name][:MAX_SHOWN]))
            more = ", ..." if len(self.examples[name]) > MAX_SHOWN else ""
            lines.append(
                f"column {name!r} has levels in {counted(count, 'row')} that are not in the "
                f"training rows ({names}{more}): their predictions are guesses."
            )
        return lines


def new_levels(schema: Schema, frame: pl.DataFrame) -> list[str]:
    """A line for each column with levels in these rows that were not there in training."""
    found = NewLevels(schema)
    found.add(frame)
    return found.lines()
