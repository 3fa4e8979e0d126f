"""Reads many run folders at once, and tells each seed of each run as one record."""

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
    parse_overrides,
    read_object,
    text,
    value_text,
)
from kan_exp.runs.metrics import is_shared
from kan_exp.runs.results import INCOMPLETE
from kan_exp.runs.results import NAME as METRICS
from kan_exp.runs.status import FAILED, Status, is_running
from kan_exp.runs.status import NAME as STATUS

# How a seed can have ended. Only those that are done have a result that counts.
DONE = "done"
UNDONE = ("failed", "diverged", "interrupted", "unfinished", "unreadable")


@dataclass(frozen=True, slots=True)
class Record:
    """One seed of one run.

    Args:
        folder: Of the run.
        state: `DONE` or one of `UNDONE`.
        choices: What the user chose, as text and without seeds; of a run without a result, only
            what was typed.
        typed: The choices that stood on the command line, in their order.
        complete: Whether `choices` has all choices, or only the typed ones.
        seed: If it is known.
        metrics: The finite numbers of the result; of a stacked seed, its own.
        primary: The metric by which its network was chosen, if it tells.
        seconds: Of training; of a stacked seed, the stack's divided by its seeds.
        shared_by: Seeds that were trained as one stack, 1 for a run of its own.
        replica: Place in the stack.
        test_points: Fingerprint of the points on which it was scored.
        key: Digest of the whole configuration.
        setting: Digest of the configuration without seeds; the same of stacked ones.
        reason: Why it did not end well, or that it has not ended.
        started: ISO-8601.
        place: Device and versions, on which seconds depend.
    """

    folder: Path
    state: str
    choices: Mapping[str, str] = field(default_factory=dict)
    typed: tuple[str, ...] = ()
    complete: bool = False
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    primary: str | None = None
    seconds: float | None = None
    shared_by: int = 1
    replica: int | None = None
    test_points: str | None = None
    key: str | None = None
    setting: str | None = None
    reason: str | None = None
    started: str = ""
    place: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that was found.

    Args:
        records: One for each seed of each run.
        unreadable: A line for each file or folder that could not be read.
        silent: Folders that say neither what was chosen nor what came of it.
        repeated: Records that were left out because the same run and seed is there once more.
    """

    records: list[Record]
    unreadable: list[str]
    silent: list[Path]
    repeated: int


def read_records(folders: Sequence[str | Path]) -> Records:
    """Reads every run in or below the given folders; a run found twice counts once.

    Raises:
        KanExpError: A folder is not there, or there is no run in any.
    """
    unreadable: list[str] = []
    silent: list[Path] = []
    found: list[Record] = []
    for folder, names in _find_runs(folders, unreadable):
        if SWEEP in names:
            found.extend(_never_begun(folder, unreadable))
        elif names & {METRICS, STATUS}:
            found.extend(_read_run(folder, names, unreadable))
        else:
            silent.append(folder)
    if not (found or unreadable or silent):
        shown = ", ".join(str(folder) for folder in folders)
        raise KanExpError(f"{shown}: no run there (no folder with {METRICS} or {STATUS}).")
    kept = _with_shared_choices(_without_repetitions(found))
    return Records(kept, unreadable, silent, len(found) - len(kept))


def _find_runs(
    folders: Sequence[str | Path], unreadable: list[str]
) -> Iterator[tuple[Path, set[str]]]:
    """Folders of runs, and of sweeps, with the names in them; nothing inside a run is visited."""
    for given in folders:
        if not expand_home(given).is_dir():
            raise KanExpError(f"{given}: there is no such folder of runs.")
    seen: set[str] = set()
    stack = [str(expand_home(given).resolve()) for given in reversed(folders)]
    while stack:
        path = stack.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            with os.scandir(path) as listed:
                entries = list(listed)
        except OSError as error:
            unreadable.append(f"{path}: {error.strerror}")
            continue
        names = {entry.name for entry in entries}
        if SWEEP in names or not names.isdisjoint(RECORDS):
            yield Path(path), names
        if SWEEP in names or names.isdisjoint(RECORDS):
            inside = (
                entry.path
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            )
            stack.extend(sorted(inside, reverse=True))


def _read_run(folder: Path, names: set[str], unreadable: list[str]) -> Iterable[Record]:
    """The records of one run: several if its seeds were trained as one stack."""
    status = read_object(folder / STATUS, unreadable) if STATUS in names else {}
    metrics = read_object(folder / METRICS, unreadable) if METRICS in names else {}
    typed = parse_overrides(entry(status, "overrides", list))
    chosen = entry(metrics, "choices", dict)
    if chosen:
        chosen = {"task": "regression", **chosen}  # which older versions do not tell
    seed = chosen.get("seed", typed.get("seed"))
    choices = _choices({**typed, **chosen})
    versions = entry(metrics, "versions", dict)
    parts = [f"{name} {version}" for name, version in versions.items()]
    record = Record(
        folder=folder,
        state=_state(status, metrics),
        choices=choices,
        typed=tuple(name for name in typed if is_setting(name)),
        complete=bool(chosen),
        seed=seed if isinstance(seed, int) else None,
        metrics=numbers(metrics or {}),
        primary=text(entry(metrics, "scoring", dict).get("primary")),
        seconds=number((metrics or {}).get("train_seconds")),
        test_points=text((metrics or {}).get("test_points")),
        key=text((status or {}).get("key")),
        setting=text((status or {}).get("setting")),
        reason=text((status or {}).get("reason")) or (None if metrics else _fate(status)),
        started=text((status or {}).get("started")) or "",
        place=tuple(filter(None, [text((metrics or {}).get("device")), *sorted(parts)])),
    )
    replicas = entry(metrics, "replicas", dict)
    if replicas:
        return _unstack(record, replicas)
    count = chosen.get("replicas", typed.get("replicas", 1))
    if isinstance(count, int) and count > 1:  # a stack that left no result
        return [
            replace(record, seed=None if seed is None else seed + k, shared_by=count, replica=k)
            for k in range(count)
        ]
    return [record]


def _choices(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value_text(value) for name, value in values.items() if is_setting(name)}


def _unstack(record: Record, replicas: Mapping[str, Any]) -> list[Record]:
    """One record for each seed of a stack, whose time they share evenly."""
    each = [one for one in entry(replicas, "each", list) if isinstance(one, dict)]
    diverged = {one.get("seed"): one for one in entry(replicas, "diverged", list)}
    common = {n: value for n, value in record.metrics.items() if is_shared(n)}
    records = []
    for replica, one in enumerate(each):
        seed = one.get("seed")
        gone = diverged.get(seed) if record.state == DONE else None
        records.append(
            replace(
                record,
                seed=seed,
                state="diverged" if gone else record.state,
                reason=f"diverged at step {gone.get('step')}" if gone else record.reason,
                metrics={**common, **numbers({n: v for n, v in one.items() if n != "seed"})},
                seconds=None if record.seconds is None else record.seconds / len(each),
                shared_by=len(each),
                replica=replica,
            )
        )
    return records


def _state(status: Mapping[str, Any] | None, metrics: Mapping[str, Any] | None) -> str:
    """How a run ended: its result decides, since it is written last; None is a damaged file."""
    if metrics is None:
        return "unreadable"
    if metrics:
        stopped = metrics.get("stopped")
        return stopped if stopped in INCOMPLETE else DONE
    if status is None:
        return "unreadable"
    state = status.get("state")
    return state if state in (*FAILED, "interrupted") else "unfinished"


def _fate(content: Mapping[str, Any] | None) -> str | None:
    """What has become of a run of which there is no more than that it began."""
    if not content or content.get("state") != "running":
        return None
    try:
        status = Status(**content)
        if not status.is_here:
            return f"running on {status.host}, as far as is known"
        return "still running" if is_running(status) else "its process is gone: it was killed"
    except (TypeError, ValueError, OverflowError):  # a status that somebody has edited
        return None


def _never_begun(sweep: Path, unreadable: list[str]) -> Iterator[Record]:
    """Jobs that a sweep tells of without a folder of theirs."""
    for job in entry(read_object(sweep / SWEEP, unreadable), "jobs", list):
        if not isinstance(job, dict):
            continue
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
    """Keeps one of each configuration and seed: one with a result, and of several the latest.

    The same run twice gives the same result twice: both counted, the spread would look better
    known than it is. Where its data have changed in between, it is not the same.
    """

    def run(record: Record) -> Any:
        if record.setting and record.seed is not None:
            return record.setting, record.seed
        return (record.key, record.seed, record.replica) if record.key else id(record)

    latest = {
        (run(record), record.state == DONE and record.test_points): id(record)
        for record in sorted(records, key=lambda record: record.started)
    }
    done = {run(record) for record in records if record.state == DONE}
    kept = set(latest.values())
    return [r for r in records if id(r) in kept and (r.state == DONE or run(r) not in done)]


def _with_shared_choices(records: list[Record]) -> list[Record]:
    """Gives runs of one setting the same choices, whatever was typed to come to it.

    What one run says by `experiment=mine` another may say option by option.
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
