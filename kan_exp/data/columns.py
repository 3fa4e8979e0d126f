"""Interface of table files: column names, numbers, and faults with their place."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.errors import KanExpError, closest, listing
from kan_exp.quoting import quoted, shell

FloatArray = NDArray[np.float64]

TEXT, DATES, COMMAS, UNITS = "text", "dates or times", "numbers with commas", "numbers with units"
OTHER, MISSING, INFINITE = "values that are no numbers", "missing cells", "infinite values"

_NUMBER = r"[+-]?\d[\d.,' _]*"
CELLS = (
    (COMMAS, re.compile(r"[+-]?\d[\d.]*,[\d,.]*\d(e[+-]?\d+)?", re.IGNORECASE)),
    (DATES, re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2}.*)?")),
    (UNITS, re.compile(rf"([^\w\s]|[A-Z]{{3}}\b)?\s*{_NUMBER}\s*[^\d]{{0,12}}")),
)


def tidy(name: object) -> str:
    """A column's name as a user can type it: blanks and control characters become one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())


def shown(value: object, most: int = 40) -> str:
    """A cell or a name, quoted, on one line and cut short: what an error can hold."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


def new_name(name: str) -> str:
    """This name, numbered if there is such a file in the current folder."""
    path, number = Path(name), 1
    while Path(name).exists():
        number += 1
        name = f"{path.stem}{number}{path.suffix}"
    return name


class Fault(NamedTuple):
    """Why a column cannot be used.

    Attributes:
        kind: What is wrong with it.
        name: Of the column.
        example: Where it shows first, and how often; empty where it concerns the whole column.
    """

    kind: str
    name: str
    example: str


class NoNumber(NamedTuple):
    """The first cell of a column that is no number, and how many of them there are."""

    row: int
    cell: object
    number: int
    type: str = ""


class ColumnReader(ABC):
    """An open table file: its columns and their numbers.

    Args:
        path: The file, which exists and is not empty.
        source: The file as the user named it: every error starts with it.
        options: What the command calls its options.

    Raises:
        KanExpError: The file cannot be read, or has no named column.
    """

    encoding = "utf-8"  # of a text file that is written from it

    def __init__(self, path: Path, source: str, options: Options = TRAINING) -> None:
        self.path = path
        self.source = source
        self.options = options
        self.names = tuple(map(tidy, self._names()))
        if not any(self.names):
            raise self.error("has no columns: a table with named columns is needed.")
        self._places: dict[str, list[int]] = {}
        for at, name in enumerate(self.names):
            self._places.setdefault(name, []).append(at)

    def places(self, name: str) -> list[int]:
        """Indices of the columns with this name."""
        return self._places.get(name, [])

    def read(self, names: Sequence[str]) -> tuple[FloatArray, list[Fault]]:
        """Reads existing columns, each name once; booleans count as 0 and 1.

        Returns:
            Values `(n, len(names))`, NaN where a cell is missing or no number, and why columns have
            values that are not finite.

        Raises:
            KanExpError: The file is damaged, or has no rows.
        """
        columns = [self.places(name)[0] for name in names]
        values, words = self._numbers(columns)
        if not len(values):
            raise self.error("has column names but no rows.")
        faults = []
        finite = np.isfinite(values)
        for at, (name, column) in enumerate(zip(names, columns, strict=True)):
            if (word := words.get(column)) is not None:
                also = f", one of {word.number:,}" if word.number > 1 else ""
                of = f" ({word.type})" if word.type else ""
                example = f"{shown(word.cell)}{of} in {self._place(word.row)}{also}"
                faults.append(Fault(kind_of(word.cell), name, example))
            elif not finite[:, at].all():
                row, number = int(finite[:, at].argmin()), int((~finite[:, at]).sum())
                kind = MISSING if np.isnan(values[row, at]) else INFINITE
                also = f"{number:,}, first in " if number > 1 else ""
                faults.append(Fault(kind, name, f"{also}{self._place(row)}"))
        return values, faults

    def error(self, message: str) -> KanExpError:
        return KanExpError(f"{self.source}: {message}")

    def unknown(self, names: Iterable[str], option: str | None) -> KanExpError:
        """The error for columns that the file lacks.

        Args:
            names: Of these columns.
            option: The option that names them; `None` where a trained network needs them.
        """
        names = list(names)
        known = [name for name in self.names if name]
        hint, meant = "", closest(names[0], known)
        if meant is not None:
            hint = f" Did you mean {shown(meant)}?"
            if option == self.options.target and quoted(meant) != meant:
                hint += f" Set {assign(option, meant)}"
        else:
            hint = self.without_header()
        many = "s" if len(names) > 1 else ""
        why = "the network needs" if option is None else f"{option} names"
        return self.error(
            f"has no column{many} {listing(map(shown, names))}, which {why}; "
            f"columns: {listing(map(shown, self.names))}.{hint}"
        )

    def without_header(self) -> str:
        """Advice for a file whose first line has numbers instead of names; empty for others."""
        if not all(map(_is_number, self.names)):
            return ""
        return " Its first line holds numbers: put a line with the names of columns above it."

    def _place(self, row: int) -> str:
        return f"row {row + 1}"

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """Column names in the order of the file."""

    @abstractmethod
    def _numbers(self, columns: Sequence[int]) -> tuple[FloatArray, dict[int, NoNumber]]:
        """Columns by their place.

        Returns:
            `(n, len(columns))`, with NaN where a cell is missing or no number, and by the place of
            a column the first cell that is no number.
        """

    @property
    def typed(self) -> str:
        """The file's name, quoted for a shell."""
        return shell(str(self.path))

    def new_name(self, word: str) -> str:
        """An unused name in the current folder for a changed copy of the file."""
        return new_name(f"{self.path.stem}_{word}{self.path.suffix}")

    def deletion(self, rows: Sequence[int], name: str) -> str | None:
        """A shell command that writes the table without these rows, if possible."""
        return None

    @abstractmethod
    def write(self, file: IO[str], separator: str, name: str, values: Sequence[str]) -> list[str]:
        """Writes the whole table as text, with one more column.

        Args:
            file: Open for text, without translation of newlines.
            separator: Of the cells.
            name: Of the added column.
            values: Of the added column, one for each row.

        Returns:
            Names of columns that text cannot hold, which are left out.
        """


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def kind_of(cell: object) -> str:
    """What a cell that is no number looks like."""
    if isinstance(cell, date | time | timedelta):
        return DATES
    if not isinstance(cell, str):
        return OTHER
    if not cell.strip().isprintable():  # a zero byte is no unit
        return TEXT
    return next((kind for kind, pattern in CELLS if pattern.fullmatch(cell.strip())), TEXT)
