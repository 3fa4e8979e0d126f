"""Base class of table files: names of columns, the columns, and messages about them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from kan_exp.data.columns import shown, tidy
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.errors import KanExpError, closest, listing
from kan_exp.lazy import polars as pl
from kan_exp.quoting import quoted


class TableFile:
    """An open table file.

    A subclass defines `_read_header`, which also sets `columns` and `types`.

    Args:
        path: The file, which exists and is not empty.
        source: The file as the user named it; every error starts with it.
        options: What the command calls its options.

    Raises:
        KanExpError: The file cannot be read, or has no named column.
    """

    names: tuple[str, ...]  # as a user can type them
    columns: list[pl.Series]
    types: list[str]  # of the columns, for messages; empty if text is the only type
    notes: list[str]  # lines about how it was read
    encoding, line_end = "utf-8", "\n"  # of a text file that is written from it
    first_row = 0  # how many rows of the file come before those of a part

    def __init__(self, path: Path, source: str, options: Options = TRAINING) -> None:
        self.path, self.source, self.options = path, source, options
        self.notes = getattr(self, "notes", [])
        self.header = self._read_header()
        self.names = tuple(map(tidy, self.header))
        if not any(self.names):
            lack = "names of columns in its first line" if len(self.names) > 1 else "columns"
            raise self.error(f"has no {lack}: a table with named columns is needed.")
        self._places: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            self._places.setdefault(name, []).append(place)

    def _read_header(self) -> list[str]:
        raise NotImplementedError

    def places(self, name: str) -> list[int]:
        """Indices of the columns with this name."""
        return self._places.get(name, [])

    def row_name(self, row: int) -> str:
        return f"row {self.first_row + row + 1}"

    def error(self, message: str) -> KanExpError:
        return KanExpError(f"{self.source}: {message}")

    def unknown(self, names: Sequence[str], option: str | None) -> KanExpError:
        """The error for columns that the file lacks.

        `option` names them; it is None where a trained network needs them.
        """
        meant = closest(names[0], [name for name in self.names if name])
        hint = self.header_hint() if meant is None else f" Did you mean {shown(meant)}?"
        if meant is not None and option == self.options.target and quoted(meant) != meant:
            hint += f" Set {assign(option, meant)}"
        many = "s" if len(names) > 1 else ""
        why = "the network needs" if option is None else f"{option} names"
        return self.error(
            f"has no column{many} {listing(map(shown, names))}, which {why}; "
            f"columns: {listing(map(shown, self.names))}.{hint}"
        )

    def header_hint(self) -> str:
        """Advice for a file whose first line has numbers instead of names; empty for others."""
        if not are_numbers(self.names):
            return ""
        return " Its first line holds numbers: put a line with the names of columns above it."

    def write(
        self,
        file: IO[str],
        separator: str,
        added: Mapping[str, Sequence[str]],
        keep: Sequence[int] | None = None,
    ) -> list[str]:
        """Writes the rows as text, with more columns; below a header unless they are a later part.

        Args:
            file: Open for text, without translation of newlines.
            separator: Of the fields.
            added: Names and fields of these columns.
            keep: Places of the columns to write; all if not given.

        Returns:
            Names of columns that text cannot hold, which are left out.
        """
        wanted = range(len(self.names)) if keep is None else keep
        kept, left_out = {}, []
        for place in wanted:
            column = self.columns[place]
            if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
                left_out.append(self.names[place])
            else:
                kept[str(place)] = column
        header = [self.header[int(place)] for place in kept]
        if not self.first_row:
            writer = csv.writer(file, delimiter=separator, lineterminator=self.line_end)
            writer.writerow([*header, *added])
        more = {f"+{n}": pl.Series(v, dtype=pl.String) for n, v in added.items()}
        frame = pl.DataFrame(kept | {n: v.replace("", None) for n, v in more.items()})
        end = self.line_end
        file.write(frame.write_csv(separator=separator, line_terminator=end, include_header=False))
        return left_out


def are_numbers(fields: Iterable[str]) -> bool:
    """Whether all fields of text are numbers."""
    try:
        return all(float(field) is not None for field in fields)
    except ValueError:
        return False
