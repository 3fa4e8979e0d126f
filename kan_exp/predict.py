"""Writes predictions for new rows: `python -m kan_exp.predict run=FOLDER input=... output=...`."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import check_given, check_names, load_model, run_command
from kan_exp.data.batches import STDIN, Batches
from kan_exp.data.columns import FloatArray, free_name, shown, tidy
from kan_exp.data.options import Options
from kan_exp.data.ranges import MARKED, FarRows
from kan_exp.data.schema import Schema
from kan_exp.data.table import Table, read_columns
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError, listing, message_of
from kan_exp.quoting import expand_home
from kan_exp.runs.folders import find_checkpoint

if TYPE_CHECKING:
    from polars import DataFrame
    from torch import Tensor

    from kan_exp.models.model import KANModel

log = logging.getLogger(__name__)

OPTIONS = Options(path="input", separator="separator", features=None, missing="missing")
KNOWN = ("run", "input", "output", "separator", "missing", "keep", "mark", "modules")
SEPARATED = {".csv": ",", ".tsv": "\t"}  # by the output's extension
PARQUET = ".parquet"
STDOUT = "-"
AHEAD = 2  # parts that wait for each thread


def predict(cfg: DictConfig) -> None:
    """Writes the rows of `input` with more columns, the predictions, to `output`."""
    check_names(cfg, "predict", KNOWN)
    source, output = _files(cfg)
    missing = cfg.get("missing", "error")
    if missing not in ("error", "drop"):
        raise KanExpError(f"missing must be error or drop, got {missing}.")
    if output is None:
        _log_to_stderr()
    # Checks that need no torch come before its import, which takes seconds.
    batches = Batches(cfg.input, cfg.separator, OPTIONS)
    kept = _kept(batches.first, cfg.get("keep"))
    find_checkpoint(str(cfg.run))
    model = load_model(str(cfg.run), list(cfg.modules))
    from kan_exp.models.ranges import trained_ranges

    far = FarRows(trained_ranges(model), model.features)
    schema = Schema.restore(model.description)
    job = _Job(model, schema, far, missing, bool(cfg.get("mark", False)))
    names = job.new_columns(batches.first, kept)
    with _threads() as workers, _progress(batches.size) as advance:
        results = job.taken(_in_order(job.predict, batches, workers), advance)
        try:
            if output is None or output.suffix.lower() != PARQUET:
                separator = _separator(batches.first, source, output)
                with _text_file(output, batches.first.encoding) as file:
                    left_out = _write_texts(job, results, file, names, kept, separator)
            else:
                with _partial(output) as partial:
                    left_out = _write_frames(job, results, partial, names, kept)
        except BrokenPipeError:  # whoever reads standard output wants no more
            return
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise KanExpError(
                f"output: cannot write {cfg.output}: {reason}: name another file."
            ) from error
    many = "1 row" if job.rows == 1 else f"{job.rows:,} rows"
    log.info("%s: %s with %s", cfg.output, many, listing(names))
    if left_out:
        log.info("Note: the output cannot hold the columns %s, left out.", ", ".join(left_out))
    for line in job.notes(batches.first):
        log.info("Note: %s", line)


class _Result(NamedTuple):
    """Predictions for a part of the table.

    Attributes:
        file: The part.
        size: How much of the whole it is.
        table: Its columns.
        x: Inputs of the network `(n, in)`.
        predicted: Predictions `(n, outputs)`.
        far: Which rows lie outside of the trained range.
        gaps: Which rows have no prediction.
    """

    file: TableFile
    size: int
    table: Table
    x: FloatArray
    predicted: Tensor
    far: NDArray[np.bool_]
    gaps: NDArray[np.bool_]


class _Job:
    """Predicts parts of a table, and gathers what is to be said about all rows.

    Args:
        model: The network.
        schema: Of its columns.
        far: Counts rows outside of the trained range.
        missing: `drop` leaves rows with gaps without predictions.
        marks: Whether a column marks rows outside of the trained range.
    """

    def __init__(
        self, model: KANModel, schema: Schema, far: FarRows, missing: str, marks: bool
    ) -> None:
        self.model, self.far, self.missing, self.marks = model, far, missing, marks
        self.schema = Schema(schema.inputs, (), schema.missing_values)
        self.rows = self.gaps = self.broken = 0
        self._notes: dict[str, str] = {}  # the first of each column
        self._unknown: list[DataFrame] = []

    def new_columns(self, file: TableFile, kept: Sequence[int] | None) -> list[str]:
        """Names of the columns that are added, numbered where an input has one.

        Raises:
            KanExpError: Another column that is kept has one.
        """
        import torch

        names = list(self.model.as_columns(torch.empty(0, len(self.model.names))))
        taken = [*self.schema.columns]
        found = []
        for name in [*names, *[MARKED] * self.marks]:
            found.append(free_name(tidy(name), taken))
            taken.append(found[-1])
        theirs = file.names if kept is None else [file.names[place] for place in kept]
        if both := [name for name in found if name in theirs]:
            raise file.error(
                f"has a column {shown(both[0])} already, which predictions would be called: rename "
                f"it."
            )
        return found

    def predict(self, file: TableFile, size: int) -> _Result:
        """Predicts a part; several threads call this."""
        import torch

        table = read_columns(file, self.schema, self.missing, keeps_gaps=True)
        x = self._inputs(table)
        gaps = np.zeros(len(x), dtype=bool)
        if self.missing == "drop":
            gaps = table.gaps.to_numpy()
        predicted = self.model.predict(torch.from_numpy(x))
        return _Result(file, size, table, x, predicted, self.far.find(x), gaps)

    def _inputs(self, table: Table) -> FloatArray:
        """Inputs of the network `(n, in)`."""
        if not self.schema.is_plain:
            return table.x
        columns = table.frame.fill_null(float("nan"))  # where missing=drop
        # Each column in one piece, which takes half of the time.
        return np.asarray(columns.to_numpy(order="fortran", writable=True))

    def taken(
        self, results: Iterator[_Result], advance: Callable[[int], None]
    ) -> Iterator[_Result]:
        """Passes results on, and takes from them what is to be said at the end."""
        for result in results:
            known = ~result.gaps
            all_known = bool(known.all())
            self.rows += int(known.sum())
            self.gaps += len(known) - int(known.sum())
            x, far = (result.x, result.far) if all_known else (result.x[known], result.far[known])
            self.far.add(x, far)
            finite = result.predicted.isfinite().all(1).numpy()
            self.broken += int((~finite & known).sum())
            for note in result.table.notes:
                self._notes.setdefault(note.partition(" has whole numbers")[0], note)
            self._unknown += self.schema.unknown_rows(result.table.frame)
            advance(result.size)
            yield result
        if not self.rows and self.gaps:
            raise result.file.error("every row has a gap, so that no row has a prediction.")

    def notes(self, file: TableFile) -> list[str]:
        """Lines about all rows."""
        import polars as pl

        lines = list(self._notes.values())
        if self._unknown:
            lines += self.schema.unknown_levels(pl.concat(self._unknown))
        if self.gaps:
            lines.append(f"{self.gaps:,} of {self.rows + self.gaps:,} rows with gaps are left out.")
        lines += self.far.lines()
        return lines + [f"{self.broken:,} predictions are no finite numbers."] * bool(self.broken)

    def texts(self, result: _Result) -> list[list[str]]:
        """The new columns as text."""
        columns = list(self.model.as_columns(result.predicted).values())
        columns += [["true" if one else "false" for one in result.far]] * self.marks
        for row in np.flatnonzero(result.gaps).tolist():
            for column in columns:
                column[row] = ""
        return columns

    def series(self, result: _Result) -> list[Any]:
        """The new columns as numbers, and as text for classes."""
        import polars as pl

        numbers = result.predicted.double().numpy()
        columns: list[Any] = [pl.Series(column) for column in numbers.T]
        if self.model.classes:
            best = pl.Series([*self.model.classes, None], dtype=pl.String)
            finite = np.isfinite(numbers).all(1)
            places = np.where(finite, numbers.argmax(1), len(self.model.classes))
            columns.insert(0, best.gather(places))
        columns += [pl.Series(result.far)] * self.marks
        if not result.gaps.any():
            return columns
        gaps = pl.Series(result.gaps)
        return [column.set(gaps, None) for column in columns]


def _in_order(
    work: Callable[[TableFile, int], _Result], parts: Batches, workers: int
) -> Iterator[_Result]:
    """Results for all parts in their order, by several threads."""
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(work, *part))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


@contextmanager
def _threads() -> Iterator[int]:
    """The number of threads for whole parts; each then computes alone.

    Threads that share each operation wait for each other thousands of times.
    """
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predict", total=size)
        yield lambda amount: bar.advance(task, amount)


def _write_texts(
    job: _Job,
    results: Iterator[_Result],
    file: IO[str],
    names: Sequence[str],
    kept: Sequence[int] | None,
    separator: str,
) -> list[str]:
    """Writes all rows as text; returns names of columns that it cannot hold."""
    left_out: list[str] = []
    for result in results:
        added = dict(zip(names, job.texts(result), strict=True))
        left_out = result.file.write(file, separator, added, kept)
        file.flush()
    return left_out


def _write_frames(
    job: _Job,
    results: Iterator[_Result],
    path: Path,
    names: Sequence[str],
    kept: Sequence[int] | None,
) -> list[str]:
    """Writes all rows as Parquet; returns names of columns that it cannot hold."""
    import polars as pl
    from polars.io.plugins import register_io_source

    left_out: list[str] = []
    failures: list[BaseException] = []

    def frames() -> Iterator[DataFrame]:
        try:
            for result in results:
                columns = dict(zip(names, job.series(result), strict=True))
                yield pl.DataFrame({**_kept_columns(result, kept, left_out), **columns})
        except BaseException as error:
            failures.append(error)
            raise

    parts = frames()
    first = next(parts)

    def source(*_: Any) -> Iterator[DataFrame]:
        yield first
        yield from parts

    try:
        register_io_source(source, schema=first.schema).sink_parquet(path, compression="snappy")
    except pl.exceptions.PolarsError as error:
        if failures:
            raise failures[0] from None
        raise OSError(None, message_of(error)) from error
    return left_out


def _kept_columns(
    result: _Result, kept: Sequence[int] | None, left_out: list[str]
) -> dict[str, Any]:
    """Columns of the input; of text, those that the network reads are as it reads them."""
    import polars as pl

    file = result.file
    typed = result.table.frame if not any(file.types) else pl.DataFrame()
    columns: dict[str, Any] = {}
    for place in range(len(file.names)) if kept is None else kept:
        name = file.names[place]
        if name in columns:
            raise file.error(
                f"has several columns {shown(name)}, which Parquet cannot hold: rename them, or "
                f"choose others with keep=[...]"
            )
        column = typed[name] if name in typed.columns else file.columns[place]
        if column.dtype != pl.Object:
            columns[name] = column
        elif name not in left_out:
            left_out.append(name)
    return columns


@contextmanager
def _partial(output: Path) -> Iterator[Path]:
    """Another file, which becomes the output once it is whole."""
    partial = output.with_name(f".{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(output)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def _text_file(output: Path | None, encoding: str) -> Iterator[IO[str]]:
    """The output for text; standard output if there is none."""
    if output is None:
        sys.stdout.flush()
        number = os.dup(sys.stdout.fileno())
        with open(number, "w", newline="", encoding=encoding) as file:  # noqa: PTH123
            yield file
        return
    with _partial(output) as partial, partial.open("w", newline="", encoding=encoding) as file:
        yield file


def _log_to_stderr() -> None:
    """Sends lines about the rows elsewhere than the rows."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def _kept(file: TableFile, keep: Any) -> list[int] | None:
    """Places of the columns that are kept; None for all.

    Raises:
        KanExpError: A name is unknown, or `keep` is no list.
    """
    if keep is None:
        return None
    if isinstance(keep, str) or not (OmegaConf.is_list(keep) or isinstance(keep, list)):
        raise KanExpError(f"keep must be a list of columns, got {keep!r}: set keep=[{keep}].")
    names = [tidy(name) for name in keep]
    if unknown := [name for name in names if not file.places(name)]:
        raise file.unknown(unknown, "keep")
    return [place for name in dict.fromkeys(names) for place in file.places(name)]


def _separator(file: TableFile, source: Path | None, output: Path | None) -> str:
    """The separator of the output; a .csv file keeps that of its input."""
    suffix = ".csv" if output is None else output.suffix.lower()
    own = getattr(file, "separator", " ")
    is_tsv = source is not None and source.suffix.lower() == ".tsv"
    return own if suffix == ".csv" and not is_tsv and own != " " else SEPARATED[suffix]


def _files(cfg: DictConfig) -> tuple[Path | None, Path | None]:
    """Input and output; None for a standard stream.

    Raises:
        KanExpError: The output cannot be written, or is the input.
    """
    check_given(cfg, "run", "input", "output")
    source = None if cfg.input == STDIN else expand_home(str(cfg.input))
    if cfg.output == STDOUT:
        return source, None
    output = expand_home(str(cfg.output))
    if output.suffix.lower() not in (*SEPARATED, PARQUET):
        raise KanExpError(f"output must be a .csv, .tsv or .parquet file, got {cfg.output}.")
    if source is not None and output.resolve() == source.resolve():
        raise KanExpError("output is the same file as input: name another.")
    if not output.parent.is_dir():
        raise KanExpError(f"output: there is no folder {output.parent}: make it first.")
    if output.is_dir():
        raise KanExpError(f"output: {cfg.output} is a folder: name a file in it.")
    return source, output


if __name__ == "__main__":
    run_command("predict", predict)
