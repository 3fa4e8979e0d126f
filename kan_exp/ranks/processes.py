"""Starts the other processes of a run, watches them and ends them with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

from kan_exp.errors import KanExpError

PATIENCE = 10.0  # seconds for a process to end, and for rank 0 to notice that one is lost


@dataclass(frozen=True)
class Rank:
    """One of the processes that train together."""

    number: int  # from 0
    count: int
    store: str  # file by which they find each other


@dataclass
class Processes:
    """Runs a function in copies of this process, as a context manager around rank 0's own work.

    The copies are made by `fork`, so this process must not have computed anything with torch yet.
    They end when this process ends, however that happens. Their output is discarded.

    Raises:
        KanExpError: On exit, if an exception was the consequence of a lost process.
    """

    count: int  # of processes, this one included
    work: Callable[[Rank], None]  # takes part in the training as a rank above 0
    explain: Callable[[BaseException], str]  # describes an exception in one line
    # Leaves the program with a reason. Called in another thread if a process is lost and rank 0
    # waits for it forever.
    give_up: Callable[[str], None]

    def __post_init__(self) -> None:
        self._loss_reason = ""
        self._lost, self._finished = threading.Event(), threading.Event()

    def __enter__(self) -> Rank:
        self._folder = tempfile.TemporaryDirectory(prefix="kan_exp-")
        store = str(Path(self._folder.name, "store"))
        context = multiprocessing.get_context("fork")
        self._errors = context.SimpleQueue()
        ranks = [Rank(number, self.count, store) for number in range(self.count)]
        self.others = [context.Process(target=self._run_rank, args=(rank,)) for rank in ranks[1:]]
        for process in self.others:
            process.start()
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        return ranks[0]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if unexpected := isinstance(error, Exception) and not isinstance(error, KanExpError):
            self._lost.wait(PATIENCE)  # a connection breaks before its process has ended
        self._finished.set()
        for process in self.others:
            process.join(PATIENCE if error is None else 0)
            process.kill()
            process.join()
        self._folder.cleanup()
        if unexpected and self._lost.is_set():
            raise KanExpError(self._loss_reason) from error

    def _run_rank(self, rank: Rank) -> None:
        # Ctrl-C and kill are for rank 0, which stops all ranks at the same step.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
        logging.disable()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        try:
            self.work(rank)
        except Exception as error:  # noqa: BLE001 - rank 0 reports it
            self._errors.put(self.explain(error))
            sys.exit(1)

    def _watch(self) -> None:
        """Waits until a process fails or is killed, and then for rank 0 to notice."""
        running = list(self.others)
        while running:
            ready = wait([process.sentinel for process in running])
            ended = [process for process in running if process.sentinel in ready]
            for process in ended:
                process.join()
            if self._finished.is_set():
                return
            # One that is killed makes others fail: its code is negative and comes first.
            codes = sorted((p.exitcode, p.pid, self.others.index(p) + 1) for p in ended)
            for code, pid, rank in codes:
                if code:
                    self._report(code, f"rank {rank} (process {pid}, one of {self.count})")
                    return
            running = [process for process in running if process not in ended]

    def _report(self, code: int, process: str) -> None:
        reason = "failed"
        if code < 0:
            reason = f"was killed by {signal.Signals(-code).name}: start the run again"
        elif not self._errors.empty():
            reason = f"failed: {self._errors.get()}"
        self._loss_reason = f"{process} {reason}"
        self._lost.set()
        if not self._finished.wait(PATIENCE):
            self.give_up(self._loss_reason)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
