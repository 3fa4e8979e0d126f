"""Tables as text: polars reads plain ones, Python's parser all others and the lines of faults."""

from __future__ import annotations

import copy
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from kan_exp.data.columns import shown, tidy
from kan_exp.data.encodings import readings, to_utf8
from kan_exp.data.options import Options
from kan_exp.data.table_file import TableFile, are_numbers
from kan_exp.lazy import polars as pl
from kan_exp.runs.printable import counted

SEPARATORS = (",", ";", "\t", "|")
SNIFFED = 200  # lines by which separators are recognized
CHUNK = 10_000  # rows that are lists of texts at a time
MAX_TITLES = 50  # lines above the header
QUOTE, NEWLINE, RETURN = b'"\n\r'
# What to do about the errors of the standard library's parser.
HINTS = {
    "expected after": ": double the quotes inside quoted cells",
    "unexpected end": ": close the quote that is opened there",
    "field limit": ": close the quote that is opened there, or shorten the cell",
}


class Record(NamedTuple):
    """A row or the header: one line, or several where a quoted field has line breaks."""

    line: int
    last_line: int
    fields: list[str]
    text: str


NO_RECORD = Record(0, 0, [""], "")


class CsvFile(TableFile):
    """Text with a header line; separator, encoding and lines above the header are recognized.

    Args:
        data: The content of the file.
        separator: Of fields; None where it is recognized.
    """

    first_row = first_line = 0  # how many come before those of a part

    def __init__(
        self, path: Path, source: str, options: Options, data: bytes, separator: str | None
    ) -> None:
        self.data, encoding = to_utf8(data)
        self.path, self.source, self.options = path, source, options
        if not encoding:
            words = ", ".join(f"{shown(word)} if {name}" for name, word in readings(data))
            raise self.error(
                f"is no text in a known encoding{words and f' ({words})'}: save it as UTF-8"
            )
        self.encoding = "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
        self.separator, self._above = self._layout(separator)
        said = [] if encoding == "UTF-8" else [f"{encoding} text"]
        if self.separator != "," and separator is None:
            said.append(f"text separated by {self.separator!r}")
        if self._above:
            said.append(f"text with {counted(self._above, 'line')} above the header")
        self.notes = [f"read as {', '.join(said)}."] if said else []
        super().__init__(path, source, options)

    def _layout(self, separator: str | None) -> tuple[str, int]:
        """The separator, and how many lines there are above the header."""
        lines = list(islice(self._stream(), SNIFFED))
        above = next((k for k, line in enumerate(lines) if line.strip()), 0)
        first = lines[above].strip() if lines else ""
        if first.lower().startswith("sep=") and len(first) == 5:  # a note for spreadsheets
            separator, above = separator or first[-1], above + 1
        while above < len(lines) and (not lines[above].strip() or lines[above].startswith("#")):
            above += 1
        body = lines[above:] or lines
        above = above if lines[above:] else 0
        separator = separator or _separator(body)
        rows = [fields for fields in _fields(body, separator) if any(fields)]
        width = max(map(len, rows), default=1)
        # As numpy.savetxt writes names: behind a number sign.
        named = lines[above - 1].lstrip("# ") if above and lines[above - 1].startswith("#") else ""
        if rows and are_numbers(rows[0]) and [*map(len, _fields([named], separator))] == [width]:
            return separator, above - 1
        for place, line in enumerate(body[:MAX_TITLES]):
            if not _is_title(line, separator, width):
                return separator, above + place
        return separator, above

    def _stream(self) -> IO[str]:
        return io.TextIOWrapper(io.BytesIO(self.data), encoding="utf-8", newline="")

    def _read_header(self) -> list[str]:
        self._first = header = next(self._records(), NO_RECORD)
        self.line_end = header.text[len(header.text.rstrip("\r\n")) :] or "\n"
        if header.text.startswith("#"):
            first = header.fields[0].lstrip("# ")
            header.fields[:1] = [first] if first or self.separator != " " else []
        self.types = [""] * len(header.fields)
        return header.fields

    @cached_property
    def columns(self) -> list[pl.Series]:  # type: ignore[override]
        """All fields below the header as text."""
        width = len(self.names)
        schema = {str(place): pl.String for place in range(width)}
        data = self.data
        start = 0
        for _ in range(self._first.last_line):
            start = data.find(b"\n", start) + 1 or len(data)
        body = data[start:].rstrip(b"\r\n") + b"\n"
        # A carriage return alone ends a line, too, but not for polars.
        other_ends = b"\r" in data and data.count(b"\r") > data.count(b"\r\n")
        if not other_ends and (count := count_plain_rows(body, self.separator, width)):
            try:
                frame = pl.read_csv(body, has_header=False, separator=self.separator, schema=schema)
                if len(frame) == count:
                    return frame.get_columns()
            except pl.exceptions.PolarsError:  # such as of text that is not UTF-8
                pass
        rows, frames = self._rows(), [pl.DataFrame(schema=schema)]
        while chunk := list(islice(rows, CHUNK)):
            frames.append(pl.DataFrame(list(zip(*chunk, strict=True)), schema=schema))
        return pl.concat(frames).get_columns()

    def _rows(self) -> Iterator[list[str]]:
        width = len(self.names)
        records = self._records()
        next(records)
        for row, record in enumerate(records, self.first_row + 1):
            if len(record.fields) != width:
                raise self.error(
                    f"row {row}, line {record.line} has {len(record.fields)} cells, but the "
                    f"header names {width} columns: mend that line, or quote cells that hold the "
                    f"separator."
                )
            yield record.fields

    @cached_property
    def _lines(self) -> list[tuple[int, int]]:
        """First and last line of each row."""
        return [(record.line, record.last_line) for record in self._records()][1:]

    def row_name(self, row: int) -> str:
        return f"row {self.first_row + row + 1}, line {self._lines[row][0]}"

    def part(self, data: bytes, first_row: int, first_line: int) -> CsvFile:
        """Further rows of the same file, whole lines in UTF-8.

        `first_row` and `first_line` are how many rows and lines come before them.
        """
        part = copy.copy(self)
        for name in ("columns", "_lines"):
            part.__dict__.pop(name, None)
        header = self._first.text.rstrip("\r\n") + "\n"
        part.data, part._above, part.notes = header.encode() + data, 0, []
        part.first_row = first_row
        part.first_line = first_line - header.count("\n")
        part._first = self._first._replace(last_line=header.count("\n"))
        return part

    def _records(self) -> Iterator[Record]:
        """All records, the header first; blank lines are skipped.

        In a table of one column a blank field is a missing value, and only an empty line is blank.
        """
        width = 0
        taken: list[str] = []
        stream = self._stream()
        for _ in range(self._above):
            stream.readline()
        line = self.first_line + self._above
        try:
            reader = csv.reader(
                _remember(stream, taken),
                delimiter=self.separator,
                strict=True,
                skipinitialspace=True,
            )
            for fields in reader:
                last = self.first_line + self._above + reader.line_num
                if len(fields) > 1 or "".join(fields).strip() or (fields and width == 1):
                    width = width or len(fields)
                    yield Record(line + 1, last, fields, "".join(taken))
                taken.clear()
                line = last
        except csv.Error as error:
            hint = next((hint for part, hint in HINTS.items() if part in str(error)), "")
            raise self.error(
                f"cannot be read from line {line + 1} on ({tidy(error)}){hint}."
            ) from None


def _separator(lines: Sequence[str]) -> str:
    """The separator that divides most lines into the same number of fields, more than one."""
    best, found = (0.0, 1), ","
    for separator in SEPARATORS:
        widths = Counter(len(fields) for fields in _fields(lines, separator) if any(fields))
        (width, count), *_ = [*widths.most_common(1), (1, 1)]
        if width > 1 and (count / widths.total(), width) > best:
            best, found = (count / widths.total(), width), separator
    parts = [line.split() for line in lines if line.strip()]
    if best[1] == 1 and len({*map(len, parts)}) == 1 and len(parts) > 1 and len(parts[0]) > 1:
        return " " if all(any(are_numbers([one]) for one in row) for row in parts[1:]) else found
    return found


def _is_title(line: str, separator: str, width: int) -> bool:
    """Whether a line has one cell where others have more."""
    fields = next(_fields([line], separator), [])
    filled = sum(map(bool, fields))
    return width > 1 and '"' not in line and (len(fields) < 2 or (filled < 2 < width))


def _fields(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Fields without the blanks around them, as far as the lines can be read."""
    try:
        for fields in csv.reader(lines, delimiter=separator, skipinitialspace=True):
            yield [field.strip() for field in fields]
    except csv.Error:
        return


def count_plain_rows(body: bytes, separator: str, width: int) -> int:
    """Counts the rows of a text that all parsers read alike; 0 for other texts.

    Then there are `width` fields in each row and no blank lines, and quotes stand around whole
    fields or are doubled in such fields. `body` ends with a newline.
    """
    if width == 1 and (body.startswith((b"\n", b"\r\n")) or b"\n\n" in body or b"\n\r\n" in body):
        return 0
    text, mark = np.frombuffer(body, np.uint8), ord(separator)
    ends = np.flatnonzero((text == NEWLINE) | (text == mark))  # of fields
    if b'"' in body:
        quotes = np.flatnonzero(text == QUOTE)
        before, after = text[quotes[::2] - 1], text[quotes[1::2] + 1]
        neighbors = [NEWLINE, RETURN, QUOTE, mark]
        if len(before) != len(after) or not np.isin([before, after], neighbors).all():
            return 0
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    if len(ends) % width or np.diff(ends, prepend=-1).max() > csv.field_size_limit():
        return 0
    marks = (text[ends] == NEWLINE).reshape(-1, width)
    return len(marks) if marks[:, -1].all() and not marks[:, :-1].any() else 0


def _remember(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line
