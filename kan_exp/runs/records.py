"""Reads many run folders at once into one record per seed and run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kan_exp.errors import KanExpError
from kan_exp.quoting import expand_home
from kan_exp.runs.folders import RECORDS, SWEEP
from kan_exp.runs.identity import is_setting
from kan_exp.runs.lenient_json import (
    entry,
    number,
    numbers,
    objects,
    parse_overrides,
    read_object,
    text,
    value_text,
)
from kan_exp.runs.results import INCOMPLETE, seed_results
from kan_exp.runs.results import NAME as METRICS
from kan_exp.runs.status import FAILED, Status, is_running
from kan_exp.runs.status import NAME as STATUS

# How a seed can have ended. Only those that are done have a result that counts.
DONE = "done"
UNDONE = ("failed", "diverged", "interrupted", "unfinished", "unreadable")


@dataclass(frozen=True, slots=True)
class Record:
    """One seed of one run."""

    folder: Path
    state: str  # `DONE` or one of `UNDONE`
    # As text, without seeds; of a run without a result, only those that were typed.
    choices: Mapping[str, str] = field(default_factory=dict)
    typed: tuple[str, ...] = ()  # names of the choices on the command line, in their order
    complete: bool = False  # whether `choices` has all choices, or only the typed ones
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)  # finite ones; of a seed, its own
    primary: str | None = None  # the metric by which the network was chosen
    seconds: float | None = None  # of training; of a stacked seed, its share
    shared_by: int = 1  # number of seeds that were trained together
    replica: int | None = None  # place among these
    test_points: str | None = None  # fingerprint
    key: str | None = None  # digest of the whole configuration
    setting: str | None = None  # digest of the configuration without seeds
    reason: str | None = None  # why it failed, or that it has not ended
    started: str = ""  # ISO-8601
    environment: tuple[str, ...] = ()  # device and versions, on which seconds depend


@dataclass(frozen=True, slots=True)
class Records:
    """The records of some folders."""

    records: list[Record]  # one for each seed of each run
    unreadable: list[str]  # a line for each file or folder that could not be read
    silent: list[Path]  # folders of runs with neither choices nor a result
    repeated: int  # number of records left out because the same run and seed has another


def read_records(folders: Sequence[str | Path]) -> Records:
    """Reads every run in or below the given folders; a run found twice counts once.

    Raises:
        KanExpError: A folder does not exist, or there is no run in any.
    """
    unreadable: list[str] = []
    silent: list[Path] = []
    records: list[Record] = []
    for folder, names in _find_runs(folders, unreadable):
        if SWEEP in names:
            records.extend(_read_waiting_jobs(folder, unreadable))
        elif names & {METRICS, STATUS}:
            records.extend(_read_run(folder, names, unreadable))
        else:
            silent.append(folder)
    if not (records or unreadable or silent):
        shown = ", ".join(str(folder) for folder in folders)
        raise KanExpError(f"{shown}: no run there (no folder with {METRICS} or {STATUS}).")
    kept = _with_shared_choices(_without_repetitions(records))
    return Records(kept, unreadable, silent, len(records) - len(kept))


def _find_runs(
    folders: Sequence[str | Path], unreadable: list[str]
) -> Iterator[tuple[Path, set[str]]]:
    """Folders of runs and of sweeps, with the names in them; the inside of a run is not visited."""

    def note(error: OSError) -> None:
        unreadable.append(f"{error.filename}: {error.strerror}")

    for given in folders:
        if not expand_home(given).is_dir():
            raise KanExpError(f"{given}: there is no such folder of runs.")
    seen: set[str] = set()
    for given in folders:
        for path, subfolders, files in os.walk(expand_home(given).resolve(), onerror=note):
            names = {*subfolders, *files}
            is_sweep, is_run = SWEEP in names, not names.isdisjoint(RECORDS)
            if path not in seen and (is_sweep or is_run):
                yield Path(path), names
            is_open = path not in seen and (is_sweep or not is_run)
            # `os.walk` visits what is left in this list.
            subfolders[:] = sorted(n for n in subfolders if is_open and not n.startswith("."))
            seen.add(path)


def _read_run(folder: Path, names: set[str], unreadable: list[str]) -> Iterable[Record]:
    """The records of one run: several if its seeds were trained together."""
    status = read_object(folder / STATUS, unreadable) if STATUS in names else {}
    result = read_object(folder / METRICS, unreadable) if METRICS in names else {}
    state = _state(status, result)
    status, metrics = status or {}, result or {}
    typed = parse_overrides(entry(status, "overrides", list))
    chosen = entry(metrics, "choices", dict)
    seed = chosen.get("seed", typed.get("seed"))
    versions = [f"{name} {version}" for name, version in entry(metrics, "versions", dict).items()]
    record = Record(
        folder=folder,
        state=state,
        choices=_choices({**typed, **chosen}),
        typed=tuple(name for name in typed if is_setting(name)),
        complete=bool(chosen),
        seed=seed if isinstance(seed, int) else None,
        metrics=numbers(metrics),
        primary=text(entry(metrics, "scoring", dict).get("primary")),
        seconds=number(metrics.get("train_seconds")),
        test_points=text(metrics.get("test_points")),
        key=text(status.get("key")),
        setting=text(status.get("setting")),
        reason=text(status.get("reason")) or (None if metrics else _why_unfinished(status)),
        started=text(status.get("started")) or "",
        environment=tuple(filter(None, [text(metrics.get("device")), *sorted(versions)])),
    )
    results = seed_results(metrics)
    count = len(results) or chosen.get("replicas", typed.get("replicas", 1))
    if not isinstance(count, int) or (count <= 1 and not results):
        return [record]
    shares = [
        replace(
            record,
            seed=None if record.seed is None else record.seed + replica,
            seconds=None if record.seconds is None else record.seconds / count,
            shared_by=count,
            replica=replica,
        )
        for replica in range(count)
    ]
    if not results:
        return shares
    return [
        replace(
            share,
            seed=result.seed,
            state="diverged" if result.diverged and state == DONE else state,
            reason=result.diverged if state == DONE else record.reason,
            metrics=numbers(result.metrics),
        )
        for share, result in zip(shares, results, strict=True)
    ]


def _choices(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value_text(value) for name, value in values.items() if is_setting(name)}


def _state(status: Mapping[str, Any] | None, metrics: Mapping[str, Any] | None) -> str:
    """The state of a run. Its result decides, since it is written last; None is a damaged file."""
    if metrics is None:
        return "unreadable"
    if metrics:
        stopped = metrics.get("stopped")
        return stopped if stopped in INCOMPLETE else DONE
    if status is None:
        return "unreadable"
    state = status.get("state")
    return state if state in (*FAILED, "interrupted") else "unfinished"


def _why_unfinished(content: Mapping[str, Any]) -> str | None:
    """The reason why a started run has no result, if it is known."""
    if content.get("state") != "running":
        return None
    try:
        status = Status(**content)
        if not status.is_here:
            return f"running on {status.host}, as far as is known"
        return "still running" if is_running(status) else "its process is gone: it was killed"
    except (TypeError, ValueError, OverflowError):  # the file was edited
        return None


def _read_waiting_jobs(sweep: Path, unreadable: list[str]) -> Iterator[Record]:
    """Jobs of a sweep that have no folder yet."""
    for job in objects(read_object(sweep / SWEEP, unreadable), "jobs"):
        folder = sweep / str(job.get("folder") or job.get("job"))
        if not folder.is_dir():
            typed = parse_overrides(entry(job, "overrides", list))
            yield Record(
                folder=folder,
                state=job["state"] if job.get("state") in FAILED else "unfinished",
                choices=_choices(typed),
                typed=tuple(name for name in typed if is_setting(name)),
                seed=typed["seed"] if isinstance(typed.get("seed"), int) else None,
                replica=job["replica"] if isinstance(job.get("replica"), int) else None,
                key=text(job.get("key")),
                reason=text(job.get("reason")),
            )


def _without_repetitions(records: list[Record]) -> list[Record]:
    """Keeps one record of each configuration and seed: the latest of those with a result.

    A repeated run gives the same result: if both counted, the spread would look smaller than it is.
    If its data have changed in between, it is another run.
    """

    def identity(record: Record) -> Any:
        if record.setting and record.seed is not None:
            return record.setting, record.seed
        return (record.key, record.seed, record.replica) if record.key else id(record)

    latest = {
        (identity(record), record.state == DONE and record.test_points): id(record)
        for record in sorted(records, key=lambda record: record.started)
    }
    done = {identity(record) for record in records if record.state == DONE}
    kept = set(latest.values())
    return [r for r in records if id(r) in kept and (r.state == DONE or identity(r) not in done)]


def _with_shared_choices(records: list[Record]) -> list[Record]:
    """Gives runs of one setting the same choices, whichever overrides made them.

    What one run has from `experiment=mine` another may have option by option.
    """
    shared: dict[str, dict[str, str]] = {}
    for record in sorted(records, key=lambda record: record.started):
        if record.setting and record.complete:
            choices = shared.setdefault(record.setting, {})
            choices.update({n: v for n, v in record.choices.items() if n not in choices})
    return [
        replace(record, choices=shared[record.setting])
        if record.complete and record.setting in shared
        else record
        for record in records
    ]
