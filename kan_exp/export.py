"""Writes a network for other programs: `python -m kan_exp.export run=FOLDER format=onnx`."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from kan_exp.cli import check_given, check_names, load_model, run_command
from kan_exp.exporting import FORMATS, check_export, export
from kan_exp.quoting import expand_home

log = logging.getLogger(__name__)

KNOWN = ("run", "format", "output", "dtype", "table", "modules")


def export_run(cfg: DictConfig) -> None:
    """Writes the network of a run to a file, and prints where and how exact it is."""
    check_names(cfg, "export", KNOWN)
    check_given(cfg, "run", "dtype", "table")
    run, given = str(cfg.run), None if cfg.format is None else str(cfg.format)
    output = cfg.output
    if output is None:
        given = given or "npz"
        output = expand_home(run) / f"model{FORMATS.get(given, ('', ''))[1]}"
    file, format = check_export(str(output), given, str(cfg.dtype))
    model = load_model(run, list(cfg.modules))
    lines = export(model, file, format, str(cfg.dtype), str(cfg.table))
    log.info("%s: %s bytes", file, f"{file.stat().st_size:,}")
    for line in lines:
        log.info("%s", line)


if __name__ == "__main__":
    run_command("export", export_run)
