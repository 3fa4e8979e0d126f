"""Compares runs: `python -m kan_exp.report [FOLDER ...] [metric=...]`.

Folders are written without `folders=`, so that a shell can complete and expand them; Hydra, which
knows only `option=value`, gets the rest. Neither needs torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from kan_exp.cli import check_names, run_command, store_schema
from kan_exp.commandline.arguments import spelled, split_flags
from kan_exp.config import ReportConfig
from kan_exp.errors import KanExpError
from kan_exp.quoting import expand_home, read_path


def report(folders: Sequence[str], cfg: DictConfig) -> None:
    """Reads the runs, prints the tables, and writes the page and the CSV files."""
    check_names(cfg, "report", [field.name for field in fields(ReportConfig)])
    folders = folders or list(cfg.folders)
    if not folders:
        raise KanExpError("folders=[]: a report needs folders of runs: name one, such as outputs.")
    for name, count in cfg.most.items():
        if count < 0:
            raise KanExpError(f"most.{name} must be at least 0, got {count}.")
    target = page_path(cfg.output, folders)
    from rich.console import Console

    from kan_exp.reporting.comparison import compare_runs
    from kan_exp.reporting.notes import make_notes
    from kan_exp.reporting.page import page
    from kan_exp.reporting.report_figures import section_figures
    from kan_exp.reporting.statistics import Bootstrap
    from kan_exp.reporting.tables import print_tables, runs_csv, settings_csv
    from kan_exp.runs.files import write_text
    from kan_exp.runs.records import read_records

    level, resamples, most = cfg.bootstrap.level, cfg.bootstrap.resamples, cfg.most
    if not 0 < level < 1 or resamples < 1:
        raise KanExpError(
            f"bootstrap needs 0 < level < 1 and resamples of at least 1, got {level:g} and "
            f"{resamples}."
        )
    group_by = cfg.group_by
    if group_by is not None:
        group_by = [str(n) for n in (group_by if isinstance(group_by, ListConfig) else [group_by])]
    bootstrap = Bootstrap(level, resamples, cfg.bootstrap.seed)
    comparison = compare_runs(read_records(folders), cfg.metric, group_by, bootstrap)
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)
    notes = make_notes(comparison)
    if most.pictured_sections < len(comparison.sections):
        notes.append(f"Figures are of the first {most.pictured_sections} sections.")
    print_tables(comparison, notes, console, most.terminal_rows)
    target.parent.mkdir(parents=True, exist_ok=True)

    def write(suffix: str, text: str) -> None:
        path = target.with_name(f"{target.stem}{suffix}")
        write_text(path, text)
        console.print(f"  {path}", highlight=False, soft_wrap=True)

    write(".csv", settings_csv(comparison))
    write("_runs.csv", runs_csv(comparison.records.records))
    # Figures come last: one that cannot be drawn is only missing from the page.
    failures: list[str] = []
    drawn = comparison.sections[: most.pictured_sections]
    figures = [section_figures(comparison, one, most, failures.append) for one in drawn]
    figures += [[] for _ in comparison.sections[len(drawn) :]]
    failures = list(dict.fromkeys(failures))
    for failure in failures:
        console.print(failure, style="yellow", highlight=False, markup=False)
    notes += [failure.removeprefix("Note: ") for failure in failures]
    write(".html", page(comparison, notes, folders, figures, most.rows, most.unfinished, level))


def page_path(output: str | None, folders: Sequence[str]) -> Path:
    """The path of the page; the other files go next to it."""
    if output is None:
        return Path(os.path.commonpath([Path(name).resolve() for name in folders])) / "report.html"
    path = expand_home(output)
    if path.suffix == ".html":
        return path
    if path.suffix and not path.is_dir():
        raise KanExpError(f"output must be a folder or a .html file, got {output}.")
    return path / "report.html"


def split_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates folders from options: words with `=`, unless there is a folder of that name."""
    flags, words = split_flags(arguments)
    folders: list[str] = []
    options: list[str] = []
    for word in words:
        path = read_path(word)
        is_option = "=" in word and not expand_home(path).is_dir()
        (options if is_option else folders).append(word if is_option else path)
    return folders, [*(word for flag in flags for word in flag.words), *options]


if __name__ == "__main__":
    store_schema("report_schema", ReportConfig)
    named: list[str] = []

    def read(arguments: list[str]) -> tuple[str, list[str]]:
        named[:], rest = split_folders(arguments)
        return "report", spelled(rest)

    run_command("report", partial(report, named), read)
