"""Compares runs: `python -m kan_exp.report [FOLDER ...] [metric=...]`.

Folders are written without `folders=`, so that a shell can complete and expand them; Hydra, which
knows only `option=value`, gets the rest. Neither needs torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from kan_exp.cli import check_names, run_command, store_schema
from kan_exp.commandline.arguments import spelled, split_flags
from kan_exp.config import ReportConfig
from kan_exp.errors import KanExpError
from kan_exp.quoting import expand_home, read_path

if TYPE_CHECKING:
    from kan_exp.reporting.comparison import Comparison, Setting
    from kan_exp.reporting.report_figures import ReportFigure


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
    from kan_exp.reporting.statistics import Bootstrap
    from kan_exp.reporting.tables import print_tables, runs_csv, settings_csv
    from kan_exp.runs.files import write_text
    from kan_exp.runs.records import read_records

    level, most = cfg.bootstrap.level, cfg.most
    if not 0 < level < 1 or cfg.bootstrap.resamples < 1:
        raise KanExpError(
            f"bootstrap needs 0 < level < 1 and resamples of at least 1, got "
            f"{level:g} and {cfg.bootstrap.resamples}."
        )
    group_by = cfg.group_by
    if group_by is not None and not isinstance(group_by, ListConfig):
        group_by = [group_by]
    comparison = compare_runs(
        read_records(folders),
        cfg.metric,
        None if group_by is None else [str(name) for name in group_by],
        Bootstrap(level, cfg.bootstrap.resamples, cfg.bootstrap.seed),
    )
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
    figures: list[list[ReportFigure]] = []
    for n, section in enumerate(comparison.sections):
        drawn = n < most.pictured_sections
        figures.append(_draw(comparison, section.settings, cfg, failures.append) if drawn else [])
    failures = list(dict.fromkeys(failures))
    for failure in failures:
        console.print(failure, style="yellow", highlight=False, markup=False)
    notes += [failure.removeprefix("Note: ") for failure in failures]
    write(".html", page(comparison, notes, folders, figures, most.rows, most.unfinished, level))


def page_path(output: str | None, folders: Sequence[str]) -> Path:
    """The path of the page; the other files go next to it.

    Raises:
        KanExpError: `output` is a file of another kind.
    """
    if output is None:
        return Path(os.path.commonpath([Path(name).resolve() for name in folders])) / "report.html"
    path = expand_home(output)
    if path.suffix == ".html":
        return path
    if path.suffix and not path.is_dir():
        raise KanExpError(f"output must be a folder or a .html file, got {output}.")
    return path / "report.html"


def _draw(
    comparison: Comparison,
    settings: Sequence[Setting],
    cfg: DictConfig,
    note: Callable[[str], None],
) -> list[ReportFigure]:
    """The figures of a section; `note` takes a line for each that cannot be drawn."""
    from kan_exp.reporting.report_figures import cost_figure, error_figure
    from kan_exp.runs.best_effort import best_effort

    metric = comparison.metric

    def costs(
        title: str, label: str, cost: Callable[[Setting], float | None]
    ) -> ReportFigure | None:
        return cost_figure(settings, metric, title, label, cost, comparison.more_is_better)

    makers: dict[str, Callable[[], ReportFigure | None]] = {
        "error by setting": lambda: error_figure(settings, metric, cfg.most.drawn),
        "error against parameters": lambda: costs(
            "Error against parameters", "parameters", lambda setting: setting.parameters
        ),
        "error against time": lambda: costs(
            "Error against time", "seconds of training a seed", lambda setting: setting.seconds
        ),
        "learning curves": lambda: _draw_curves(settings, cfg),
    }
    figures = []
    for name, make in makers.items():
        with best_effort(f"the figure of {name} could not be drawn", note):
            figure = make()
            if figure is not None and figure.address:
                figures.append(figure)
    return figures


def _draw_curves(settings: Sequence[Setting], cfg: DictConfig) -> ReportFigure | None:
    from kan_exp.reporting.curves import band, read_curves
    from kan_exp.reporting.report_figures import LINES, curves_figure

    finished = [setting for setting in settings if setting.finished]
    shown = finished[: min(cfg.most.curves, len(LINES))]
    seeds = max(1, cfg.most.histories // max(1, len(shown)))
    bands = [band(one.label, read_curves(one.finished[:seeds])) for one in shown]
    skipped = ""
    if len(finished) > len(shown):
        skipped += f" The first {len(shown)} of {len(finished)} settings."
    if any(len(setting.finished) > seeds for setting in shown):
        skipped += f" At most {seeds} seeds of each were read."
    return curves_figure([one for one in bands if one is not None], skipped)


def take_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates folders from what Hydra parses.

    A word with `=` in it is an option unless there is a folder of that name.
    """
    flags, words = split_flags(arguments)
    folders: list[str] = []
    options: list[str] = []
    for word in words:
        path = read_path(word)
        is_option = "=" in word and not expand_home(path).is_dir()
        (options if is_option else folders).append(word if is_option else path)
    return folders, [*flags, *options]


if __name__ == "__main__":
    store_schema("report_schema", ReportConfig)
    named: list[str] = []

    def read(arguments: list[str]) -> tuple[str, list[str]]:
        named[:], rest = take_folders(arguments)
        return "report", spelled(rest)

    run_command("report", partial(report, named), read)
