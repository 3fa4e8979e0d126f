"""Opens a table's file by its extension; reads Parquet and npz.

Nothing in a file is ever executed: npz archives are read without pickle.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.columns import new_name, shown, tidy
from kan_exp.data.csv_file import SEPARATORS, CsvFile
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError, listing
from kan_exp.quoting import shell
from kan_exp.runs import from_here

if TYPE_CHECKING:
    from polars import Series

KNOWN = (".csv", ".tsv", ".parquet", ".npz")
# How files of other kinds become a table, by their extension.
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
UNPACKED = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd"}
TEXTS = ("", ".txt", ".dat", ".data", ".tab", ".psv", ".asc")
# First bytes of files of other kinds, and what these are called.
MAGIC = {
    b"\x1f\x8b": ".gz file",
    b"BZh": ".bz2 file",
    b"\xfd7zXZ": ".xz file",
    b"\x28\xb5\x2f\xfd": ".zst file",
    b"PAR1": ".parquet file",
    b"PK\x03\x04": "zip archive or spreadsheet",
    b"\xd0\xcf\x11\xe0": "spreadsheet",
}
OWN_MAGIC = {".parquet": b"PAR1", ".npz": b"PK\x03\x04"}
NPZ_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, OverflowError),
    *(RuntimeError, zlib.error, zipfile.BadZipFile),
)


def open_columns(path: object, separator: object = ",", options: Options = TRAINING) -> TableFile:
    """Opens a table by the extension of its file.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; relative to the current folder, `~` is home.
        separator: Of the fields of a .csv file; a .tsv file has tabs.
        options: What the command calls its options.

    Raises:
        KanExpError: The file is missing, empty, of an unknown kind or damaged.
    """
    if path is None:
        raise KanExpError(f"A table needs its file: set {options.path}=FILE.")
    source = tidy(from_here(str(path)))
    file, start = _first_bytes(str(path), source, options)
    suffix = file.suffix.lower()
    if suffix not in KNOWN:
        raise KanExpError(
            f"{source}: is of no known kind ('{suffix}'): use .csv, .tsv, .parquet or .npz"
            f"{_how_to_convert(file, suffix, options)}"
        )
    if not start:
        raise KanExpError(f"{source}: is empty: a table with named columns is needed.")
    for magic, name in MAGIC.items():
        if start.startswith(magic) and magic != OWN_MAGIC.get(suffix):
            raise KanExpError(
                f"{source}: is no {suffix} file but a {name}: save it as {suffix}, or give it its "
                f"own extension."
            )
    if suffix in OWN_MAGIC:
        return (ParquetFile if suffix == ".parquet" else NpzFile)(file, source, options)
    separator = "\t" if suffix == ".tsv" or separator == "\\t" else separator
    if separator not in SEPARATORS:
        raise KanExpError(
            f"{options.separator} must be one of {listing(map(repr, SEPARATORS))}, "
            f"got {separator!r}."
        )
    return CsvFile(file, source, options, str(separator))


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


def _how_to_convert(file: Path, suffix: str, options: Options) -> str:
    """Advice for a file whose format cannot be read."""
    name = shell(str(file))
    if suffix in UNPACKED:
        # Into the current folder: that of the file may be for reading only.
        unpacked = new_name(file.stem)
        command = f"{UNPACKED[suffix]} -k -c {name} > {shell(unpacked)}"
        return f"; unpack it first: {command} and set {assign(options.path, unpacked)}"
    if suffix == ".zip":
        return f"; unpack it first: unzip {name}"
    if suffix in SPREADSHEETS:
        return "; save the sheet as CSV (UTF-8)"
    if suffix in TEXTS:
        return f"; if it is text with a header line, rename it: cp {name} {shell(file.stem)}.csv"
    return "; write it anew as .csv or .parquet with the program that made it"


class ParquetFile(TableFile):
    """A Parquet file."""

    def _read_header(self) -> list[str]:
        import polars as pl

        try:
            frame = pl.read_parquet(self.path, glob=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            raise self.error("is no readable Parquet file (cut short or damaged?).") from None
        self.columns = frame.get_columns()
        self.types = list(map(str, frame.dtypes))
        return frame.columns


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


def _series(array: NDArray[Any]) -> Series:
    """A column of polars, whose types are fewer."""
    import polars as pl

    if array.dtype.kind in "biuf":
        return pl.Series(array.astype(np.float64) if array.dtype.kind == "f" else array)
    if array.dtype.kind in "UM":
        return pl.Series(array.astype(str).tolist(), dtype=pl.String)
    return pl.Series(array.tolist(), dtype=pl.Object)
