"""A line for every job as it ends, and a bar with the remaining time."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich import progress
from rich.console import Console

from kan_exp.runs import Status, close_status, is_running, read_status
from kan_exp.runs.printable import printable
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.jobs import JobGroup
from kan_exp.sweeps.outcomes import Outcome, outcomes
from kan_exp.tasks.metrics import title
from kan_exp.tasks.numbers import number

POLL_SECONDS = 0.2
MAX_NAME = 60


class SweepProgress:
    """Reports jobs by the files in their folders, whichever launcher runs them.

    `bar` is to be entered while jobs run; it is drawn if the console is a terminal.
    """

    def __init__(self, console: Console, total: int, done: int, metric: str) -> None:
        self.metric, self.total, self.done = metric, total, done
        self.running: list[JobGroup] = []
        self._before: dict[Path, Status | None] = {}
        self._width, self._last_look = 0, 0.0
        self.bar = progress.Progress(
            progress.TextColumn("sweep"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("jobs"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            transient=True,
            auto_refresh=False,  # by a thread, which the copies of this process would not have
            disable=not console.is_terminal,
        )
        self._task = self.bar.add_task("sweep", total=total, completed=done)

    def follow(self, groups: Sequence[JobGroup]) -> None:
        """Sets the groups that are launched now; a status in their folders is an earlier one."""
        self.running = list(groups)
        self._before = {group.folder: read_status(group.folder) for group in groups}
        self._width = min(MAX_NAME, max(self._width, *(len(group.name) for group in groups)))

    def has_begun(self, group: JobGroup) -> bool:
        """Whether a group has written a status since `follow`."""
        status = read_status(group.folder)
        return status is not None and status != self._before[group.folder]

    def poll(self, at_once: bool) -> None:
        """Calls `look`, unless `at_once` at most every `POLL_SECONDS`."""
        if at_once or time.monotonic() - self._last_look >= POLL_SECONDS:
            self.look()

    def look(self) -> None:
        """Reports the groups that have ended, and marks those whose process was killed."""
        for group in list(self.running):
            status = read_status(group.folder)
            if status is None or not self.has_begun(group):
                continue
            if status.state == "running" and not is_running(status):
                with contextlib.suppress(OSError):  # tried again after the launch
                    close_status(group.folder)
            # An interrupted job may be begun again by its launcher, as Slurm does.
            if outcomes(group)[0].state in ("done", *FAILED):
                self.report(group)
        self.bar.refresh()
        self._last_look = time.monotonic()

    def finish(self) -> None:
        """Reports the rest, when nothing runs any more."""
        for group in list(self.running):
            if self.has_begun(group):
                self.report(group)

    def report(self, group: JobGroup) -> None:
        """Prints the line of a group that has ended."""
        if group in self.running:
            self.running.remove(group)
        self.done += len(group.jobs)
        self.bar.update(self._task, completed=self.done)
        count = f"{self.done:>{len(str(self.total))}}/{self.total}"
        line = f"{count}  {group.name:<{self._width}}  {self._result(outcomes(group))}"
        self.bar.console.print(printable(line))

    def _result(self, group: Sequence[Outcome]) -> str:
        seconds = sum(outcome.seconds or 0.0 for outcome in group)
        metrics = [outcome.metric(self.metric) for outcome in group]
        values = sorted(value for value in metrics if value is not None)
        failed = [outcome for outcome in group if outcome.state != "done"]
        if not values:
            reason = failed[0].reason if failed else f"it has no {self.metric}"
            return f"{failed[0].state if failed else 'done'}{f': {reason}' if reason else ''}"
        if len(group) == 1:
            line = f"{title(self.metric)} {number(values[0])}  {seconds:.1f} s"
            return f"{line}  pruned" if group[0].pruned else line
        median, low, high = (number(v) for v in (statistics.median(values), values[0], values[-1]))
        counts = Counter(outcome.state for outcome in failed)
        lost = "".join(f", {count} of {len(group)} {state}" for state, count in counts.items())
        return f"{title(self.metric)} median {median} ({low} to {high}){lost}  {seconds:.1f} s"
