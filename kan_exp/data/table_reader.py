"""What all kinds of table files share: column names, numbers, and faults with their place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from kan_exp.data.columns import (
    INFINITE,
    MISSING,
    Fault,
    FloatArray,
    Numbers,
    kind_of,
    new_name,
    rounded_number,
    shown,
    tidy,
    to_numbers,
)
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.errors import KanExpError, closest, listing
from kan_exp.quoting import quoted, shell

if TYPE_CHECKING:
    from polars import Series


class Content(NamedTuple):
    """Columns of a file.

    Attributes:
        values: `(n, columns)`, NaN where a field is missing or no number.
        faults: One for each column with values that are not finite.
        notes: One for each column with numbers that float64 rounds.
    """

    values: FloatArray
    faults: list[Fault]
    notes: list[str]


class TableReader(ABC):
    """An open table file.

    Args:
        path: The file, which exists and is not empty.
        source: The file as the user named it; every error starts with it.
        options: What the command calls its options.

    Raises:
        KanExpError: The file cannot be read, or has no named column.
    """

    encoding = "utf-8"  # of a text file that is written from it
    typed = True  # whether its columns have types, so that text is never a number

    def __init__(self, path: Path, source: str, options: Options = TRAINING) -> None:
        self.path, self.source, self.options = path, source, options
        self.names = tuple(map(tidy, self._names()))
        if not any(self.names):
            raise self.error("has no columns: a table with named columns is needed.")
        self._places: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            self._places.setdefault(name, []).append(place)

    def places(self, name: str) -> list[int]:
        """Indices of the columns with this name."""
        return self._places.get(name, [])

    def read(self, names: Sequence[str]) -> Content:
        """Reads columns as numbers; booleans count as 0 and 1.

        Raises:
            KanExpError: The file is damaged, or has no rows.
        """
        columns, faults, notes = [], [], []
        for name in names:
            fields, type_name = self._column(self.places(name)[0])
            if not len(fields):
                raise self.error("has column names but no rows.")
            numbers = to_numbers(fields, self.typed)
            columns.append(numbers.values)
            faults += self._faults(name, fields, type_name, numbers)
            if rounded := rounded_number(fields, numbers.values):
                notes.append(
                    f"column {shown(name)} has whole numbers beyond 2**53, which lose digits: "
                    f"{rounded}."
                )
        return Content(np.column_stack(columns), faults, notes)

    def _faults(self, name: str, fields: Series, type_name: str, numbers: Numbers) -> list[Fault]:
        if len(numbers.words):
            row, count = int(numbers.words[0]), len(numbers.words)
            (field,) = fields.gather([row]).to_list()
            kind = kind_of(field)
            example = f"{shown(field)}{type_name} in {self._place(row)}"
            example += f", one of {count:,}" if count > 1 else ""
        elif len(rows := np.flatnonzero(~np.isfinite(numbers.values))):
            kind = MISSING if np.isnan(numbers.values[rows[0]]) else INFINITE
            example = f"{len(rows):,}, first in " if len(rows) > 1 else ""
            example += self._place(int(rows[0]))
        else:
            return []
        return [Fault(kind, name, example)]

    def error(self, message: str) -> KanExpError:
        return KanExpError(f"{self.source}: {message}")

    def unknown(self, names: Sequence[str], option: str | None) -> KanExpError:
        """The error for columns that the file lacks.

        Args:
            names: Of these columns.
            option: The option that names them; `None` where a trained network needs them.
        """
        meant = closest(names[0], [name for name in self.names if name])
        if meant is None:
            hint = self.without_header()
        else:
            hint = f" Did you mean {shown(meant)}?"
            if option == self.options.target and quoted(meant) != meant:
                hint += f" Set {assign(option, meant)}"
        many = "s" if len(names) > 1 else ""
        why = "the network needs" if option is None else f"{option} names"
        return self.error(
            f"has no column{many} {listing(map(shown, names))}, which {why}; "
            f"columns: {listing(map(shown, self.names))}.{hint}"
        )

    def without_header(self) -> str:
        """Advice for a file whose first line has numbers instead of names; empty for others."""
        if not are_numbers(self.names):
            return ""
        return " Its first line holds numbers: put a line with the names of columns above it."

    @property
    def shell_path(self) -> str:
        """The file's name, quoted for a shell."""
        return shell(str(self.path))

    def copy_name(self, word: str) -> str:
        """An unused name in the current folder for a changed copy of the file."""
        return new_name(f"{self.path.stem}_{word}{self.path.suffix}")

    def deletion(self, rows: Sequence[int], name: str) -> str | None:
        """A shell command that writes the table without these rows, if there is one."""
        return None

    def _place(self, row: int) -> str:
        return f"row {row + 1}"

    @abstractmethod
    def _names(self) -> Iterable[str]:
        """Column names in the order of the file."""

    @abstractmethod
    def _column(self, place: int) -> tuple[Series, str]:
        """The fields of a column, and its type as messages show it; empty where it has none."""

    @abstractmethod
    def write(self, file: IO[str], separator: str, name: str, values: Sequence[str]) -> list[str]:
        """Writes the whole table as text, with one more column of that name.

        Args:
            file: Open for text, without translation of newlines.

        Returns:
            Names of columns that text cannot hold, which are left out.
        """


def are_numbers(fields: Iterable[str]) -> bool:
    """Whether all fields of text are numbers."""
    try:
        return all(float(field) is not None for field in fields)
    except ValueError:
        return False
