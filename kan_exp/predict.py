"""Writes predictions for new rows: `python -m kan_exp.predict run=FOLDER input=... output=...`."""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path

from omegaconf import DictConfig

from kan_exp.cli import load_model, run_command
from kan_exp.errors import KanExpError

log = logging.getLogger(__name__)


def predict(cfg: DictConfig) -> None:
    """Reads the features of the run from `input` and writes them with predictions to `output`."""
    source, output = Path(cfg.input).expanduser(), Path(cfg.output).expanduser()
    if output.suffix != ".csv":
        raise KanExpError(f"output must be a .csv file, got {cfg.output}.")
    if output.resolve() == source.resolve():
        raise KanExpError("output is the same file as input: name another.")
    if not source.is_file():
        raise KanExpError(f"input: there is no file {cfg.input} in {Path.cwd()}.")
    if not output.parent.is_dir():
        raise KanExpError(f"output: there is no folder {output.parent}: make it first.")
    model = load_model(cfg)
    import torch

    from kan_exp.data import read_table

    table = read_table(source, model.features, None, cfg.separator)
    predicted = model.predict(torch.from_numpy(table.x))[:, 0].tolist()
    name = f"{model.target_name}_predicted"
    # Written beside and moved, so that an interrupted write leaves no half of a table.
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*table.features, name])
            for row, value in zip(table.x.tolist(), predicted, strict=True):
                writer.writerow([*row, f"{value:.9g}"])
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    log.info("%s: %s rows with %s", cfg.output, f"{len(predicted):,}", name)


if __name__ == "__main__":
    run_command("predict", predict)
