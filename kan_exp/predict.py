"""Writes predictions for new rows: `python -m kan_exp.predict run=FOLDER input=... output=...`."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import check_given, check_names, load_model, run_command
from kan_exp.data.batches import STDIN, Batches
from kan_exp.data.columns import as_texts, free_name, shown, tidy
from kan_exp.data.options import Options
from kan_exp.data.ranges import MARKED
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError, listing, message_of
from kan_exp.lazy import polars as pl
from kan_exp.models.residuals import check_coverage
from kan_exp.quoting import expand_home
from kan_exp.runs.files import check_output, replacing
from kan_exp.runs.printable import counted

if TYPE_CHECKING:
    from kan_exp.models.streaming import Part, Predictor

log = logging.getLogger(__name__)

OPTIONS = Options(path="input", separator="separator", features=None, missing="missing")
KNOWN = ("run", "input", "output", "separator", "missing", "keep", "mark", "interval", "modules")
SEPARATED = {".csv": ",", ".tsv": "\t"}  # by the output's extension
PARQUET = ".parquet"
STDOUT = "-"


def predict(cfg: DictConfig) -> None:
    """Writes the rows of `input` with more columns, the predictions, to `output`."""
    check_names(cfg, "predict", KNOWN)
    source, output = _files(cfg)
    missing = cfg.get("missing", "error")
    if missing not in ("error", "drop"):
        raise KanExpError(f"missing must be error or drop, got {missing}.")
    if not isinstance(marks := cfg.get("mark", False), bool):
        raise KanExpError(f"mark must be true or false, got {marks}.")
    if (coverage := cfg.get("interval")) is not None:
        coverage = check_coverage("interval", coverage)
    if output is None:
        _log_to_stderr()
    batches = Batches(cfg.input, cfg.separator, OPTIONS)
    kept = _kept(batches.first, cfg.get("keep"))
    model = load_model(str(cfg.run), list(cfg.modules))
    from kan_exp.models.streaming import Predictor

    margins = None if coverage is None else model.interval_margins(coverage)
    predictor = Predictor(model, replace(model.schema, outputs=()), missing == "drop", margins)
    columns = _Columns(predictor, marks)
    names = columns.names(batches.first, kept)
    with predictor.run(batches, "predict") as parts:
        try:
            if output is None or output.suffix.lower() != PARQUET:
                separator = _separator(batches.first, source, output)
                with _text_file(output, batches.first.encoding) as file:
                    left_out = _write_texts(columns, parts, file, names, kept, separator)
            else:
                with replacing(output) as file:
                    left_out = _write_frames(columns, parts, Path(file.name), names, kept)
        except BrokenPipeError:  # whoever reads standard output wants no more
            return
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if output is None:
                raise KanExpError(f"standard output cannot be written: {reason}.") from error
            raise KanExpError(
                f"output: cannot write {cfg.output}: {reason}: name another file."
            ) from error
    rows = counted(predictor.rows, "row")
    log.info("%s: %s with %s", cfg.output, rows, listing(names))
    if left_out:
        log.info("Note: the output cannot hold the columns %s, left out.", ", ".join(left_out))
    for line in predictor.notes():
        log.info("Note: %s", line)


class _Columns:
    """The columns that are added to a table.

    Args:
        predictor: Predicts them.
        marks: Whether a column marks rows outside of the trained range.
    """

    def __init__(self, predictor: Predictor, marks: bool) -> None:
        self.predictor, self.model, self.marks = predictor, predictor.model, marks

    def names(self, file: TableFile, kept: Sequence[int] | None) -> list[str]:
        """Names of the columns, numbered where an input has one; none of a kept column."""
        import torch

        names = list(self.model.as_columns(torch.empty(0, len(self.model.names))))
        if self.predictor.margins is not None:
            names += [f"{name}_{end}" for name in self.model.names for end in ("low", "high")]
        taken = [*self.predictor.schema.columns]
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

    def series(self, part: Part) -> list[pl.Series]:
        """The columns; null where a row has a gap."""
        columns = [*self.model.as_columns(part.predicted).values()]
        if part.ends is not None:
            columns += [pl.Series(column) for column in part.ends.flatten(1).numpy().T]
        columns += [pl.Series(part.far)] * self.marks
        gaps = pl.Series(part.gaps)
        return [column.set(gaps, None) for column in columns]


def _write_texts(
    columns: _Columns,
    parts: Iterator[Part],
    file: IO[str],
    names: Sequence[str],
    kept: Sequence[int] | None,
    separator: str,
) -> list[str]:
    """Writes all rows as text; returns names of columns that it cannot hold."""
    left_out: list[str] = []
    for part in parts:
        added = dict(zip(names, map(as_texts, columns.series(part)), strict=True))
        left_out = part.file.write(file, separator, added, kept)
        file.flush()
    return left_out


def _write_frames(
    columns: _Columns,
    parts: Iterator[Part],
    path: Path,
    names: Sequence[str],
    kept: Sequence[int] | None,
) -> list[str]:
    """Writes all rows as Parquet; returns names of columns that it cannot hold."""
    from polars.io.plugins import register_io_source

    left_out: list[str] = []
    failures: list[BaseException] = []

    def frames() -> Iterator[pl.DataFrame]:
        try:
            for part in parts:
                added = dict(zip(names, columns.series(part), strict=True))
                yield pl.DataFrame({**_kept_columns(part, kept, left_out), **added})
        except BaseException as error:
            failures.append(error)
            raise

    made = frames()
    first = next(made)

    def source(*_: Any) -> Iterator[pl.DataFrame]:
        yield first
        yield from made

    try:
        register_io_source(source, schema=first.schema).sink_parquet(path, compression="snappy")
    except pl.exceptions.PolarsError as error:
        if failures:
            raise failures[0] from None
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise OSError(None, os.strerror(int(number[1])) if number else message_of(error)) from error
    return left_out


def _kept_columns(part: Part, kept: Sequence[int] | None, left_out: list[str]) -> dict[str, Any]:
    """Columns of the input; of text, those that the network reads are as it reads them."""
    file = part.file
    typed = part.table.frame if not any(file.types) else pl.DataFrame()
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
def _text_file(output: Path | None, encoding: str) -> Iterator[IO[str]]:
    """The output for text; standard output if there is none."""
    if output is None:
        sys.stdout.flush()
        number = os.dup(sys.stdout.fileno())
        with open(number, "w", newline="", encoding=encoding) as file:  # noqa: PTH123
            yield file
        return
    with replacing(output) as stream:
        yield (file := io.TextIOWrapper(stream, newline="", encoding=encoding))
        file.detach()  # which `replacing` closes


def _log_to_stderr() -> None:
    """Logs to standard error, as the rows go to standard output."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def _kept(file: TableFile, keep: Any) -> list[int] | None:
    """Places of the columns that are kept; None for all."""
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
    """Input and output, checked; None for a standard stream."""
    check_given(cfg, "run", "input", "output")
    source = None if cfg.input == STDIN else expand_home(str(cfg.input))
    if cfg.output == STDOUT:
        return source, None
    output = expand_home(str(cfg.output))
    if output.suffix.lower() not in (*SEPARATED, PARQUET):
        raise KanExpError(f"output must be a .csv, .tsv or .parquet file, got {cfg.output}.")
    if source is not None and output.resolve() == source.resolve():
        raise KanExpError("output is the same file as input: name another.")
    check_output(output)
    return source, output


if __name__ == "__main__":
    run_command("predict", predict)
