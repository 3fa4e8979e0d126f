"""A line for every job as it ends, and a bar with the time that is left."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kan_exp.runs import Status, is_running, read_status
from kan_exp.runs.printable import printable
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.deaths import wait_for_death
from kan_exp.sweeps.jobs import JobGroup
from kan_exp.sweeps.outcomes import Outcome, close, outcomes
from kan_exp.sweeps.summary import shown
from kan_exp.tasks.metrics import title

POLL_SECONDS = 0.2
WIDEST_NAME = 60


class Watch:
    """Looks at the folders of jobs while they run, whoever runs them.

    Args:
        console: Where lines go; a bar is drawn if it is a terminal.
        total: Jobs of the whole sweep.
        done: How many of them are over already.
        metric: The figure that a line tells.
    """

    def __init__(self, console: Console, total: int, done: int, metric: str) -> None:
        self.console, self.metric, self.total, self.done = console, metric, total, done
        self.running: list[JobGroup] = []
        self.first_lost: list[JobGroup] = []
        self._die_together = self._ends = False
        self._before: dict[Path, Status | None] = {}
        self._processes: list[int] = []  # of this machine, that ran at the last look
        self._width = 0
        self._looked = 0.0
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("sweep"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("jobs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            transient=True,
            auto_refresh=False,  # by a thread, which the copies of this process would not have
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("sweep", total=total, completed=done)

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def follow(self, stacks: Sequence[JobGroup], die_together: bool = False) -> None:
        """Names what runs now.

        Args:
            stacks: Which; what an earlier attempt has left in their folders is not theirs.
            die_together: Whether the end of one process makes the launcher end the others; then
                `first_lost` has those whose process was the first to go, and none is marked.
        """
        self.running = list(stacks)
        self._before = {stack.folder: read_status(stack.folder) for stack in stacks}
        self._die_together, self._ends, self.first_lost = die_together, False, []
        names = [stack.name for stack in stacks]
        self._width = min(WIDEST_NAME, max(self._width, *map(len, names)))

    def has_begun(self, stack: JobGroup) -> bool:
        """Whether a stack that is followed has written anything of its own."""
        status = read_status(stack.folder)
        return status is not None and status != self._before[stack.folder]

    def poll(self) -> None:
        """Tells what has ended, at most some times a second."""
        if time.monotonic() - self._looked >= POLL_SECONDS:
            self.look()

    def wait(self) -> None:
        """Lets a moment pass, or less if a process ends in it."""
        wait_for_death(self._processes, POLL_SECONDS)

    def look(self) -> None:
        """Tells what has ended since the last look."""
        with self._lock:
            self._note_killed()
            for stack in list(self.running):
                # What was interrupted may be begun again by its launcher, as Slurm does.
                if self.has_begun(stack) and outcomes(stack)[0].state in ("done", *FAILED):
                    self.tell(stack)
            self._progress.refresh()
            self._looked = time.monotonic()

    def expect_ends(self) -> None:
        """From now on a process that goes was told to."""
        with self._lock:
            self._ends = True

    def finish(self) -> None:
        """Tells the rest, when nothing runs any more and each has been marked."""
        self.look()
        for stack in list(self.running):
            if self.has_begun(stack):
                self.tell(stack)

    def _note_killed(self) -> None:
        """Marks the runs whose process is gone."""
        gone, processes = [], []
        for stack in self.running:
            status = read_status(stack.folder)
            if status is None or status.state != "running" or not self.has_begun(stack):
                continue
            if not is_running(status):
                gone.append(stack)
            elif status.is_here:
                processes.append(status.pid)
        self._processes = processes
        if self._die_together:
            self.first_lost = self.first_lost or gone
        elif not self._ends:
            for stack in gone:
                close(stack.folder)

    def tell(self, stack: JobGroup) -> None:
        """Says what came of a stack that is over."""
        found = outcomes(stack)
        if stack in self.running:
            self.running.remove(stack)
        self.done += len(stack.jobs)
        self._progress.update(self._task, completed=self.done)
        digits = len(str(self.total))
        line = (
            f"{self.done:>{digits}}/{self.total}  {stack.name:<{self._width}}  {self._what(found)}"
        )
        self._progress.console.print(
            printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def _what(self, found: Sequence[Outcome]) -> str:
        seconds = sum(one.seconds or 0.0 for one in found)
        figures = [one.figure(self.metric) for one in found]
        good = sorted(figure for figure in figures if figure is not None)
        failed = [one for one in found if one.state != "done"]
        if not good:
            why = failed[0].reason if failed else f"it has no {self.metric}"
            return f"{failed[0].state if failed else 'done'}{f': {why}' if why else ''}"
        if len(found) == 1:
            line = f"{title(self.metric)} {shown(good[0])}  {seconds:.1f} s"
            return f"{line}  pruned" if found[0].pruned else line
        spread = f"median {shown(statistics.median(good))} ({shown(good[0])} to {shown(good[-1])})"
        counts = Counter(one.state for one in failed)
        lost = "".join(f", {count} of {len(found)} {state}" for state, count in counts.items())
        return f"{title(self.metric)} {spread}{lost}  {seconds:.1f} s"
