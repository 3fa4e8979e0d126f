"""Tables a part at a time, so that files of any size need little memory; no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kan_exp.data.csv_file import QUOTE, CsvFile
from kan_exp.data.encodings import to_utf8
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.readers import (
    MAGIC,
    OLD_SHEET,
    PACKED,
    ZIP,
    FrameFile,
    Identified,
    check_separator,
    identify,
    open_columns,
    readable,
)
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError
from kan_exp.lazy import polars as pl

BLOCK = 2**16  # rows of a part of Parquet
CHUNK = 2**24  # bytes of a part of text
STDIN = "-"


class Batches:
    """The parts of a table, which can be read once.

    Parquet, and text in UTF-8 that is not packed, are read in parts; other files are one part.

    Args:
        path: As in `open_columns`; `-` is standard input, which holds text.
        separator: Of the fields of text; None where it is recognized.
        options: What the command calls its options.

    Attributes:
        first: The first part, which has the names of the columns.
        size: Rows of Parquet, or bytes of text; None where it is unknown.

    Raises:
        KanExpError: As `open_columns` does.
    """

    def __init__(self, path: object, separator: object = None, options: Options = TRAINING) -> None:
        self.size: int | None = None
        self._parts = self._open(path, separator, options)
        self.first, self._done = next(self._parts)

    def __iter__(self) -> Iterator[tuple[TableFile, int]]:
        """Each part, and how much of `size` it is."""
        yield self.first, self._done
        yield from self._parts

    def _open(
        self, path: object, separator: object, options: Options
    ) -> Iterator[tuple[TableFile, int]]:
        if path == STDIN:
            given = check_separator(separator, options)
            found = Identified(Path(STDIN), "standard input", b"", "", "", given)
            yield from _texts(sys.stdin.buffer, found, options)
            return
        found = identify(path, separator, options)
        if found.suffix == ".parquet" and not found.packing:
            yield from self._frames(found, options)
        elif found.is_text and found.file.stat().st_size > CHUNK:
            self.size = found.file.stat().st_size
            with found.file.open("rb") as stream:
                yield from _texts(stream, found, options)
        else:
            yield open_columns(path, separator, options), 0

    def _frames(self, found: Identified, options: Options) -> Iterator[tuple[TableFile, int]]:
        """Parts of Parquet; one without rows if there are none."""
        row = 0
        with readable(found):
            scan = pl.scan_parquet(found.file, glob=False)
            self.size = int(scan.select(pl.len()).collect().item())
            empty = scan.head(0).collect()
            for frame in scan.collect_batches(chunk_size=BLOCK) if self.size else [empty]:
                yield FrameFile(found.file, found.source, options, frame, row), len(frame)
                row += len(frame)


def _texts(
    stream: IO[bytes], found: Identified, options: Options
) -> Iterator[tuple[TableFile, int]]:
    """Parts of text, which end with a line."""
    first: CsvFile | None = None
    lines = rows = 0
    parts = _whole_lines(stream)
    for data in parts:
        if found.file.name == STDIN and not data.endswith(b"\n"):
            raise KanExpError(
                f"{found.source}: ends in the middle of a line after row {rows:,}: is "
                f"what writes it cut short? A last line needs a line break, too."
            )
        if first is None:
            _, encoding = to_utf8(data)
            if data.startswith((*MAGIC, *PACKED, ZIP, OLD_SHEET)) or not encoding:
                raise KanExpError(f"{found.source}: is no text: give CSV, or name a file.")
            if encoding != "UTF-8":  # of which any byte may be part of a letter
                data += b"".join(parts)
            part = first = CsvFile(found.file, found.source, options, data, found.separator)
        else:
            try:
                data.decode()
            except UnicodeDecodeError:
                raise KanExpError(
                    f"{found.source}: has text after row {rows:,} that is not UTF-8: save it as "
                    f"UTF-8."
                ) from None
            part = first.part(data, rows, lines)
        lines += data.count(b"\n")
        rows += len(part.columns[0])
        yield part, len(data)
    if first is None:
        raise KanExpError(f"{found.source}: is empty: a table with named columns is needed.")


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The content of a stream in parts that end with a line, but for the last one.

    A line break in quotes ends no line.
    """
    rest = b""
    while more := stream.read(CHUNK):
        data = rest + more
        end = data.rfind(b"\n") + 1
        while end and data.count(QUOTE, 0, end) % 2:
            end = data.rfind(b"\n", 0, end - 1) + 1
        if end:
            yield data[:end]
        rest = data[end:]
    if rest:
        yield rest
