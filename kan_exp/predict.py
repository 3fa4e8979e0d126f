"""Writes predictions for new rows: `python -m kan_exp.predict run=FOLDER input=... output=...`."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from kan_exp.cli import check_given, check_names, load_model, run_command
from kan_exp.data.columns import shown, tidy
from kan_exp.data.options import Options
from kan_exp.data.ranges import outside
from kan_exp.data.readers import open_columns
from kan_exp.data.schema import Schema
from kan_exp.data.table import read_columns
from kan_exp.errors import KanExpError, listing
from kan_exp.quoting import expand_home
from kan_exp.runs.folders import find_checkpoint

log = logging.getLogger(__name__)

OPTIONS = Options(path="input", separator="separator", features=None, missing="missing")
SEPARATED = {".csv": ",", ".tsv": "\t"}  # by the output's extension


def predict(cfg: DictConfig) -> None:
    """Writes the rows of `input` with more columns, the predictions, to `output`."""
    check_names(cfg, "predict", ("run", "input", "output", "separator", "missing", "modules"))
    source, output = _files(cfg)
    missing = cfg.get("missing", "error")
    if missing not in ("error", "drop"):
        raise KanExpError(f"missing must be error or drop, got {missing}.")
    # Checks that need no torch come before its import, which takes seconds.
    reader = open_columns(cfg.input, cfg.separator, OPTIONS)
    find_checkpoint(str(cfg.run))
    model, description = load_model(str(cfg.run), list(cfg.modules))
    import torch

    from kan_exp.models.ranges import trained_ranges

    schema = Schema.restore(description)
    names = _new_columns(list(model.as_columns(torch.empty(0, len(model.names)))), schema)
    if taken := [name for name in names if name in reader.names]:
        raise reader.error(
            f"has a column {shown(taken[0])} already, which predictions would be called: rename it."
        )
    schema = Schema(schema.inputs, (), schema.missing_values)
    table = read_columns(reader, schema, missing)
    predicted = model.predict(torch.from_numpy(table.x))
    columns = list(model.as_columns(predicted).values())
    if table.kept is not None:  # rows with gaps have no prediction
        cells = np.full((len(columns), len(reader.columns[0])), "", dtype=object)
        cells[:, table.kept] = columns
        columns = cells.tolist()
    # A .csv file keeps its separator.
    separator = SEPARATED[output.suffix.lower()]
    own = getattr(reader, "separator", " ")
    if output.suffix.lower() == ".csv" and source.suffix.lower() != ".tsv" and own != " ":
        separator = own
    # Written to another file and moved, so that an interrupted write leaves no half of a table.
    partial = output.with_name(f".{os.getpid()}.partial")
    try:
        with partial.open("w", newline="", encoding=reader.encoding) as file:
            left_out = reader.write(file, separator, dict(zip(names, columns, strict=True)))
        partial.replace(output)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise KanExpError(
            f"output: cannot write {cfg.output}: {reason}: name another file."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    many = "1 row" if len(predicted) == 1 else f"{len(predicted):,} rows"
    log.info("%s: %s with %s", cfg.output, many, listing(names))
    if left_out:
        log.info("Note: text cannot hold the columns %s, left out.", ", ".join(left_out))
    ranges = trained_ranges(model, description)
    for line in (*table.notes, *outside(table.x, ranges, table.features)):
        log.info("Note: %s", line)
    if broken := int((~predicted.isfinite()).any(1).sum()):
        log.info("Note: %s predictions are no finite numbers.", f"{broken:,}")


def _new_columns(names: Sequence[str], schema: Schema) -> list[str]:
    """Names for the predictions, numbered where an input, which cannot be renamed, has one."""
    taken = {*schema.columns}
    found = []
    for name in map(tidy, names):
        numbered = (f"{name}{number if number > 1 else ''}" for number in itertools.count(1))
        found.append(next(name for name in numbered if name not in taken))
        taken.add(found[-1])
    return found


def _files(cfg: DictConfig) -> tuple[Path, Path]:
    """Input and output.

    Raises:
        KanExpError: The output cannot be written, or is the input.
    """
    check_given(cfg, "run", "input", "output")
    source, output = (expand_home(str(name)) for name in (cfg.input, cfg.output))
    if output.suffix.lower() not in SEPARATED:
        raise KanExpError(f"output must be a .csv or .tsv file, got {cfg.output}.")
    if output.resolve() == source.resolve():
        raise KanExpError("output is the same file as input: name another.")
    if not output.parent.is_dir():
        raise KanExpError(f"output: there is no folder {output.parent}: make it first.")
    if output.is_dir():
        raise KanExpError(f"output: {cfg.output} is a folder: name a file in it.")
    return source, output


if __name__ == "__main__":
    run_command("predict", predict)
