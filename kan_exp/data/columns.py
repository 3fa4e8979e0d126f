"""What a table's file promises, whatever its format: names, finite numbers, faults with a place."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kan_exp.errors import KanExpError

FloatArray = NDArray[np.float64]


def tidy(name: object) -> str:
    """A column's name as a user can type it: blanks and control characters become one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())


def shown(value: object, most: int = 40) -> str:
    """A cell or a name, quoted, on one line and cut short: what an error can hold."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


class ColumnReader(ABC):
    """One file, open to the question which columns it has and which numbers they hold.

    Args:
        path: The file, which exists and is not empty.
        source: The file as the user named it: every error starts with it.

    Raises:
        KanExpError: The file cannot be read, or two of its columns share a name.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source
        self.names = tuple(map(tidy, self._names()))
        if not any(self.names):
            raise self.error("has no columns: a table with named columns is needed.")
        self._index = {name: index for index, name in enumerate(self.names)}
        for name, count in Counter(self.names).items():
            if name and count > 1:
                raise self.error(f"has {count} columns named {shown(name)}: rename all but one.")

    def read(self, names: Sequence[str]) -> FloatArray:
        """The named columns, `(n, len(names))`, all finite; booleans count as 0 and 1.

        Raises:
            KanExpError: There are no rows, or a cell is missing, infinite or no number.
        """
        values = self._numbers([self._index[name] for name in names])
        if not len(values):
            raise self.error("has column names but no rows.")
        faulty = ~np.isfinite(values)
        if faulty.any():
            row, column = np.argwhere(faulty)[0]
            what = "is missing" if np.isnan(values[row, column]) else "is infinite"
            count = int(faulty.sum())
            also = f" (one of {count} such cells)" if count > 1 else ""
            raise self.error(
                f"column {shown(names[column])}, {self._place(row)} {what}{also}: fill it in, "
                "leave out the row, or choose other columns with data.features=[...]."
            )
        return values

    def error(self, message: str) -> KanExpError:
        return KanExpError(f"{self.source}: {message}")

    def no_number(self, column: int, row: int, cell: object, kind: str = "") -> KanExpError:
        hint = "leave it out with data.features=[...], or write numbers"
        if isinstance(cell, str) and re.fullmatch(r"[+-]?\d[\d.]*,[\d,]*\d", cell):
            hint = "write numbers with a decimal point and nothing between thousands"
        holds = f"holds {shown(cell)}{f' ({kind})' if kind else ''}, which is no number"
        name = shown(self.names[column])
        return self.error(f"column {name}, {self._place(row)} {holds}: {hint}.")

    def _place(self, row: int) -> str:
        return f"row {row + 1}"

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """Column names in the order of the file."""

    @abstractmethod
    def _numbers(self, columns: Sequence[int]) -> FloatArray:
        """Columns by their place, `(n, len(columns))`, with NaN where a cell is missing."""
