"""The tables of a sweep: `sweep.json`, `sweep.csv`, and one on the terminal."""

from __future__ import annotations

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
from kan_exp.runs.files import parse_json
from kan_exp.runs.folders import SWEEP
from kan_exp.runs.printable import csv_text, plain, printable
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.jobs import Job, JobGroup
from kan_exp.sweeps.outcomes import Outcome, sort_key
from kan_exp.tasks import scoring_of
from kan_exp.tasks.metrics import linear_of, title
from kan_exp.tasks.numbers import number

MAX_ROWS = 20
MAX_DIGITS = 17  # of a number in double precision
MAX_WIDTH = 400


def shortened(texts: Sequence[str]) -> list[str]:
    """Values of one option; fractions in four digits, or as many as distinguish them."""
    for digits in range(4, MAX_DIGITS):
        short = [_shortened(text, digits) for text in texts]
        if len(set(short)) == len(set(texts)):
            return short
    return list(texts)


def _shortened(text: str, digits: int) -> str:
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
    """Writes `sweep.json` and `sweep.csv`, each complete or not at all."""
    rows = sorted(outcomes, key=lambda outcome: outcome.job.number)
    columns = _columns(rows, metric)
    content = {
        "overrides": list(overrides),
        "cwd": str(Path.cwd()),
        "metric": metric,
        "jobs": [_row(outcome, columns) for outcome in rows],
    }
    write_json(folder / SWEEP, content)
    write_text(folder / "sweep.csv", _csv(rows, columns))


def _columns(outcomes: Sequence[Outcome], metric: str) -> list[str]:
    """The metrics in the table: those of all jobs' tasks, and the one that was asked for."""
    results = [outcome.metrics for outcome in outcomes if outcome.metrics] or [{}]
    names = [name for result in results for name in scoring_of(result).sweep_columns]
    return list(dict.fromkeys((*names, metric)))


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
    names = list(dict.fromkeys(name for outcome in outcomes for name in options(outcome.job)))
    lines = []
    for outcome in outcomes:
        row, values = _row(outcome, columns), options(outcome.job)
        own = {name: values.get(name) for name in names}
        rest = {name: row[name] for name in row if name not in ("overrides", "job", *own)}
        lines.append({"job": row["job"], **own, **rest})
    return csv_text(lines)


def read_summary(folder: Path) -> tuple[list[str], list[JobGroup]]:
    """The overrides of a sweep and the groups that it launched, from its `sweep.json`.

    Raises:
        ValueError: The file is not one of a sweep.
        OSError: It cannot be read.
    """
    content = parse_json((folder / SWEEP).read_bytes())
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


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """Adds the overrides of the sweep that `sweep.resume` names to those on the command line.

    Changes to the folder in which the sweep was started, since its paths may be relative to it.

    Raises:
        KanExpError: There is no sweep, or `-m` is missing.
    """
    parts = [text.partition("=") for text in arguments]
    resumed = [read_path(value) for name, _, value in parts if name == "sweep.resume"]
    if not resumed or resumed[-1] in ("", "null"):
        return list(arguments)
    folder = expand_home(resumed[-1])
    try:
        before = read_summary(folder)[0]
    except (OSError, ValueError) as error:
        raise KanExpError(
            f"{typed('sweep.resume', folder)}: no sweep is known there ({SWEEP} cannot be read: "
            f"{error})."
        ) from error
    flagged = set(MULTIRUN) & set(arguments)
    if not flagged and not any(text.startswith("search=") for text in before):  # needs none
        raise KanExpError("sweep.resume resumes a sweep: add -m.")
    names = {name.lstrip("+~") for name, equals, _ in parts if equals}
    rest = [text for text in before if option_name(text) not in names]
    # Next to it, since Hydra's parser wants all overrides in one place.
    position = [name for name, _, _ in parts].index("sweep.resume")
    now = _change_folder(arguments, folder)
    return [*now[:position], *rest, *now[position:]]


def _change_folder(arguments: Sequence[str], folder: Path) -> list[str]:
    """Changes to the folder in which a sweep was started; returns arguments that hold there."""
    here = Path.cwd()
    began = Path(str(parse_json((folder / SWEEP).read_bytes()).get("cwd") or here))
    if began == here or not began.is_dir():  # it was moved
        return list(arguments)
    os.chdir(began)
    return absolute_arguments(arguments, here)


def print_table(console: Console, metric: str, outcomes: Sequence[Outcome]) -> None:
    """Prints the jobs, the best first, each run once: a search may repeat one."""
    runs = {(outcome.folder, outcome.replica): outcome for outcome in reversed(outcomes)}
    rows = sorted(runs.values(), key=lambda outcome: sort_key(outcome, metric))
    settings = [options(outcome.job) for outcome in rows]
    names = list(dict.fromkeys(name for values in settings for name in values))
    varied = [name for name in names if len({values.get(name) for values in settings}) > 1]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("job", justify="right", no_wrap=True)
    for name in varied:
        table.add_column(plain(name), no_wrap=True)
    linear = [_shown(outcome, linear_of(metric)) for outcome in rows]
    headings = [title(metric), "seconds"]
    if len(set(linear)) > 1:
        headings.insert(1, "linear model")
    for name in headings:
        table.add_column(plain(name), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    columns = [shortened([values.get(name, "-") for values in settings]) for name in varied]
    for outcome, own, *values in list(zip(rows, linear, *columns, strict=True))[:MAX_ROWS]:
        table.add_row(
            str(outcome.job.number),
            *map(plain, values),
            _shown(outcome, metric),
            *([own] if len(headings) > 2 else []),
            "-" if outcome.seconds is None else f"{outcome.seconds:.1f}",
            "pruned" if outcome.pruned else "" if outcome.state == "done" else outcome.state,
        )
    console.print()
    wide = console.options.update(width=MAX_WIDTH)  # no value is cut
    table.width = console.measure(table, options=wide).maximum
    console.print(table, crop=False, width=table.width)
    if len(rows) > MAX_ROWS:
        console.print(f"... and {len(rows) - MAX_ROWS} more in sweep.csv")
    if len(headings) == 2 and linear and linear[0] != "-":
        console.print(f"linear model: {title(metric)} {linear[0]}")


def _shown(outcome: Outcome, metric: str | None) -> str:
    value = outcome.metric(metric or "")
    return "-" if value is None else number(value)


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for every job that has failed or diverged."""
    return [
        printable(f"  job {row.job.number} ({row.job.name}): {row.reason or 'no reason is known'}")
        for row in outcomes
        if row.state in FAILED
    ]
