"""Opens a table's file by its first bytes and its extension.

Nothing in a file is ever executed: npz archives are read without pickle.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.columns import shown, tidy
from kan_exp.data.csv_file import MAX_TITLES, CsvFile
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError, listing, message_of
from kan_exp.lazy import polars as pl
from kan_exp.runs import from_here

SEPARATORS = (",", ";", "\t", "|", " ")
TEXTS = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".psv", ".asc", "")
SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
FRAMES = {  # functions of polars, by extension
    **{".parquet": "read_parquet", ".feather": "read_ipc", ".arrow": "read_ipc"},
    **{".ipc": "read_ipc", ".jsonl": "read_ndjson", ".ndjson": "read_ndjson"},
    ".json": "read_json",
}
NAMED = (".csv", ".tsv", ".txt", ".xlsx", ".ods", ".parquet", ".feather", ".jsonl", ".npz")
PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
UNPACK: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# First bytes that show what a file is, whatever its name.
MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".feather"}
ZIP, OLD_SHEET = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
MAX_UNPACKED = 2 * 2**30  # bytes
NPZ_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, OverflowError),
    *(RuntimeError, zlib.error, zipfile.BadZipFile),
)


def open_columns(path: object, separator: object = None, options: Options = TRAINING) -> TableFile:
    """Opens a table.

    Args:
        path: Text, a spreadsheet, Parquet, Feather, JSON or npz; text and JSON may be packed (.gz,
            .bz2, .xz, .zst). Relative to the current folder, `~` is home.
        separator: Of the fields of text; None where it is recognized.
        options: What the command calls its options.

    Raises:
        KanExpError: The file is missing, empty, of an unknown kind or damaged.
    """
    found = identify(path, separator, options)
    file, source, start, suffix, packing, fixed = found
    if suffix == ".npz":
        return NpzFile(file, source, options)
    if start.startswith(OLD_SHEET) or (suffix in SHEETS and not packing):
        return ExcelFile(file, source, options)
    if start.startswith(ZIP):
        raise KanExpError(f"{source}: is a zip archive: unpack it, or name it .xlsx or .npz.")
    if suffix in FRAMES:
        return FrameFile(file, source, options, _read_frame(found))
    data = _content(file, source, packing)
    if suffix not in TEXTS and b"\0" in data[:4096]:
        raise KanExpError(
            f"{source}: is of no known kind ({suffix!r}): write it as one of {listing(NAMED)}"
        )
    return CsvFile(file, source, options, data, fixed)


class Identified(NamedTuple):
    """A file that is there.

    Attributes:
        file: Its path.
        source: Its name for messages.
        start: Its first bytes.
        suffix: The extension that its content has.
        packing: The extension of its packing, or empty.
        separator: Of its fields; None where it is recognized.
    """

    file: Path
    source: str
    start: bytes
    suffix: str
    packing: str
    separator: str | None

    @property
    def is_text(self) -> bool:
        """Whether it is text that is not packed, by its name and its first bytes."""
        others = (ZIP, OLD_SHEET)
        return self.suffix in TEXTS and not self.packing and not self.start.startswith(others)


def check_separator(separator: object, options: Options) -> str | None:
    """The separator that an option names."""
    separator = "\t" if separator == "\\t" else separator
    if separator not in (None, *SEPARATORS):
        raise KanExpError(
            f"{options.separator} must be one of {listing(map(repr, SEPARATORS))}, "
            f"got {separator!r}."
        )
    return None if separator is None else str(separator)


def identify(path: object, separator: object, options: Options) -> Identified:
    """Recognizes a file by its first bytes and its extension, see `open_columns`."""
    if path is None:
        raise KanExpError(f"A table needs its file: set {options.path}=FILE.")
    source = tidy(from_here(str(path)))
    given = check_separator(separator, options)
    file, start = _first_bytes(str(path), source, options)
    if not start:
        raise KanExpError(f"{source}: is empty: a table with named columns is needed.")
    packing = next((name for magic, name in PACKED.items() if start.startswith(magic)), "")
    name = file.name.lower().removesuffix(packing)
    suffix = next((own for magic, own in MAGIC.items() if start.startswith(magic)), None)
    suffix = Path(name).suffix if suffix is None else suffix
    return Identified(file, source, start, suffix, packing, "\t" if suffix == ".tsv" else given)


def _first_bytes(path: str, source: str, options: Options) -> tuple[Path, bytes]:
    """The file, and how it begins."""
    choose = f"set {options.path}=FILE."
    try:
        file = Path(path).expanduser()
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise KanExpError(f"{source}: is a folder: set {options.path} to the file in it.")
        if not stat.S_ISREG(mode):  # a pipe would be waited for, and can be read only once
            raise KanExpError(f"{source}: is no file: write it to one, and {choose}")
        with file.open("rb") as stream:
            return file, stream.read(8)
    except FileNotFoundError:
        if "://" in path:
            raise KanExpError(f"{tidy(path)}: is an address: download it, and {choose}") from None
        raise KanExpError(f"{source}: no such file in {tidy(Path.cwd())}: {choose}") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = tidy(getattr(error, "strerror", None) or error)
        raise KanExpError(f"{source}: cannot be opened ({reason}): {choose}") from None


def _content(path: Path, source: str, packing: str) -> bytes:
    """The bytes of a file, unpacked."""
    try:
        with path.open("rb") as file:
            stream: Any = file
            if packing == ".zst":
                from zstandard import ZstdDecompressor

                stream = ZstdDecompressor().stream_reader(file)
            elif packing:
                stream = UNPACK[packing](file)
            data: bytes = stream.read(MAX_UNPACKED + 1 if packing else -1)
    except ImportError:
        raise KanExpError(
            f"{source}: .zst files need zstandard: pip install 'kan_exp[zst]'"
        ) from None
    except Exception as error:  # of any kind where the file is damaged
        raise KanExpError(
            f"{source}: is no readable {packing or 'file'} ({message_of(error)}): is it cut short?"
        ) from error
    if packing and len(data) > MAX_UNPACKED:
        raise KanExpError(f"{source}: unpacks to more than {_limit()}: unpack it yourself first.")
    return data


def _limit() -> str:
    return f"{MAX_UNPACKED / 2**30:g} GiB"


def _check_archive(file: TableFile) -> None:
    """Refuses a zip archive that would fill the memory."""
    with zipfile.ZipFile(file.path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
            raise file.error(f"unpacks to more than {_limit()}: save less in it.")


class FrameFile(TableFile):
    """Rows of a file with types of columns.

    Args:
        frame: The rows.
        first_row: How many come before them.
    """

    def __init__(
        self, path: Path, source: str, options: Options, frame: pl.DataFrame, first_row: int = 0
    ) -> None:
        self.frame, self.first_row = frame, first_row
        super().__init__(path, source, options)

    def _read_header(self) -> list[str]:
        self.columns = self.frame.get_columns()
        self.types = list(map(str, self.frame.dtypes))
        return self.frame.columns


def _read_frame(found: Identified) -> pl.DataFrame:
    binary = found.suffix in (".parquet", ".feather", ".arrow", ".ipc") and not found.packing
    options: dict[str, Any] = {} if binary else {"infer_schema_length": None}
    if found.suffix == ".parquet" and binary:
        options["glob"] = False
    data = b"" if binary else _content(found.file, found.source, found.packing)
    content = found.file if binary else io.BytesIO(data)
    with readable(found, data):
        frame: pl.DataFrame = getattr(pl, FRAMES[found.suffix])(content, **options)
        return frame


def _fault_of_json(found: Identified, data: bytes) -> str:
    """Why polars cannot read JSON."""
    lines = [data] if found.suffix == ".json" else data.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line, parse_constant=_refuse) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            place = "" if len(lines) == 1 else f"line {number}: "
            return f"{place}{message_of(error)}"
        if not isinstance(row, list if found.suffix == ".json" else dict):
            wanted = "a list of rows" if found.suffix == ".json" else 'a row, as {"a": 1}'
            return f"line {number} is not {wanted}"
    return "a column has values of different types"


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON, write null")


@contextmanager
def readable(found: Identified, data: bytes = b"") -> Iterator[None]:
    """Explains errors of polars by a `KanExpError`; `data` are those of JSON."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        name = "Parquet" if found.suffix == ".parquet" else found.suffix
        why = _fault_of_json(found, data) if data else "cut short or damaged?"
        raise KanExpError(f"{found.source}: is no readable {name} file ({why}).") from error


class ExcelFile(TableFile):
    """The first sheet of a spreadsheet, whose cells are read as text."""

    def _read_header(self) -> list[str]:
        if zipfile.is_zipfile(self.path):
            _check_archive(self)
        try:
            import fastexcel

            sheets = fastexcel.read_excel(self.path).sheet_names
            frame = pl.read_excel(
                self.path, has_header=False, infer_schema_length=0, drop_empty_rows=False
            )
        except ImportError:
            raise self.error(
                "spreadsheets need fastexcel: pip install 'kan_exp[excel]', or save it as CSV"
            ) from None
        except Exception as error:  # of any kind where the file is damaged
            raise self.error(
                f"is no readable spreadsheet ({message_of(error)}): save it as CSV (UTF-8)"
            ) from error
        frame = frame.with_columns(pl.all().cast(pl.String).str.strip_chars().replace("", None))
        filled = frame.select(pl.sum_horizontal(pl.all().is_not_null())).to_series()
        header = int((filled >= min(2, frame.width)).head(MAX_TITLES).arg_max() or 0)
        self._rows = (filled.slice(header + 1) > 0).arg_true() + header + 1
        names = [tidy(name or "") for name in frame.row(header)]
        self.columns = frame[self._rows].get_columns()
        self.types = [""] * frame.width
        if len(sheets) > 1:
            self.notes.append(
                f"{self.source} is read from its first sheet, {shown(sheets[0])}, of {len(sheets)}."
            )
        return names

    def row_name(self, row: int) -> str:
        return f"row {row + 1}, row {self._rows[row] + 1} of the sheet"


class NpzFile(TableFile):
    """A NumPy archive: each 1-D array is a column, a 2-D array `x` gives columns x1, x2, ..."""

    def _read_header(self) -> list[str]:
        names: list[str] = []
        arrays: list[NDArray[Any]] = []
        for key, values in self._arrays():
            matrix = key == "x" and values.ndim == 2
            if not matrix and values.ndim != 1:
                raise self.error(
                    f"array {shown(key)} has shape {values.shape}: give one 1-D array per "
                    "column, or a 2-D array named x."
                )
            names += [f"x{k + 1}" for k in range(values.shape[1])] if matrix else [key]
            arrays += list(values.T) if matrix else [values]
        for name, array in zip(names, arrays, strict=True):
            if len(array) != len(arrays[0]):
                raise self.error(
                    f"column {shown(name)} has {len(array)} rows, but column "
                    f"{shown(names[0])} has {len(arrays[0])}: give all the same length."
                )
        self.columns = list(map(_series, arrays))
        self.types = [str(array.dtype) for array in arrays]
        return names

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        if not zipfile.is_zipfile(self.path):
            raise self.error("is no npz archive: write it with numpy.savez.")
        _check_archive(self)
        key = ""
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                for key in archive.files:
                    values = archive[key]
                    if not isinstance(values, np.ndarray):
                        raise self.error(f"entry {shown(key)} is no numpy array: leave it out.")
                    yield key, values
        except NPZ_ERRORS as error:
            if "allow_pickle" in str(error):
                raise self.error(
                    f"array {shown(key)} holds Python objects, which are never loaded: "
                    "save plain numbers."
                ) from None
            raise self.error("is no readable npz archive (cut short or damaged?).") from None


def _series(array: NDArray[Any]) -> pl.Series:
    """A column of polars, whose types are fewer."""
    if array.dtype.kind in "biuf":
        return pl.Series(array.astype(np.float64) if array.dtype.kind == "f" else array)
    if array.dtype.kind in "UM":
        return pl.Series(array.astype(str).tolist(), dtype=pl.String)
    return pl.Series(array.tolist(), dtype=pl.Object)
