"""Launches the jobs of a sweep until each has been given its chance."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from rich.console import Console

from kan_exp.errors import KanExpError
from kan_exp.quoting import typed
from kan_exp.runs import Status, is_running, read_status, write_status
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.jobs import Job, JobGroup, make_job_group, number_of
from kan_exp.sweeps.launching import launch
from kan_exp.sweeps.outcomes import KILLED, Outcome, outcomes
from kan_exp.sweeps.plugins import start
from kan_exp.sweeps.summary import failures, print_table, read_summary, write_summary
from kan_exp.sweeps.watch import Watch

# So often a job may be ended by what happened to another; then it is told as killed.
MAX_LOSSES = 3
# Seconds in which jobs end by themselves whose sweep has been killed.
ENDING, LOOK_EVERY = 5.0, 0.1


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the sweep ends in order, like after Ctrl-C."""


class SweepRunner:
    """Runs jobs by any of Hydra's launchers, and keeps the sweep's files up to date.

    What a launcher returns or raises is not relied on, since a dead worker makes some of them lose
    all they know: the jobs' own folders tell what has become of each.

    Args:
        launcher: Hydra's, ready to launch.
        config: Hydra's configuration of the sweep.
        folder: Of the sweep.
        overrides: What the user typed, by which the sweep can be run again.
        known: What is over already, of an earlier attempt.
        total: Jobs of the whole sweep, if that is known.
    """

    def __init__(
        self,
        launcher: Launcher,
        config: DictConfig,
        folder: Path,
        overrides: Sequence[str],
        known: Sequence[Outcome],
        total: int,
    ) -> None:
        self.launcher, self.folder, self.overrides = launcher, folder, list(overrides)
        self.metric = str(config.sweep.metric)
        self.known = list(known)
        self.stacks: list[JobGroup] = []
        self.losses: Counter[Path] = Counter()
        self.console = Console(soft_wrap=True, markup=False, emoji=False)
        self.watch = Watch(self.console, total, len(known), self.metric)

    def outcomes(self) -> list[Outcome]:
        """What has become of all jobs so far."""
        return [*self.known, *(one for stack in self.stacks for one in outcomes(stack))]

    def run(self, stacks: Sequence[JobGroup]) -> None:
        """Runs stacks to their ends.

        Raises:
            KeyboardInterrupt: The user asked for an end; what was running has written its own.
        """
        start(self.launcher)
        waiting = list(stacks)
        error: Exception | None = None
        with self.watch, _sigterm_interrupts():
            while waiting:
                self.stacks += waiting
                for stack in waiting:
                    _clear(stack)
                self._write()
                try:
                    error = launch(self.launcher, waiting, self.folder, self.watch)
                finally:
                    self._write()
                waiting = self._again(waiting, error)
        self.known, self.stacks = self.outcomes(), []

    def note(self, stack: JobGroup) -> None:
        """Tells of a job that is over without having been launched."""
        self.watch.tell(stack)
        self.known += outcomes(stack)
        self._write()

    def _again(self, stacks: Sequence[JobGroup], error: Exception | None) -> list[JobGroup]:
        """What is to be launched once more: what a broken launcher left, and parts of stacks."""
        untouched = [stack for stack in stacks if not self.watch.has_begun(stack)]
        if untouched and len(untouched) == len(stacks):
            names = ", ".join(stack.name for stack in untouched)
            reason = str(error).strip().splitlines()[0] if error else "it did not say why"
            raise KanExpError(f"{type(self.launcher).__name__} cannot run {names}: {reason}")
        lost = [stack for stack in stacks if stack not in untouched and self._is_lost(stack)]
        if lost:
            count = "1 job" if len(lost) == 1 else f"{len(lost)} jobs"
            self.console.print(f"{count} had to end with it: launched again", highlight=False)
        self.stacks = [stack for stack in self.stacks if stack not in (*untouched, *lost)]
        begun = [stack for stack in stacks if stack not in (*untouched, *lost)]
        parts = [half for stack in begun for half in self._halves(stack)]
        return sorted([*untouched, *lost, *parts], key=lambda stack: stack.jobs[0].number)

    def _is_lost(self, stack: JobGroup) -> bool:
        """Whether a launcher ended a stack because of another, and it has chances left."""
        status = read_status(stack.folder)
        if status is None or status.state != "interrupted":
            return False
        self.losses[stack.folder] += 1
        if self.losses[stack.folder] < MAX_LOSSES:
            return True
        write_status(stack.folder, replace(status, state="failed", reason=KILLED))
        self.watch.look()
        self._write()
        return False

    def _halves(self, stack: JobGroup) -> list[JobGroup]:
        """A stack that asked for too much, in two; the jobs in it shall not pay for each other."""
        status = read_status(stack.folder)
        reason = (status and status.reason) or ""
        if len(stack.jobs) == 1 or not reason.startswith((KILLED, "replicas=")):
            return []
        shutil.rmtree(stack.folder)
        self.stacks.remove(stack)
        self.watch.done -= len(stack.jobs)
        middle = len(stack.jobs) // 2
        return [
            make_job_group(jobs, self.folder) for jobs in (stack.jobs[:middle], stack.jobs[middle:])
        ]

    def _kernels(self, found: Sequence[Outcome]) -> str | None:
        """A note where some runs summed splines by compiled code and others by torch."""
        statuses = [read_status(self.folder / name) for name in {one.folder for one in found}]
        counts = Counter(one.versions.get("kernel") for one in statuses if one is not None)
        if not (counts["native"] and counts["torch"]):
            return None
        return (
            f"Note: splines were summed by compiled code in {counts['native']} of the runs and by "
            f"torch in {counts['torch']}, so that their last digits are not comparable; train.log "
            f"says why."
        )

    def _write(self) -> None:
        write_summary(self.folder, self.overrides, self.metric, self.outcomes())

    def finish(self, more: Sequence[str] = (), failed_again: bool = True) -> None:
        """Shows the table.

        Args:
            more: Lines to say after it.
            failed_again: Whether going on runs again what has failed.

        Raises:
            KanExpError: Jobs have failed; the message names them all.
        """
        self._write()
        found = self.outcomes()
        print_table(self.console, self.metric, found)
        for line in ("", *more, str(self.folder / "sweep.csv")):
            self.console.print(line, markup=False, highlight=False)
        again = f"-m {typed('sweep.resume', self.folder)}"
        if any(one.state in ("waiting", "interrupted") for one in found):
            self.console.print(f"To go on: {again}", markup=False, highlight=False)
        if note := self._kernels(found):
            self.console.print(note, markup=False, highlight=False)
        if lines := failures(found):
            counts = Counter(one.state for one in found if one.state in FAILED)
            (state, count), *rest = sorted(counts.items(), key=lambda pair: FAILED.index(pair[0]))
            others = "".join(f", {number} {other}" for other, number in rest)
            lines.insert(0, f"{count} of {len(found)} jobs {state}{others}:")
            if failed_again:
                lines.append(f"to run them again: {again}")
            raise KanExpError("\n".join(lines))


def renumber(folder: Path, jobs: Sequence[Job]) -> list[Job]:
    """Gives jobs the numbers that they had in an earlier attempt, and others to those that are new.

    Folders are called by numbers: no job may come into one that holds another.

    Args:
        folder: Of that sweep.
        jobs: What is wanted now.
    """
    numbers: dict[str, list[int]] = {}
    taken = [number for path in folder.iterdir() if (number := number_of(path)) is not None]
    for stack in read_summary(folder)[1]:
        for job in stack.jobs:
            numbers.setdefault(job.key, []).append(job.number)
            taken.append(job.number)
    free = itertools.count(max(taken, default=-1) + 1)
    for own in numbers.values():
        own.sort(reverse=True)
    return [replace(job, number=(numbers.get(job.key) or [next(free)]).pop()) for job in jobs]


def remember(folder: Path, jobs: Sequence[Job]) -> list[Outcome]:
    """What is done in the folder of an earlier attempt: also what is not wanted any more.

    Args:
        folder: Of that sweep.
        jobs: What is wanted now, recognised by its keys.

    Raises:
        KanExpError: It still runs.
    """
    wanted: dict[str, list[Job]] = {}
    for job in reversed(jobs):
        wanted.setdefault(job.key, []).append(job)
    found = []
    end = time.monotonic() + ENDING
    for stack in read_summary(folder)[1]:
        while (status := read_status(stack.folder)) is not None and is_running(status):
            if time.monotonic() > end:
                raise still_runs(stack, status)
            time.sleep(LOOK_EVERY)
        for one in outcomes(stack):
            if one.state == "done":
                same = wanted.get(one.job.key)
                found.append(replace(one, job=same.pop()) if same else one)
    return found


def still_runs(stack: JobGroup, status: Status) -> KanExpError:
    """What to say where a sweep is to go on that has not ended."""
    folder = stack.folder.parent
    if status.is_here:
        return KanExpError(f"{folder} still runs (process {status.pid}): wait, or end it first.")
    return KanExpError(
        f"{folder} still runs on {status.host}, as far as is known (process {status.pid} there): "
        f"wait, or end it; if it is gone, write interrupted for running in "
        f"{stack.folder / 'status.json'}."
    )


def _clear(stack: JobGroup) -> None:
    """Removes what an attempt that failed has left; one that was cut short may go on from it."""
    status = read_status(stack.folder)
    if status is not None and status.state in FAILED and status.reason != KILLED:
        shutil.rmtree(stack.folder)


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
