"""The report as a table on the terminal and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kan_exp.reporting.comparison import Comparison, Section, Setting
from kan_exp.reporting.grouping import ABSENT
from kan_exp.reporting.table_columns import PARAMETERS, Column, columns, linear_text
from kan_exp.runs import from_here
from kan_exp.runs.printable import csv_text, plain, printable
from kan_exp.runs.records import UNDONE, Record


def print_tables(
    comparison: Comparison, notes: Sequence[str], console: Console, max_rows: int
) -> None:
    """Shows each section's best settings, and how many more there are."""
    for section in comparison.sections:
        console.print(_table(comparison, section, max_rows), highlight=False)
        if linear := linear_text(comparison, section):
            console.print(f"  {linear}", highlight=False, markup=False)
        more = len(section.settings) - max_rows
        if more > 0:
            console.print(f"  and {more:,} more settings in the CSV of settings.", highlight=False)
    for note in notes:
        console.print(Text(f"Note: {printable(note)}", style="yellow"))


def _table(comparison: Comparison, section: Section, max_rows: int) -> Table:
    title = printable(f"{comparison.metric} by {', '.join(section.part.keys) or 'run'}")
    if len(comparison.sections) > 1:
        title = f"{printable(section.title)}\n{title}"
    table = Table(title=Text(title, "bold"), title_justify="left", box=None, padding=(0, 1))
    table.add_column("", justify="right", style="dim")
    # The number of parameters has no room here.
    shown = [column for column in columns(section) if column.heading != PARAMETERS]
    for column in shown:
        heading = plain(column.heading)
        if column.kind == "choice":
            table.add_column(heading, overflow="fold", style="bold")
        else:
            table.add_column(heading, justify="right" if column.kind == "number" else "left")
    for rank, setting in enumerate(section.settings[:max_rows], 1):
        table.add_row(str(rank), *(_text(column, setting) for column in shown))
    return table


def _text(column: Column, setting: Setting) -> Text:
    text, note, is_bad = column.value(setting)
    shown = plain(text)
    if note:
        shown.append(f"\n{printable(note)}" if text else printable(note))
        shown.stylize("red" if is_bad else "")
    return shown


def settings_csv(comparison: Comparison) -> str:
    """One row for each setting, in the order of the report; numbers in full."""
    rows = []
    for section in comparison.sections:
        for rank, setting in enumerate(section.settings, 1):
            choices = dict(zip(section.part.keys, setting.name, strict=True))
            values = {**section.part.constants, **choices}
            row = {"test_points": section.part.test_points, "rank": rank}
            row |= {key: values[key] for key in comparison.keys}
            rows.append(row | _numbers(comparison, setting))
    return csv_text(rows)


def _numbers(comparison: Comparison, setting: Setting) -> dict[str, Any]:
    low, middle, high = setting.quartiles or (None, None, None)
    effect, interval, undone = setting.effect, setting.sample.interval, setting.undone
    within = effect.interval if effect else None
    return {
        "runs": len(setting.records),
        "finished": len(setting.values),
        **{state: undone.get(state, 0) for state in UNDONE},
        "metric": comparison.metric,
        "median": middle,
        "median_low": interval and interval.low,
        "median_high": interval and interval.high,
        "lower_quartile": low,
        "upper_quartile": high,
        "best": setting.best,
        "worst": setting.worst,
        "standard_error": setting.standard_error,
        "linear": setting.linear,
        "against_first": effect and effect.value,
        "against_first_is": effect and ("ratio" if effect.is_ratio else "difference"),
        "against_first_low": within and within.low,
        "against_first_high": within and within.high,
        "paired": effect and effect.paired,
        "verdict": setting.verdict,
        "parameters": setting.parameters,
        "seconds": setting.seconds,
    }


def runs_csv(records: Sequence[Record]) -> str:
    """One row for each seed of each run, with all its choices and metrics."""
    choices = sorted({name for record in records for name in record.choices})
    metrics = sorted({name for record in records for name in record.metrics} - {"train_seconds"})
    return csv_text(
        {
            "folder": str(from_here(record.folder)),
            "replica": record.replica,
            "state": record.state,
            "reason": record.reason,
            "seed": record.seed,
            **{name: record.metrics.get(name) for name in metrics},
            "seconds": record.seconds,
            "seconds_shared_by": record.shared_by,
            "test_points": record.test_points,
            **{f"choices.{name}": record.choices.get(name, ABSENT) for name in choices},
        }
        for record in records
    )
