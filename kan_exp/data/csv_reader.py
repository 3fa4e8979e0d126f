"""Columns of numbers from text: CSV and its kin, with the line of every fault."""

from __future__ import annotations

import codecs
import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from kan_exp.data.columns import ColumnReader, FloatArray, NoNumber, shown, tidy
from kan_exp.data.encodings import marked_encoding, readings
from kan_exp.data.options import Options, assign
from kan_exp.quoting import shell

SEPARATORS = (",", ";", "|", "\t")
MISSING_CELLS = {"", "?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none"}
MISSING_CELLS |= {"#div/0!", "#value!", "#num!", "#ref!"}
BOOLEAN_CELLS = {"true": 1.0, "false": 0.0}
NAN = float("nan")
MAX_DELETED = 60  # rows that a message deletes
# What to do about the errors of the standard library's parser.
HINTS = {
    "expected after": ": double the quotes inside quoted cells",
    "unexpected end": ": close the quote that is opened there",
    "field limit": ": close the quote that is opened there, or shorten the cell",
}


class Record(NamedTuple):
    """A line of a table, or several where a quoted cell holds line breaks."""

    line: int
    cells: list[str]
    text: str
    last: int = 0


class CsvReader(ColumnReader):
    """Text with a header line; the standard library's parser knows the line of every record."""

    def __init__(self, path: Path, source: str, options: Options, separator: str) -> None:
        self.separator = separator
        self._lines, self._last_lines = array("q"), array("q")  # of each row
        with path.open("rb") as file:
            start = file.read(len(codecs.BOM_UTF8))
        self.encoding = "utf-8-sig" if start == codecs.BOM_UTF8 else "utf-8"
        self.path, self.source = path, source
        if marked_encoding(path):  # without a mark, UTF-16 may be valid UTF-8
            raise self.error(self._not_utf8())
        super().__init__(path, source, options)

    def _place(self, row: int) -> str:
        return f"row {row + 1}, line {self._lines[row]}"

    def _names(self) -> Sequence[str]:
        records = self._records()
        first = next(records, Record(0, [], ""))
        if first.text.lower().startswith("sep="):
            raise self.error(
                f"line 1 is no header but a note for spreadsheets ({shown(first.text.strip())}): "
                f"take it away: tail -n +2 {self.typed} > {shell(self.new_name('table'))}"
            )
        if len(first.cells) == 1:
            self._check_header(first, records)
        return first.cells

    def _check_header(self, header: Record, records: Iterator[Record]) -> None:
        """Refuses a header of one cell that is a title, or whose separator is another."""
        (text,) = header.cells
        second = next(records, Record(0, [""], ""))
        row = self.separator.join(second.cells)
        for other in SEPARATORS:
            if 0 < text.count(other) == row.count(other):
                typed = assign(self.options.separator, other.replace("\t", "\\t"))
                raise self.error(
                    f"has one column, {shown(text)}: if its separator is {other!r}, set {typed}"
                )
        if len(text.split()) > 1 and _are_numbers(row.split()) == len(text.split()):
            command = f"tr -s ' ' {shell(self.separator)} < {self.typed}"
            raise self.error(
                f"has one column, {shown(text)}: if its separator are blanks, write others: "
                f"{command} > {shell(self.new_name('blanks'))}"
            )
        line = second.line
        while len(second.cells) == 1 and (found := next(records, None)) and found.line < 50:
            second, line = found, found.line
        if len(second.cells) > 1:
            titles = "line 1 is no header" if line == 2 else f"lines 1 to {line - 1} are no header"
            raise self.error(
                f"{titles} ({shown(text)}, where line {line} has {len(second.cells)} cells): take "
                f"away what is above the names of columns: "
                f"tail -n +{line} {self.typed} > {shell(self.new_name('table'))}"
            )

    def _numbers(self, columns: Sequence[int]) -> tuple[FloatArray, dict[int, NoNumber]]:
        self._lines, self._last_lines = array("q"), array("q")
        width = len(self.names)
        values = array("d")
        words: dict[int, NoNumber] = {}
        boolean: dict[int, NoNumber] = {}
        records = self._records()
        next(records)
        for row, (line, cells, _, last) in enumerate(records):
            self._lines.append(line)
            self._last_lines.append(last)
            if len(cells) != width:
                raise self.error(
                    f"{self._place(row)} has {len(cells)} cells, but the header names {width} "
                    "columns: mend that line, or quote cells that hold the separator."
                )
            chosen = [cells[column] for column in columns]
            try:
                numbers = list(map(float, chosen))
            except ValueError:
                numbers = [NAN] * len(chosen)
            else:
                if "_" not in "".join(chosen):  # Python reads '2024_01' as the number 202401
                    values.extend(numbers)
                    continue
            for at, (column, cell) in enumerate(zip(columns, chosen, strict=True)):
                numbers[at] = _number(column, cell, row, words, boolean)
            values.extend(numbers)
        table = np.array(values, dtype=np.float64).reshape(-1, len(columns))
        for column, word in boolean.items():
            found = table[:, list(columns).index(column)]
            if not np.isin(found[~np.isnan(found)], (0.0, 1.0)).all():
                words.setdefault(column, word)
        return table, words

    def deletion(self, rows: Sequence[int], name: str) -> str | None:
        # A carriage return without a newline ends a line here, but not in sed.
        alone = ("\r" in record.text.replace("\r\n", "") for record in self._records())
        if len(rows) > MAX_DELETED or any(alone):
            return None
        spans = ((self._lines[row], self._last_lines[row]) for row in rows)
        script = ";".join(f"{a}d" if a == b else f"{a},{b}d" for a, b in spans)
        return f"sed '{script}' {self.typed} > {shell(name)}"

    def write(self, file: IO[str], separator: str, name: str, values: Sequence[str]) -> list[str]:
        records = self._records()
        header = next(records)
        end = header.text[len(header.text.rstrip("\r\n")) :] or "\n"
        added = [_cell(name, separator), *values]
        for (_, cells, text, _), more in zip(chain([header], records), added, strict=True):
            # Lines are copied unchanged if the separator is the same.
            kept = text.rstrip("\r\n") if separator == self.separator else None
            kept = (
                separator.join(_cell(cell, separator) for cell in cells) if kept is None else kept
            )
            file.write(f"{kept}{separator}{more}{end}")
        return []

    def _records(self) -> Iterator[Record]:
        """All records, the header first; blank lines are skipped.

        In a table of one column a blank cell is a missing value, and only an empty line is blank.
        """
        line = width = 0
        taken: list[str] = []
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(
                    _remember(file, taken),
                    delimiter=self.separator,
                    strict=True,
                    skipinitialspace=True,
                )
                for cells in reader:
                    if len(cells) > 1 or "".join(cells).strip() or (cells and width == 1):
                        width = width or len(cells)
                        yield Record(line + 1, cells, "".join(taken), reader.line_num)
                    taken.clear()
                    line = reader.line_num
        except UnicodeDecodeError:
            raise self.error(self._not_utf8()) from None
        except (csv.Error, OSError) as error:
            hint = next((hint for part, hint in HINTS.items() if part in str(error)), "")
            raise self.error(
                f"cannot be read from line {line + 1} on ({tidy(error)}){hint}."
            ) from None

    def _not_utf8(self) -> str:
        """How to write a text anew that is not UTF-8."""
        known = marked_encoding(self.path)
        found = [] if known else readings(self.path)
        told = [f"{shown(one.word)} if it is {one.encoding}" for one in found]
        said = f", and its encoding is not known: it has {', '.join(told)}" if told else ""
        encoding = known or (found[0].encoding if found else "ENCODING")
        which = "" if known else " from the encoding that is right"
        copy = shell(self.new_name("utf8"))
        return (
            f"is not UTF-8 text{said}: save it as UTF-8 CSV, or write it anew{which}: "
            f"iconv -f {encoding} -t UTF-8 {self.typed} > {copy}"
        )


def _remember(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _cell(text: str, separator: str) -> str:
    """A cell in CSV, quoted if necessary."""
    if any(character in text for character in (separator, '"', "\n", "\r")):
        text = '"' + text.replace('"', '""') + '"'
    return text


def _are_numbers(cells: Sequence[str]) -> int:
    """How many cells there are if all are numbers, else 0."""
    try:
        return len(list(map(float, cells)))
    except ValueError:
        return 0


def _number(
    column: int, cell: str, row: int, words: dict[int, NoNumber], boolean: dict[int, NoNumber]
) -> float:
    """The number in a cell; cells that are not numbers are noted by column."""
    word = cell.strip().lower()
    if word in BOOLEAN_CELLS:
        boolean.setdefault(column, NoNumber(row, cell, 1))
        return BOOLEAN_CELLS[word]
    if word in MISSING_CELLS:
        return NAN
    try:
        if "_" not in cell:
            return float(cell)
    except ValueError:
        pass
    first = words.get(column, NoNumber(row, cell, 0))
    words[column] = first._replace(number=first.number + 1)
    return NAN
