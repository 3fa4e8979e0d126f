"""Tables as text: polars reads plain ones, Python's parser all others and the lines of faults."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from kan_exp.data.columns import shown, tidy
from kan_exp.data.encodings import marked_encoding, readings
from kan_exp.data.options import Options, assign
from kan_exp.data.table_file import TableFile, are_numbers
from kan_exp.quoting import shell

if TYPE_CHECKING:
    from polars import Series

SEPARATORS = (",", ";", "|", "\t")
MAX_DELETED = 60  # rows that a message deletes
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
    """Text with a header line."""

    def __init__(self, path: Path, source: str, options: Options, separator: str) -> None:
        self.separator = separator
        with path.open("rb") as file:
            marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        self.encoding = "utf-8-sig" if marked else "utf-8"
        self.path, self.source = path, source
        if marked_encoding(path):  # without a mark, UTF-16 may be valid UTF-8
            raise self.error(self._not_utf8())
        super().__init__(path, source, options)

    def _read_header(self) -> list[str]:
        records = self._records()
        self._first = header = next(records, NO_RECORD)
        if header.text.lower().startswith("sep="):
            raise self.error(
                f"line 1 is no header but a note for spreadsheets ({shown(header.text.strip())}): "
                f"take it away: tail -n +2 {self.shell_path} > {shell(self.copy_name('table'))}"
            )
        if len(header.fields) == 1:
            self._check_header(header.fields[0], records)
        self.types = [""] * len(header.fields)
        return header.fields

    def _check_header(self, text: str, records: Iterator[Record]) -> None:
        """Refuses a header of one field that is a title, or whose separator is another."""
        second = next(records, NO_RECORD)
        row = self.separator.join(second.fields)
        for other in SEPARATORS:
            if 0 < text.count(other) == row.count(other):
                typed = assign(self.options.separator, other.replace("\t", "\\t"))
                raise self.error(
                    f"has one column, {shown(text)}: if its separator is {other!r}, set {typed}"
                )
        if 1 < len(text.split()) == len(row.split()) and are_numbers(row.split()):
            command = f"tr -s ' ' {shell(self.separator)} < {self.shell_path}"
            raise self.error(
                f"has one column, {shown(text)}: if its separator are blanks, write others: "
                f"{command} > {shell(self.copy_name('blanks'))}"
            )
        while len(second.fields) == 1 and second.line < MAX_TITLES:
            second = next(records, NO_RECORD._replace(line=MAX_TITLES))
        if len(second.fields) > 1:
            line = second.line
            titles = "line 1 is no header" if line == 2 else f"lines 1 to {line - 1} are no header"
            raise self.error(
                f"{titles} ({shown(text)}, where line {line} has {len(second.fields)} cells): take "
                f"away what is above the names of columns: "
                f"tail -n +{line} {self.shell_path} > {shell(self.copy_name('table'))}"
            )

    @cached_property
    def columns(self) -> list[Series]:  # type: ignore[override]
        """All fields below the header as text."""
        import polars as pl

        width = len(self.names)
        schema = {str(place): pl.String for place in range(width)}
        data = self.path.read_bytes()
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
        for row, record in enumerate(records):
            if len(record.fields) != width:
                raise self.error(
                    f"row {row + 1}, line {record.line} has {len(record.fields)} cells, but the "
                    f"header names {width} columns: mend that line, or quote cells that hold the "
                    f"separator."
                )
            yield record.fields

    @cached_property
    def _lines(self) -> list[tuple[int, int]]:
        """First and last line of each row."""
        return [(record.line, record.last_line) for record in self._records()][1:]

    def row_name(self, row: int) -> str:
        return f"row {row + 1}, line {self._lines[row][0]}"

    def deletion(self, rows: Sequence[int], name: str) -> str | None:
        # A carriage return without a newline ends a line here, but not in sed.
        alone = ("\r" in record.text.replace("\r\n", "") for record in self._records())
        if len(rows) > MAX_DELETED or any(alone):
            return None
        spans = (self._lines[row] for row in rows)
        script = ";".join(f"{a}d" if a == b else f"{a},{b}d" for a, b in spans)
        return f"sed '{script}' {self.shell_path} > {shell(name)}"

    def write(self, file: IO[str], separator: str, added: Mapping[str, Sequence[str]]) -> list[str]:
        text = self._first.text
        end = text[len(text.rstrip("\r\n")) :] or "\n"
        rows = chain([[*added]], zip(*added.values(), strict=True))
        for record, values in zip(self._records(), rows, strict=True):
            # Lines are copied unchanged if the separator is the same.
            row = record.text.rstrip("\r\n")
            if separator != self.separator:
                row = separator.join(_quote(field, separator) for field in record.fields)
            new = separator.join(_quote(value, separator) for value in values)
            file.write(f"{row}{separator}{new}{end}")
        return []

    def _records(self) -> Iterator[Record]:
        """All records, the header first; blank lines are skipped.

        In a table of one column a blank field is a missing value, and only an empty line is blank.
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
                for fields in reader:
                    if len(fields) > 1 or "".join(fields).strip() or (fields and width == 1):
                        width = width or len(fields)
                        yield Record(line + 1, reader.line_num, fields, "".join(taken))
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
        """How to write a text in UTF-8 that has another encoding."""
        known = marked_encoding(self.path)
        likely = [] if known else readings(self.path)
        words = ", ".join(f"{shown(word)} if it is {name}" for name, word in likely)
        unknown = f", and its encoding is not known: it has {words}" if words else ""
        encoding = known or (likely[0].encoding if likely else "ENCODING")
        which = "" if known else " from the encoding that is right"
        return (
            f"is not UTF-8 text{unknown}: save it as UTF-8 CSV, or write it anew{which}: "
            f"iconv -f {encoding} -t UTF-8 {self.shell_path} > {shell(self.copy_name('utf8'))}"
        )


def count_plain_rows(body: bytes, separator: str, width: int) -> int:
    """Counts the rows of a text that all parsers read alike; 0 for other texts.

    Then there are `width` fields in each row and no blank lines, and quotes stand around whole
    fields or are doubled in such fields.

    Args:
        body: Ends with a newline.
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


def _quote(field: str, separator: str) -> str:
    """A field of CSV, quoted if necessary."""
    if any(character in field for character in (separator, '"', "\n", "\r")):
        field = '"' + field.replace('"', '""') + '"'
    return field
