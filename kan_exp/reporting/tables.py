"""The report as a table on the terminal and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kan_exp.reporting import words
from kan_exp.reporting.grouping import ABSENT
from kan_exp.reporting.summary import Section, Setting, Summary
from kan_exp.runs import from_here
from kan_exp.runs.printable import csv_row, plain, printable
from kan_exp.runs.records import UNDONE, Record


def print_tables(summary: Summary, notes: Sequence[str], console: Console, most: int) -> None:
    """Shows each section's best settings, and how many more there are."""
    for section in summary.sections:
        console.print(_table(summary, section, most), highlight=False)
        if linear := words.linear(summary, section):
            console.print(f"  {linear}", highlight=False, markup=False)
        more = len(section.settings) - most
        if more > 0:
            console.print(f"  and {more:,} more settings in the CSV of settings.", highlight=False)
    for note in notes:
        console.print(Text(f"Note: {printable(note)}", style="yellow"))


def _table(summary: Summary, section: Section, most: int) -> Table:
    title = printable(f"{summary.metric} by {', '.join(section.part.keys) or 'run'}")
    if len(summary.sections) > 1:
        title = f"{printable(section.title)}\n{title}"
    table = Table(title=Text(title, "bold"), title_justify="left", box=None, padding=(0, 1))
    table.add_column("", justify="right", style="dim")
    for key in section.part.keys or ["setting"]:
        table.add_column(plain(key), overflow="fold", style="bold")
    errors = ["std. error"] if section.has_standard_errors else []
    for heading in ("seeds", "median", *errors, "quartiles", "best to worst"):
        table.add_column(heading, justify="right")
    table.add_column("against the first")
    table.add_column("seconds", justify="right")
    for rank, setting in enumerate(section.settings[:most], 1):
        table.add_row(
            str(rank),
            *(plain(value) for value in setting.name or ["all runs"]),
            _seeds(setting),
            words.median(setting),
            *(words.number(setting.standard_error) for _ in errors),
            words.quartiles(setting),
            words.ends(setting),
            "\n".join(filter(None, [words.effect(setting.effect), setting.verdict])),
            words.seconds(setting),
        )
    return table


def _seeds(setting: Setting) -> Text:
    undone = words.undone(setting)
    count = words.finished(setting)
    return Text(f"{count}\n{undone}", style="red") if undone else Text(count)


def settings_csv(summary: Summary) -> str:
    """One row for each setting, in the order of the report; numbers in full."""
    keys = summary.keys
    rows = []
    for section in summary.sections:
        for rank, setting in enumerate(section.settings, 1):
            values = {**section.part.constants, **_named(section, setting)}
            rows.append(
                {
                    "test_points": section.part.test_points,
                    "rank": rank,
                    **{f"{key}": values[key] for key in keys},
                    **_numbers(summary, setting),
                }
            )
    return _csv(rows)


def _named(section: Section, setting: Setting) -> dict[str, str]:
    return dict(zip(section.part.keys, setting.name, strict=True))


def _numbers(summary: Summary, setting: Setting) -> dict[str, Any]:
    low, middle, high = setting.quartiles or (None, None, None)
    effect = setting.effect
    against, within = effect or None, effect.interval if effect else None
    states = setting.undone
    return {
        "runs": len(setting.records),
        "finished": len(setting.values),
        **{state: states.get(state, 0) for state in UNDONE},
        "metric": summary.metric,
        "median": middle,
        "median_low": setting.interval and setting.interval.low,
        "median_high": setting.interval and setting.interval.high,
        "lower_quartile": low,
        "upper_quartile": high,
        "best": setting.best,
        "worst": setting.worst,
        "standard_error": setting.standard_error,
        "linear": setting.linear,
        "against_first": against and against.value,
        "against_first_is": against and ("ratio" if against.is_ratio else "difference"),
        "against_first_low": within and within.low,
        "against_first_high": within and within.high,
        "paired": against and against.paired,
        "verdict": setting.verdict,
        "parameters": setting.parameters,
        "seconds": setting.seconds,
    }


def runs_csv(records: Sequence[Record]) -> str:
    """One row for each seed of each run, with all its choices and numbers."""
    choices = sorted({name for record in records for name in record.choices})
    metrics = sorted({name for record in records for name in record.metrics})
    metrics = [name for name in metrics if name != "train_seconds"]
    return _csv(
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


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows that all have the same columns; numbers in full, nothing where there is none."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in map(csv_row, rows):
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()
