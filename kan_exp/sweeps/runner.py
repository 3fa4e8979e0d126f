"""Runs the jobs of a sweep and keeps its files up to date."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from rich.console import Console

from kan_exp.errors import KanExpError
from kan_exp.quoting import typed
from kan_exp.runs import Status, is_running, read_status
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.jobs import Job, JobGroup, make_job_group, number_of
from kan_exp.sweeps.launching import launch, start_ray
from kan_exp.sweeps.outcomes import Outcome, outcomes
from kan_exp.sweeps.progress import SweepProgress
from kan_exp.sweeps.summary import failures, print_table, read_summary, write_summary

# Seconds in which jobs end by themselves after their sweep was killed.
ENDING, POLL_SECONDS = 5.0, 0.1


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the sweep ends in order, as after Ctrl-C."""


@dataclass
class SweepRunner:
    """Runs jobs by any of Hydra's launchers.

    The outcomes are read from the jobs' folders: a launcher does not return what happened
    to each job.
    """

    launcher: Launcher
    config: DictConfig  # Hydra's, of the sweep
    folder: Path
    overrides: Sequence[str]  # the command line that repeats the sweep
    known: Sequence[Outcome]  # of jobs that an earlier attempt has finished
    total: int  # number of jobs

    def __post_init__(self) -> None:
        self.metric = str(self.config.sweep.metric)
        self.groups: list[JobGroup] = []
        self.launcher_error: str | None = None
        self.console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
        self.progress = SweepProgress(self.console, self.total, len(self.known), self.metric)

    def outcomes(self) -> list[Outcome]:
        """The outcomes of all jobs so far."""
        return [*self.known, *itertools.chain.from_iterable(map(outcomes, self.groups))]

    def run(self, groups: Sequence[JobGroup]) -> None:
        """Runs groups of jobs to their ends.

        Raises:
            KanExpError: The launcher starts no job.
            KeyboardInterrupt: The user asked for an end.
        """
        start_ray(self.config)
        numbers = {job.number for group in groups for job in group.jobs}
        self.known = [row for row in self.known if row.job.number not in numbers]
        waiting = list(groups)
        with self.progress.bar, _sigterm_interrupts():
            while waiting:
                self.groups += waiting
                for group in waiting:
                    _clear(group)
                self.write()
                try:
                    error = launch(self.launcher, waiting, self.config, self.folder, self.progress)
                finally:
                    self.write()
                if error is not None or not all(map(self.progress.has_begun, waiting)):
                    self._check_begun(waiting, error)
                    break  # nothing is launched again: sweep.resume does that
                waiting = [half for group in waiting for half in self._halves(group)]
        self.known, self.groups = self.outcomes(), []

    def report(self, group: JobGroup) -> None:
        """Reports a job that has ended without being launched."""
        self.progress.report(group)
        self.known = [*self.known, *outcomes(group)]
        self.write()

    def _check_begun(self, groups: Sequence[JobGroup], error: Exception | None) -> None:
        reason = "it gave no reason" if error is None else str(error) or type(error).__name__
        reason = reason.strip().splitlines()[0]
        self.launcher_error = f"{type(self.launcher).__name__} ended early: {reason}"
        if not any(map(self.progress.has_begun, groups)):
            names = ", ".join(group.name for group in groups)
            raise KanExpError(f"{type(self.launcher).__name__} cannot run {names}: {reason}")

    def _halves(self, group: JobGroup) -> list[JobGroup]:
        """Two halves of a group that took too much memory, so that each job has its chance."""
        status = read_status(group.folder)
        too_large = status is not None and (
            status.was_killed or (status.reason or "").startswith("replicas=")
        )
        if len(group.jobs) == 1 or not too_large:
            return []
        shutil.rmtree(group.folder)
        self.groups.remove(group)
        self.progress.done -= len(group.jobs)
        middle = len(group.jobs) // 2
        return [
            make_job_group(jobs, self.folder) for jobs in (group.jobs[:middle], group.jobs[middle:])
        ]

    def _kernel_note(self, rows: Sequence[Outcome]) -> str | None:
        """A note if some runs summed splines by compiled code and others by torch."""
        statuses = [read_status(self.folder / name) for name in {row.folder for row in rows}]
        counts = Counter(status.versions.get("kernel") for status in statuses if status)
        if not (counts["native"] and counts["torch"]):
            return None
        return (
            f"Note: splines were summed by compiled code in {counts['native']} of the runs and by "
            f"torch in {counts['torch']}, so that their last digits are not comparable; train.log "
            f"says why."
        )

    def write(self) -> None:
        """Writes the sweep's files."""
        write_summary(self.folder, self.overrides, self.metric, self.outcomes())

    def finish(self, more: Sequence[str] = (), retries_failed: bool = True) -> None:
        """Prints the table, and `more` lines below it.

        Raises:
            KanExpError: Jobs have failed; the message names them all, and how to run them again if
                `retries_failed`.
        """
        self.write()
        rows = self.outcomes()
        print_table(self.console, self.metric, rows)
        for line in ("", *more, str(self.folder / "sweep.csv")):
            self.console.print(line)
        again = f"-m {typed('sweep.resume', self.folder)}"
        if any(row.state in ("waiting", "interrupted") for row in rows):
            self.console.print(f"To resume: {again}")
        if note := self._kernel_note(rows):
            self.console.print(note)
        if lines := failures(rows):
            counts = Counter(row.state for row in rows if row.state in FAILED)
            (state, count), *rest = sorted(counts.items(), key=lambda pair: FAILED.index(pair[0]))
            others = "".join(f", {number} {other}" for other, number in rest)
            lines.insert(0, f"{count} of {len(rows)} jobs {state}{others}:")
            if retries_failed:
                lines.append(f"to run them again: {again}")
            raise KanExpError("\n".join(lines))
        if self.launcher_error is not None and any(row.state == "waiting" for row in rows):
            raise KanExpError(self.launcher_error)


def renumber(folder: Path, jobs: Sequence[Job]) -> list[Job]:
    """Gives jobs the numbers of an earlier attempt, and free numbers to new ones.

    Folders are named by numbers: no job may write into the folder of another.
    """
    numbers: dict[str, list[int]] = {}
    taken = [number for path in folder.iterdir() if (number := number_of(path)) is not None]
    for group in read_summary(folder)[1]:
        for job in group.jobs:
            numbers.setdefault(job.key, []).append(job.number)
            taken.append(job.number)
    free = itertools.count(max(taken, default=-1) + 1)
    for own in numbers.values():
        own.sort(reverse=True)
    return [replace(job, number=(numbers.get(job.key) or [next(free)]).pop()) for job in jobs]


def finished_jobs(folder: Path, jobs: Sequence[Job]) -> list[Outcome]:
    """The jobs that an earlier attempt has finished, whether or not they are among `jobs` now.

    Raises:
        KanExpError: One still runs.
    """
    wanted: dict[str, list[Job]] = {}
    for job in reversed(jobs):
        wanted.setdefault(job.key, []).append(job)
    finished = []
    end = time.monotonic() + ENDING
    for group in read_summary(folder)[1]:
        while (status := read_status(group.folder)) is not None and is_running(status):
            if time.monotonic() > end:
                raise still_runs(group, status)
            time.sleep(POLL_SECONDS)
        for outcome in outcomes(group):
            if outcome.state == "done":
                same = wanted.get(outcome.job.key)
                finished.append(replace(outcome, job=same.pop()) if same else outcome)
    return finished


def still_runs(group: JobGroup, status: Status) -> KanExpError:
    """The error about resuming a sweep that has not ended."""
    folder = group.folder.parent
    if status.is_here:
        return KanExpError(f"{folder} still runs (process {status.pid}): wait, or end it first.")
    return KanExpError(
        f"{folder} still runs on {status.host}, as far as is known (process {status.pid} there): "
        f"wait, or end it; if it is gone, write interrupted for running in "
        f"{group.folder / 'status.json'}."
    )


def _clear(group: JobGroup) -> None:
    """Removes what a failed attempt has left; one that was cut short may continue from it."""
    status = read_status(group.folder)
    if status is not None and status.state in FAILED and not status.was_killed:
        shutil.rmtree(group.folder)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
