"""One page that holds everything: no script, no address outside itself, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html
from importlib.resources import files
from string import Template

from kan_exp import __version__
from kan_exp.reporting import words
from kan_exp.reporting.comparison import Comparison, Section, Setting
from kan_exp.reporting.report_figures import ReportFigure
from kan_exp.reporting.statistics import MIN_SEEDS
from kan_exp.reporting.svg import data_address
from kan_exp.runs import from_here
from kan_exp.runs.printable import printable
from kan_exp.runs.records import DONE, Record


def page(
    summary: Comparison,
    notes: Sequence[str],
    folders: Sequence[str],
    figures: Sequence[Sequence[ReportFigure]],
    most_rows: int,
    most_unfinished: int,
    level: float,
) -> str:
    """The whole page.

    Args:
        summary: What it reports.
        notes: What must be said of it.
        folders: What was read, as the user named it.
        figures: Of each section, or none.
        most_rows: Settings shown of a section.
        most_unfinished: Runs without a result shown.
        level: Of the intervals, which the page explains.
    """
    sections = "".join(
        _section(summary, section, own, most_rows)
        for section, own in zip(summary.sections, figures, strict=True)
    )
    title = f"{summary.metric} of {_count(len(summary.records.records), 'run')}"
    return Template(_own("page.html")).substitute(
        title=escape(title),
        css=_own("page.css"),
        lead=_lead(summary, folders),
        content=_notes(notes) + sections + _unfinished(summary, most_unfinished),
        level=f"{100 * level:.4g}%",
        least=str(MIN_SEEDS),
    )


def escape(text: str) -> str:
    """Text as it is, for the page and for its attributes."""
    return escape_html(printable(text))


def _own(name: str) -> str:
    return files("kan_exp.reporting").joinpath(name).read_text(encoding="utf-8")


def _lead(summary: Comparison, folders: Sequence[str]) -> str:
    every = summary.records.records
    done = sum(record.state == DONE for record in every)
    settings = len(summary.settings)
    by = f" by {', '.join(summary.keys)}" if summary.keys else ""
    named = ", ".join(folders[:4]) + (f" and {len(folders) - 4} more" if len(folders) > 4 else "")
    return (
        f"{_count(settings, 'setting')}{escape(by)}; "
        f"{done:,} of {len(every):,} finished. From <code>{escape(named)}</code>, "
        f"read by kan_exp {__version__}."
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>\n'


def _section(
    summary: Comparison, section: Section, figures: Sequence[ReportFigure], most: int
) -> str:
    title = section.title if len(summary.sections) > 1 else "Settings"
    headings = [("", True), *((key, True) for key in section.part.keys or ["setting"])]
    headings += [
        ("seeds", False),
        ("median, interval", False),
        *([("std. error", False)] if section.has_standard_errors else []),
        ("quartiles", False),
        ("best to worst", False),
        ("against the first", True),
        ("parameters", False),
        ("seconds", False),
    ]
    head = "".join(
        f'<th scope="col"{" class=t" if text else ""}>{escape(name) or "<small>#</small>"}</th>'
        for name, text in headings
    )
    rows = "".join(
        _row([name for name, _ in headings], rank, setting, section.has_standard_errors)
        for rank, setting in enumerate(section.settings[:most], 1)
    )
    more = len(section.settings) - most
    rest = f"<p><small>and {more:,} more in the CSV of settings</small></p>" if more > 0 else ""
    linear = (
        f"<p><small>{escape(text)}</small></p>" if (text := words.linear(summary, section)) else ""
    )
    drawn = "".join(map(_figure, figures))
    return f"""<section>
<h2>{escape(title)}</h2>
<div class="card scroll"><table class="settings">
<thead><tr>{head}</tr></thead>
<tbody>
{rows}</tbody></table></div>{rest}{linear}
<div class="figures">{drawn}</div>
</section>
"""


def _row(names: Sequence[str], rank: int, setting: Setting, with_error: bool) -> str:
    undone = words.undone(setting)
    seeds = escape(words.finished(setting))
    if undone:
        seeds = f'{seeds}<span class="bad">{escape(undone)}</span>'
    effect = escape(words.effect(setting.effect))
    verdict = setting.verdict or "the first"
    paired = ", paired" if setting.effect and setting.effect.paired else ""
    cells = [
        ("t", str(rank)),
        *(("t key", escape(value)) for value in setting.name or ["all runs"]),
        ("", seeds),
        ("", _median(setting)),
        *([("", words.number(setting.standard_error))] if with_error else []),
        ("", words.quartiles(setting)),
        ("", words.ends(setting)),
        ("t", effect + _small(verdict + paired)),
        ("", words.NOTHING if setting.parameters is None else f"{setting.parameters:,.0f}"),
        ("", words.seconds(setting)),
    ]
    columns = zip(names, cells, strict=True)
    return (
        "<tr>"
        + "".join(
            f'<td class="{kind}{" empty" * (text == words.NOTHING)}" '
            f'data-name="{escape(name or "place")}"><span>{text}</span></td>'
            for name, (kind, text) in columns
        )
        + "</tr>\n"
    )


def _median(setting: Setting) -> str:
    if setting.quartiles is None:
        return words.NOTHING
    return f"<b>{words.median(setting)}</b>{_small(words.span(setting.interval))}"


def _small(text: str) -> str:
    return "" if text == words.NOTHING else f"<small>{escape(text)}</small>"


def _figure(figure: ReportFigure) -> str:
    caption = escape(figure.caption)
    return (
        f'<figure class="card"><h3>{escape(figure.title)}</h3>'
        f'<img alt="{escape(figure.title)}: {caption}" src="{data_address(figure.svg)}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _unfinished(summary: Comparison, most: int) -> str:
    """Every run without a result, with its reason."""
    undone = [record for record in summary.records.records if record.state != DONE]
    if not undone:
        return ""
    rows = "".join(_unfinished_row(record) for record in undone[:most])
    more = len(undone) - most
    rest = f"<p><small>and {more:,} more in the CSV of runs</small></p>" if more > 0 else ""
    return f"""<section>
<h2>Not finished</h2>
<div class="card scroll"><table>
<thead><tr><th class="t">run</th><th class="t">state</th><th class="t">reason</th></tr></thead>
<tbody>
{rows}</tbody></table></div>{rest}
</section>
"""


def _unfinished_row(record: Record) -> str:
    seed = "" if record.seed is None else f"<small>seed {record.seed}</small>"
    return (
        f'<tr><td class="t long">{escape(str(from_here(record.folder)))}{seed}</td>'
        f'<td class="t bad">{record.state}</td>'
        f'<td class="t long">{escape(record.reason or words.NOTHING)}</td></tr>\n'
    )


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
