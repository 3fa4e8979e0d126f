"""Tables that do not fit into memory, read in blocks of rows by polars; no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kan_exp.data.columns import FloatArray, shown, tidy
from kan_exp.data.csv_file import SEPARATORS
from kan_exp.data.options import assign
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.quoting import expand_home, quoted, shell
from kan_exp.runs import from_here

if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame

BLOCK = 2**15  # rows that are read at a time
SUFFIXES = (".csv", ".tsv", ".parquet")


class Block(NamedTuple):
    """Rows that follow each other in a file: `values` `(rows, columns)`, from row `first` on."""

    values: FloatArray
    first: int


class LargeTable:
    """Columns of numbers in one file or many, all finite.

    Args:
        path: A .csv, .tsv or .parquet file, a folder with Parquet files in it, or a pattern such as
            `logs/*.parquet`; files are read in the order of their names.
        target: The output column, or a list of them.
        features: Input columns; `None` takes all but the target.
        separator: Of the fields of a .csv file.

    Raises:
        KanExpError: There is no such file, a column is unknown, or files differ in their columns.
    """

    def __init__(
        self, path: object, target: object, features: Sequence[object] | None, separator: str
    ) -> None:
        self.files = _find(path)
        self.source = tidy(from_here(str(path)))
        self.separator = "\t" if separator == "\\t" else separator
        self._header = self._names(self.files[0])
        if target is None:
            last = shown(list(self._header)[-1])
            raise KanExpError(
                f"{self.source}: data.target is needed, the column to learn, such as {last}; "
                f"columns: {listing(map(shown, self._header))}.{self._separator_hint()}"
            )
        outputs = tuple(map(tidy, target if isinstance(target, list | tuple) else [target]))
        if features is None:
            left_out = {"", *outputs}  # a column without a name is the index that pandas writes
            features = [name for name in self._header if name not in left_out]
        inputs = tuple(map(tidy, features))
        self.schema = Schema.of_numbers(inputs, outputs)
        for option, names in (("data.target", outputs), ("data.features", inputs)):
            for name in names:
                if name not in self._header:
                    hint = self._separator_hint() or suggest(name, self._header)
                    raise KanExpError(
                        f"{self.source}: has no column {shown(name)}, which {option} names; "
                        f"columns: {listing(map(shown, self._header))}.{hint}"
                    )
        for file in self.files[1:]:
            own = self._names(file)
            if missing := [name for name in self.schema.names if name not in own]:
                raise KanExpError(
                    f"{file}: has no column {shown(missing[0])}, which {self.files[0]} has: files "
                    f"of a table need the same columns."
                )

    def blocks(self) -> Iterator[Block]:
        """All rows of inputs and outputs in their order, `BLOCK` at a time within a file.

        Raises:
            KanExpError: A field is missing, infinite or no number; or a file is damaged.
        """
        import polars as pl

        for file in self.files:
            names, first = self._names(file), 0
            chosen = [names[name] for name in self.schema.names]
            try:
                for frame in self._batches(self._numbers(file, chosen)):
                    values = frame.to_numpy()
                    if not np.isfinite(values).all():
                        row, column = np.argwhere(~np.isfinite(values))[0]
                        raise self._fault(file, first + int(row), self.schema.names[column])
                    yield Block(values, first)
                    first += len(values)
            except (pl.exceptions.PolarsError, OSError) as error:
                reason = str(error).strip().splitlines()[0]
                raise KanExpError(f"{file}: cannot be read ({tidy(reason)}).") from None

    @staticmethod
    def _batches(frame: LazyFrame) -> Iterator[DataFrame]:
        """Batches of `BLOCK` rows, the last one smaller."""
        import polars as pl

        left = None
        for batch in frame.collect_batches(chunk_size=BLOCK, maintain_order=True):
            left = batch if left is None else pl.concat([left, batch])
            while len(left) >= BLOCK:
                yield left.head(BLOCK)
                left = left.slice(BLOCK)
        if left is not None and len(left):
            yield left

    def _numbers(self, file: Path, chosen: Sequence[str]) -> LazyFrame:
        import polars as pl

        if file.suffix == ".parquet":
            frame = pl.scan_parquet(file, glob=False)
        else:
            schema = dict.fromkeys(self._names(file).values(), pl.Float64)
            frame = pl.scan_csv(file, schema=schema, ignore_errors=True, **self._format(file))
        numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in chosen]
        return frame.select(numbers).fill_null(float("nan"))

    def _names(self, file: Path) -> dict[str, str]:
        """Names of a file's columns as users type them, and as polars has them."""
        import polars as pl

        try:
            if file.suffix == ".parquet":
                names = typed = list(pl.read_parquet_schema(file))
            else:
                form = {"infer_schema": False, **self._format(file)}
                names = pl.scan_csv(file, **form).collect_schema().names()
                header = pl.scan_csv(file, has_header=False, n_rows=1, **form).collect()
                typed = [name or "" for name in header.row(0)]  # polars renames repeated ones
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise KanExpError(f"{file}: cannot be read ({tidy(reason)}).") from None
        found = dict(zip(map(tidy, typed), names, strict=True))
        if len(found) < len(names):
            twice = next(name for name, count in Counter(map(tidy, typed)).items() if count > 1)
            raise KanExpError(
                f"{file}: has several columns {shown(twice)}: rename all but one of them."
            )
        return found

    def _separator_hint(self) -> str:
        """Advice for text whose header is one column with another separator in it."""
        (name, *others) = self._header
        found = next((mark for mark in SEPARATORS if mark in self._header[name]), None)
        if others or found is None or self.files[0].suffix == ".parquet":
            return ""
        typed = "\\t" if found == "\t" else found
        return f" Is it separated by {found!r}? Set {shell(f'data.separator={quoted(typed)}')}"

    def _format(self, file: Path) -> dict[str, Any]:
        return {"separator": "\t" if file.suffix == ".tsv" else self.separator, "glob": False}

    def _fault(self, file: Path, row: int, name: str) -> KanExpError:
        """The error for a field that is no finite number."""
        import polars as pl

        own = self._names(file)[name]
        if file.suffix == ".parquet":
            frame = pl.scan_parquet(file, glob=False)
        else:
            frame = pl.scan_csv(file, infer_schema=False, **self._format(file))
        (field,) = frame.select(own).slice(row, 1).collect().to_series().to_list()
        what = "no value" if field is None or field == "" else shown(field)
        kept = [one for one in self.schema.features if one != name]
        cure = f"or leave it out: {assign('data.features', kept)}"
        if name in self.schema.targets or not kept:
            cure = "or choose another data.target."
        return KanExpError(
            f"{file}: column {shown(name)} has {what} in row {row + 1:,}: a streamed table takes "
            f"finite numbers alone; mend the file, {cure}"
        )


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
