"""Tables that do not fit into memory, read in blocks of rows by polars; no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kan_exp.data.columns import INFINITE, OTHER, TEXT, FloatArray, shown, tidy
from kan_exp.data.csv_file import SEPARATORS
from kan_exp.data.fields import clean_fields, read
from kan_exp.data.kinds import recognize
from kan_exp.data.options import assign
from kan_exp.data.reading import choose, no_target
from kan_exp.data.schema import Schema
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError, listing
from kan_exp.lazy import polars as pl
from kan_exp.quoting import expand_home, quoted, shell
from kan_exp.runs import from_here

BLOCK = 2**15  # rows that are read at a time
# What fields of each kind are.
WORDS = {"number": "finite numbers", "boolean": "words for yes and no", "category": "texts"}
WORDS |= {"date": "dates of one format"}
SUFFIXES = (".csv", ".tsv", ".parquet")


class LargeTable:
    """Columns of one file or many.

    Kinds of columns are recognized in the first rows. Tables of numbers alone are ready to be read;
    others once `fit` has seen training rows.

    Args:
        path: A .csv, .tsv or .parquet file, a folder with Parquet files in it, or a pattern such as
            `logs/*.parquet`; files are read in the order of their names.
        target: The output column, or a list of them.
        features: Input columns; `None` takes all but the target.
        separator: Of the fields of a .csv file.
        missing: `error` refuses gaps in inputs, `impute` fills them.

    Raises:
        KanExpError: There is no such file, a column is unknown, files differ in their columns, or
            the first rows of a column cannot be used.
    """

    def __init__(
        self,
        path: object,
        target: object,
        features: Sequence[object] | None,
        separator: str,
        missing: str = "error",
    ) -> None:
        if missing not in ("error", "impute"):
            raise KanExpError(f"data.missing must be error or impute, got {missing!r}.")
        self.files = _find(path)
        self.source = tidy(from_here(str(path)))
        self.separator = "\t" if separator == "\\t" else separator
        header = _Header(self.files[0], self.source, list(self._names(self.files[0])))
        if target is None:
            raise no_target(header)
        self.schema = choose(header, features, target)
        for file in self.files[1:]:
            own = self._names(file)
            if lacking := [name for name in self.schema.names if name not in own]:
                raise KanExpError(
                    f"{file}: has no column {shown(lacking[0])}, which {self.files[0]} has: files "
                    f"of a table need the same columns."
                )
        self._recognize(missing)

    def _recognize(self, missing: str) -> None:
        """Finds the kinds of the inputs in the first rows of the first file."""
        rows = self._scan(self.files[0], self.schema.names).head(BLOCK).collect()
        treatment, inputs = Treatment(missing=missing), []
        for column in self.schema.inputs:
            fields = clean_fields(rows[column.name])
            found = recognize(column.name, fields, treatment, None)
            if found.fault in (TEXT, OTHER, INFINITE) or not fields.count():
                inputs.append(replace(column, impute=missing == "impute"))
            elif found.fault:
                raise KanExpError(
                    f"{self.files[0]}: column {shown(column.name)} has {found.fault}: "
                    f"{self._cure(column.name)}"
                )
            else:
                inputs.append(found.column)
        self.schema = replace(self.schema, inputs=tuple(inputs))
        self.is_plain = self.schema == Schema.of_numbers(self.schema.columns, self.schema.targets)

    def fit(self, frame: pl.DataFrame) -> None:
        """Fits the kinds of the inputs to training rows, see `Schema.fit`."""
        self.schema = self.schema.fit(frame)
        if not self.schema.inputs:
            raise KanExpError(
                f"{self.source}: no column but the target varies in the training rows: add one."
            )

    def frames(self) -> Iterator[pl.DataFrame]:
        """All rows as columns of the types in `Column.fit`, in blocks as those of `blocks`.

        Raises:
            KanExpError: A field is missing, or not of its column's kind; or a file is damaged.
        """
        for file in self.files:
            first = 0
            with _readable(file):
                for raw in self._batches(self._scan(file, self.schema.names)):
                    yield self._read(file, first, raw)
                    first += len(raw)

    def _read(self, file: Path, first: int, raw: pl.DataFrame) -> pl.DataFrame:
        columns, faults = {}, []
        for column in (*self.schema.inputs, *self.schema.outputs):
            fields = clean_fields(raw[column.name])
            columns[column.name] = values = read(column, fields)
            bad = values.is_null() & (fields.is_not_null() | (not column.impute))
            if column.kind == "number":
                bad |= values.is_infinite().fill_null(False)
            if bad.any():
                faults.append((int(bad.arg_true()[0]), column.name))
        if faults:
            row, name = min(faults)
            raise self._fault(file, first + row, name)
        return pl.DataFrame(columns)

    def blocks(self) -> Iterator[FloatArray]:
        """All rows as the network sees them, `(rows, features + outputs)`.

        They are in their order, `BLOCK` at a time within a file.

        Raises:
            KanExpError: A field is missing, infinite or no number; or a file is damaged.
        """
        if not self.is_plain:
            for frame in self.frames():
                parts = self.schema.encode(frame), self.schema.encode_outputs(frame)
                yield np.column_stack(parts)
            return
        for file in self.files:
            first = 0
            with _readable(file):
                for frame in self._batches(self._numbers(file)):
                    values = frame.to_numpy()
                    if not np.isfinite(values).all():
                        row, column = np.argwhere(~np.isfinite(values))[0]
                        raise self._fault(file, first + int(row), self.schema.names[column])
                    yield values
                    first += len(values)

    @staticmethod
    def _batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        """Batches of `BLOCK` rows, the last one smaller."""
        left = None
        for batch in frame.collect_batches(chunk_size=BLOCK, maintain_order=True):
            left = batch if left is None else pl.concat([left, batch])
            while len(left) >= BLOCK:
                yield left.head(BLOCK)
                left = left.slice(BLOCK)
        if left is not None and len(left):
            yield left

    def _numbers(self, file: Path) -> pl.LazyFrame:
        """The chosen columns as numbers; NaN for what is none."""
        names = self._names(file)
        schema = dict.fromkeys(names.values(), pl.Float64)
        frame = self._open(file, schema=schema, ignore_errors=True)
        numbers = [pl.col(names[name]).cast(pl.Float64, strict=False) for name in self.schema.names]
        return frame.select(numbers).fill_null(float("nan"))

    def _scan(self, file: Path, columns: Sequence[str]) -> pl.LazyFrame:
        """Fields as they are stored, under the names that users type."""
        names = self._names(file)
        frame = self._open(file, infer_schema=False)
        return frame.select(pl.col(names[name]).alias(name) for name in columns)

    def _open(self, file: Path, **options: Any) -> pl.LazyFrame:
        """A file, read by these options if it is text."""
        if file.suffix == ".parquet":
            return pl.scan_parquet(file, glob=False)
        separator = "\t" if file.suffix == ".tsv" else self.separator
        return pl.scan_csv(file, separator=separator, glob=False, **options)

    def _names(self, file: Path) -> dict[str, str]:
        """Names of a file's columns as users type them, and as polars has them."""
        with _readable(file):
            names = typed = self._open(file, infer_schema=False).collect_schema().names()
            if file.suffix != ".parquet":
                header = self._open(file, has_header=False, n_rows=1, infer_schema=False).collect()
                typed = [name or "" for name in header.row(0)]  # polars renames repeated ones
        found = dict(zip(map(tidy, typed), names, strict=True))
        if len(found) < len(names):
            twice = next(name for name, count in Counter(map(tidy, typed)).items() if count > 1)
            raise KanExpError(
                f"{file}: has several columns {shown(twice)}: rename all but one of them."
            )
        return found

    def _fault(self, file: Path, row: int, name: str) -> KanExpError:
        """The error for a field that is no finite number."""
        (field,) = self._scan(file, [name]).slice(row, 1).collect().to_series().to_list()
        is_gap = field is None or field == ""
        what = "no value" if is_gap else shown(field)
        columns = (*self.schema.inputs, *self.schema.outputs)
        (kind,) = (one.kind for one in columns if one.name == name)
        fill = is_gap and name not in self.schema.targets
        advice = f"{'set data.missing=impute, ' * fill}mend the file, {self._cure(name)}"
        return KanExpError(
            f"{file}: column {shown(name)} has {what} in row {row + 1:,}: a streamed table takes "
            f"{WORDS[kind]} alone; {advice}"
        )

    def _cure(self, name: str) -> str:
        kept = [one for one in self.schema.columns if one != name]
        if name in self.schema.targets or not kept:
            return "or choose another data.target."
        return f"or leave it out: {assign('data.features', kept)}"


class _Header(TableFile):
    """The names of the columns of a file."""

    def __init__(self, path: Path, source: str, names: list[str]) -> None:
        self._found = names
        super().__init__(path, source)

    def _read_header(self) -> list[str]:
        return self._found

    def header_hint(self) -> str:
        """Advice for text whose header is one column with another separator in it."""
        found = next((mark for mark in SEPARATORS if mark in self.header[0]), None)
        if len(self.header) > 1 or found is None or self.path.suffix == ".parquet":
            return super().header_hint()
        typed = "\\t" if found == "\t" else found
        return f" Is it separated by {found!r}? Set {shell(f'data.separator={quoted(typed)}')}"


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Explains errors of reading a file by a `KanExpError`."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise KanExpError(f"{file}: cannot be read ({tidy(reason)}).") from None


def _find(path: object) -> list[Path]:
    """The files of a table."""
    place = expand_home(str(path))
    if place.is_dir():
        found = sorted(place.rglob("*.parquet"))
        if not found:
            raise KanExpError(
                f"{path}: has no .parquet file in it: set data.path to such a folder."
            )
        return found
    found = [place]
    if not place.is_file():
        pattern = str(place.relative_to(place.anchor) if place.is_absolute() else place)
        root = Path(place.anchor) if place.is_absolute() else Path()
        found = sorted(file for file in root.glob(pattern) if file.is_file())
    if not found:
        raise KanExpError(f"{path}: no such file: set data.path to a file, a folder or a pattern.")
    for file in found:
        if file.suffix not in SUFFIXES:
            raise KanExpError(f"{file}: data=stream reads {listing(SUFFIXES)}: write it as such.")
    return found
