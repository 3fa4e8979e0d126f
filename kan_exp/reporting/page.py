"""The report as one page: no script, no address outside itself, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from kan_exp import __version__
from kan_exp.reporting.comparison import Comparison
from kan_exp.reporting.formulas import read_formulas
from kan_exp.reporting.report_figures import ReportFigure
from kan_exp.reporting.statistics import MIN_SEEDS
from kan_exp.reporting.table_columns import NOTHING, columns, linear_text
from kan_exp.runs import from_here
from kan_exp.runs.printable import counted, printable
from kan_exp.runs.records import DONE

MAX_FOLDERS = 4


def page(
    comparison: Comparison,
    notes: Sequence[str],
    folders: Sequence[str],
    figures: Sequence[Sequence[ReportFigure]],
    most_rows: int,
    most_unfinished: int,
    level: float,
) -> str:
    """The whole page, with the figures of each section and at most so many rows of its tables.

    `level` is that of the intervals, which the page explains.
    """
    records = comparison.records.records
    unfinished = [record for record in records if record.state != DONE]
    by = f" by {', '.join(comparison.keys)}" if comparison.keys else ""
    done = f"{len(records) - len(unfinished):,} of {len(records):,} finished."
    more = len(folders) - MAX_FOLDERS
    environment = Environment(
        autoescape=True, finalize=_printable, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("page.html")).render(
        comparison=comparison,
        title=f"{comparison.metric} of {counted(len(records), 'run')}",
        css=Markup(_read("page.css")),
        lead=f"{counted(len(comparison.settings), 'setting')}{by}; {done}",
        folders=", ".join(folders[:MAX_FOLDERS]) + (f" and {more} more" if more > 0 else ""),
        version=__version__,
        notes=notes,
        figures=figures,
        unfinished=unfinished,
        formulas=read_formulas(record.folder for record in records if record.state == DONE),
        most_rows=most_rows,
        most_unfinished=most_unfinished,
        level=f"{100 * level:.4g}%",
        min_seeds=MIN_SEEDS,
        nothing=NOTHING,
        columns_of=columns,
        linear_text=linear_text,
        from_here=from_here,
    )


def _read(name: str) -> str:
    return files("kan_exp.reporting").joinpath(name).read_text(encoding="utf-8")


def _printable(value: Any) -> Any:
    """Makes each text that the template shows one line of valid UTF-8."""
    return printable(value) if type(value) is str else value
