"""Columns of numbers from text: CSV and its kin, with the line of every fault."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kan_exp.data.columns import ColumnReader, FloatArray, shown

SEPARATORS = (",", ";", "|", "\t")
MISSING_CELLS = {"", "?", "-", "na", "n/a", "#n/a", "nan", "null", "none"}
BOOLEAN_CELLS = {"true": 1.0, "false": 0.0}

Words = dict[int, tuple[int, str]]  # column -> row and text of its first true or false


class CsvReader(ColumnReader):
    """Text with a header line; the standard library's parser knows the line of every record."""

    def __init__(self, path: Path, source: str, separator: str) -> None:
        self.separator = separator
        self._lines = array("q")
        super().__init__(path, source)

    def _place(self, row: int) -> str:
        return f"row {row + 1} (line {self._lines[row]})"

    def _names(self) -> Sequence[str]:
        records = self._records()
        _, header = next(records, (0, []))
        if len(header) == 1:
            first = self.separator.join(next(records, (0, [""]))[1])
            for other in SEPARATORS:
                if 0 < header[0].count(other) == first.count(other):
                    option = other.replace("\t", "\\t")
                    raise self.error(
                        f"has one column, {shown(header[0])}: if its separator is {other!r}, "
                        f"add 'data.separator=\"{option}\"'."
                    )
        return header

    def _numbers(self, columns: Sequence[int]) -> FloatArray:
        self._lines = array("q")
        width = len(self.names)
        values = array("d")
        boolean: Words = {}
        records = self._records()
        next(records)
        for row, (line, cells) in enumerate(records):
            self._lines.append(line)
            if len(cells) != width:
                raise self.error(
                    f"{self._place(row)} has {len(cells)} cells, but the header names {width} "
                    "columns: mend that line, or quote cells that hold the separator."
                )
            chosen = [cells[column] for column in columns]
            try:
                numbers = list(map(float, chosen))
            except ValueError:
                numbers = [
                    self._number(*pair, row, boolean) for pair in zip(columns, chosen, strict=True)
                ]
            if "_" in "".join(chosen):  # Python reads '2024_01' as the number 202401
                at = next(at for at, cell in enumerate(chosen) if "_" in cell)
                raise self.no_number(columns[at], row, chosen[at])
            values.extend(numbers)
        table = np.array(values, dtype=np.float64).reshape(-1, len(columns))
        for column, (row, cell) in boolean.items():
            found = table[:, list(columns).index(column)]
            if not np.isin(found[~np.isnan(found)], (0.0, 1.0)).all():
                raise self.no_number(column, row, cell)
        return table

    def _number(self, column: int, cell: str, row: int, boolean: Words) -> float:
        word = cell.strip().lower()
        if word in BOOLEAN_CELLS:
            boolean.setdefault(column, (row, cell))
            return BOOLEAN_CELLS[word]
        if word in MISSING_CELLS:
            return float("nan")
        try:
            return float(cell)
        except ValueError:
            raise self.no_number(column, row, cell) from None

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """First line and cells of every record, header first; blank lines are passed over.

        In a table of one column a blank cell is a missing value, and only an empty line is blank.
        """
        line = width = 0
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(
                    file, delimiter=self.separator, strict=True, skipinitialspace=True
                )
                for cells in reader:
                    if len(cells) > 1 or "".join(cells).strip() or (cells and width == 1):
                        width = width or len(cells)
                        yield line + 1, cells
                    line = reader.line_num
        except UnicodeDecodeError:
            raise self.error("is not UTF-8 text: save it as UTF-8 CSV.") from None
        except (csv.Error, OSError) as error:
            raise self.error(f"cannot be read from line {line + 1} on ({error}).") from None
