"""Opens a table's file by its extension; reads Parquet and npz (see csv_reader for text).

Nothing in a file is ever executed: npz archives are read without pickle.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.columns import ColumnReader, FloatArray, shown, tidy
from kan_exp.data.csv_reader import SEPARATORS, CsvReader
from kan_exp.errors import KanExpError, listing
from kan_exp.runs import from_here


def open_columns(path: str | Path | None, separator: str) -> ColumnReader:
    """Finds the reader that a file's extension asks for.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; relative to the current folder, `~` is home.
        separator: What separates the cells of a .csv file; a .tsv file has tabs.

    Raises:
        KanExpError: The file is missing, empty, of an unknown kind or damaged.
    """
    if path is None:
        raise KanExpError("A table needs its file: set data.path=FILE.")
    source = tidy(from_here(path))
    try:
        file = Path(str(path)).expanduser()
        if file.is_dir():
            raise KanExpError(f"{source}: is a folder: set data.path to the file in it.")
        with file.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError:
        raise KanExpError(f"{source}: no such file in {Path.cwd()}: set data.path.") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = tidy(getattr(error, "strerror", None) or error)
        raise KanExpError(f"{source}: cannot be opened ({reason}): set data.path.") from None
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet", ".npz"):
        raise KanExpError(
            f"{source}: is of no known kind: use .csv, .tsv, .parquet or .npz, got '{suffix}'."
        )
    if empty:
        raise KanExpError(f"{source}: is empty: a table with named columns is needed.")
    if suffix == ".parquet":
        return ParquetReader(file, source)
    if suffix == ".npz":
        return NpzReader(file, source)
    separator = "\t" if suffix == ".tsv" or separator == "\\t" else separator
    if separator not in SEPARATORS:
        raise KanExpError(
            f"data.separator must be one of {listing(map(repr, SEPARATORS))}, got {separator!r}."
        )
    return CsvReader(file, source, separator)


class ParquetReader(ColumnReader):
    """A Parquet file, read by polars."""

    def _names(self) -> Sequence[str]:
        try:
            import polars as pl
        except ImportError:
            raise self.error("Parquet files need polars: pip install polars.") from None
        try:
            self._frame = pl.read_parquet(self.path, glob=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            raise self.error("is no readable Parquet file (cut short or damaged?).") from None
        return self._frame.columns

    def _numbers(self, columns: Sequence[int]) -> FloatArray:
        import polars as pl

        parts = []
        for column in columns:
            series = self._frame.to_series(column)
            if not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
                row = int(series.is_not_null().arg_max() or 0)
                raise self.no_number(column, row, series[row], str(series.dtype))
            parts.append(series.cast(pl.Float64).fill_null(float("nan")).to_numpy())
        return np.column_stack(parts)


class NpzReader(ColumnReader):
    """A numpy archive: each 1-D array is a column, a 2-D array `x` gives columns x1, x2, ..."""

    FAULTS: ClassVar[tuple[type[Exception], ...]] = (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        MemoryError,
        OverflowError,
        RuntimeError,
        zlib.error,
        zipfile.BadZipFile,
    )

    def _names(self) -> Sequence[str]:
        names: list[str] = []
        self._columns: list[NDArray[Any]] = []
        for key, values in self._arrays():
            matrix = key == "x" and values.ndim == 2
            if not matrix and values.ndim != 1:
                raise self.error(
                    f"array {shown(key)} has shape {values.shape}: give one 1-D array per "
                    "column, or a 2-D array named x."
                )
            names += [f"x{k + 1}" for k in range(values.shape[1])] if matrix else [key]
            self._columns += list(values.T) if matrix else [values]
        for name, column in zip(names, self._columns, strict=True):
            if len(column) != len(self._columns[0]):
                raise self.error(
                    f"column {shown(name)} has {len(column)} rows, but column "
                    f"{shown(names[0])} has {len(self._columns[0])}: give all the same length."
                )
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
        except self.FAULTS as error:
            if "allow_pickle" in str(error):
                raise self.error(
                    f"array {shown(key)} holds Python objects, which are never loaded: "
                    "save plain numbers."
                ) from None
            raise self.error("is no readable npz archive (cut short or damaged?).") from None

    def _numbers(self, columns: Sequence[int]) -> FloatArray:
        for column in columns:
            values = self._columns[column]
            if values.dtype.kind not in "biuf" and len(values):
                raise self.no_number(column, 0, values[0].item(), str(values.dtype))
        return np.column_stack([self._columns[column] for column in columns]).astype(np.float64)
