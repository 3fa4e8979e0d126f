"""What a sweep leaves: `sweep.json`, `sweep.csv`, and a table on the terminal."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kan_exp.commandline.spelling import MULTIRUN
from kan_exp.errors import KanExpError
from kan_exp.preparing.paths import absolute_arguments
from kan_exp.quoting import expand_home, read_path, typed
from kan_exp.runs import option_name, write_json, write_text
from kan_exp.runs.cells import csv_row, plain
from kan_exp.runs.files import parse_json
from kan_exp.runs.folders import SWEEP
from kan_exp.runs.printable import printable
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.jobs import Job, JobGroup
from kan_exp.sweeps.outcomes import Outcome, rank
from kan_exp.tasks import scoring_of
from kan_exp.tasks.metrics import linear_of, title

MAX_ROWS = 20
MAX_DIGITS = 17  # of a number in double precision
WIDEST = 400
MAX_REASON = 60


def shown(value: float) -> str:
    """A figure in three digits."""
    return f"{value:.3g}"


def brief(texts: Sequence[str]) -> list[str]:
    """Values of one option: fractions in four digits, or in as many as tell them apart."""
    for digits in range(4, MAX_DIGITS):
        short = [_brief(text, digits) for text in texts]
        if len(set(short)) == len(set(texts)):
            return short
    return list(texts)


def _brief(text: str, digits: int) -> str:
    try:
        short = f"{float(text):.{digits}g}"
    except ValueError:
        return text
    return text if text.lstrip("-").isdecimal() or len(text) <= len("0.12345") else short


def options(job: Job) -> dict[str, str]:
    """What a job's overrides set, by name."""
    pairs = (text.lstrip("+~").partition("=") for text in job.overrides)
    return {name: value for name, _, value in pairs}


def write_summary(
    folder: Path, overrides: Sequence[str], metric: str, outcomes: Sequence[Outcome]
) -> None:
    """Writes both files, each whole or not at all.

    Raises:
        OSError: They cannot be written.
    """
    found = sorted(outcomes, key=lambda outcome: outcome.job.number)
    columns = _columns(found, metric)
    content = {
        "overrides": list(overrides),
        "cwd": str(Path.cwd()),
        "metric": metric,
        "jobs": [_row(outcome, columns) for outcome in found],
    }
    write_json(folder / SWEEP, content)
    write_text(folder / "sweep.csv", _csv(found, columns))


def _columns(outcomes: Sequence[Outcome], metric: str) -> list[str]:
    """The metrics that are told of each job: those of all tasks, and the one that was asked for."""
    scorings = [scoring_of(one.metrics) for one in outcomes if one.metrics] or [scoring_of({})]
    each = [name for scoring in scorings for name in scoring.sweep_columns]
    return list(dict.fromkeys((*each, metric)))


def _row(outcome: Outcome, columns: Sequence[str]) -> dict[str, Any]:
    job = outcome.job
    return {
        "job": job.number,
        "overrides": list(job.overrides),
        "key": job.key,
        "seed": job.seed,
        "state": outcome.state,
        "reason": outcome.reason,
        "folder": outcome.folder,
        "replica": outcome.replica,
        "stacked": outcome.stacked,
        "seconds": None if outcome.seconds is None else round(outcome.seconds, 3),
        **{name: outcome.metrics.get(name) for name in (*columns, "stopped")},
    }


def _csv(outcomes: Sequence[Outcome], columns: Sequence[str]) -> str:
    names = list(dict.fromkeys(name for one in outcomes for name in options(one.job)))
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for outcome in outcomes:
        row = _row(outcome, columns)
        set_to = options(outcome.job)
        own = {name: set_to.get(name) for name in names}
        rest = {name: row[name] for name in row if name not in ("overrides", "job", *own)}
        line = csv_row({"job": row["job"], **own, **rest})
        if writer is None:
            writer = csv.DictWriter(text, list(line), lineterminator="\n")
            writer.writeheader()
        writer.writerow(line)
    return text.getvalue()


def read_summary(folder: Path) -> tuple[list[str], list[JobGroup]]:
    """What a sweep was told, and what it launched, from its `sweep.json`.

    Raises:
        ValueError: The file is not one of a sweep.
        OSError: It cannot be read.
    """
    content = parse_json((folder / SWEEP).read_text(encoding="utf-8"))
    try:
        overrides = [str(text) for text in content["overrides"]]
        groups: dict[str, list[Job]] = {}
        for row in content["jobs"]:
            seed = None if row["seed"] is None else int(row["seed"])
            job = Job(int(row["job"]), tuple(row["overrides"]), str(row["key"]), "", seed)
            # A path would lead out of the sweep's folder.
            groups.setdefault(Path(row["folder"]).name, []).append(job)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error} is missing or of another kind") from error
    return overrides, [JobGroup(tuple(jobs), folder / name) for name, jobs in groups.items()]


def same_again(arguments: Sequence[str]) -> list[str]:
    """Adds what a sweep was told to what is said now, where `sweep.resume` names its folder.

    The command then goes on in the folder in which the sweep was begun.

    Raises:
        KanExpError: No sweep is known there, or `-m` is missing.
    """
    said = [text.partition("=") for text in arguments]
    resumed = [read_path(value) for name, _, value in said if name == "sweep.resume"]
    if not resumed or resumed[-1] in ("", "null"):
        return list(arguments)
    folder = expand_home(resumed[-1])
    try:
        told = read_summary(folder)[0]
    except (OSError, ValueError) as error:
        raise KanExpError(
            f"{typed('sweep.resume', folder)}: no sweep is known there ({SWEEP} cannot be read: "
            f"{error})."
        ) from error
    flagged = set(MULTIRUN) & set(arguments)
    if not flagged and not any(text.startswith("search=") for text in told):  # which needs none
        raise KanExpError("sweep.resume goes on with a sweep: add -m.")
    names = {name.lstrip("+~") for name, equals, _ in said if equals}
    rest = [text for text in told if option_name(text) not in names]
    # Beside it, since Hydra's parser wants all overrides in one place.
    place = [name for name, _, _ in said].index("sweep.resume")
    now = _where_it_began(arguments, folder)
    return [*now[:place], *rest, *now[place:]]


def _where_it_began(arguments: Sequence[str], folder: Path) -> list[str]:
    """Goes to the folder in which a sweep was begun: paths that it was told are relative to it.

    Returns:
        What is said now, as it holds there.
    """
    here = Path.cwd()
    began = Path(str(parse_json((folder / SWEEP).read_text(encoding="utf-8")).get("cwd") or here))
    if began == here or not began.is_dir():  # it was moved; absolute paths still hold
        return list(arguments)
    os.chdir(began)
    return absolute_arguments(arguments, here)


def print_table(console: Console, metric: str, outcomes: Sequence[Outcome]) -> None:
    """Shows the jobs, the best first, each run once: a search may come to the same one again."""
    runs = {(one.folder, one.replica): one for one in reversed(outcomes)}
    ranked = sorted(runs.values(), key=lambda outcome: (*rank(outcome, metric), outcome.job.number))
    every = [options(outcome.job) for outcome in ranked]
    names = list(dict.fromkeys(name for one in every for name in one))
    varied = [name for name in names if len({one.get(name) for one in every}) > 1]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("job", justify="right", no_wrap=True)
    for name in varied:
        table.add_column(plain(name), no_wrap=True)
    linear = _linear(metric, ranked)
    headings = [title(metric), "seconds"]
    if len(set(linear)) > 1:
        headings.insert(1, "linear model")
    for name in headings:
        table.add_column(plain(name), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    columns = [brief([own.get(name, "-") for own in every]) for name in varied]
    for outcome, own, *values in list(zip(ranked, linear, *columns, strict=True))[:MAX_ROWS]:
        figure = outcome.figure(metric)
        table.add_row(
            str(outcome.job.number),
            *map(plain, values),
            "-" if figure is None else shown(figure),
            *([own] if len(headings) > 2 else []),
            "-" if outcome.seconds is None else f"{outcome.seconds:.1f}",
            "pruned" if outcome.pruned else "" if outcome.state == "done" else outcome.state,
        )
    console.print()
    wide = console.options.update(width=WIDEST)  # cut words would tell nothing
    table.width = console.measure(table, options=wide).maximum
    console.print(table, highlight=False, crop=False, width=table.width)
    if len(ranked) > MAX_ROWS:
        console.print(f"... and {len(ranked) - MAX_ROWS} more in sweep.csv", highlight=False)
    if len(headings) == 2 and linear and linear[0] != "-":
        console.print(f"linear model: {title(metric)} {linear[0]}", highlight=False)


def _linear(metric: str, found: Sequence[Outcome]) -> list[str]:
    """The linear model's figure for each job; a dash where it is unknown."""
    figures = [one.figure(linear_of(metric) or "") for one in found]
    return ["-" if figure is None else shown(figure) for figure in figures]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for every job that has failed or diverged."""
    return [
        printable(f"  job {one.job.number} ({one.job.name}): {one.reason or 'no reason is known'}")
        for one in outcomes
        if one.state in FAILED
    ]
