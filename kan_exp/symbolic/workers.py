"""Processes that run strategies of the search side by side."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any, cast

import numpy as np

from kan_exp.symbolic.library import own_functions, with_functions
from kan_exp.symbolic.problem import State
from kan_exp.symbolic.strategies import Strategy, Trial

# Unlike multiprocessing's processes, a worker does not import the user's script, which then needs
# no guard. Nothing comes from the working directory (-P), unless this process imports from there.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from kan_exp.symbolic.workers import serve; serve()"
)
_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM")  # one each: workers share the cores
_HEAD_START = 0.5  # seconds for which one process runs the strategies alone
_LOST = "lost"
_PAUSE = 0.1  # seconds between looks at the clock while a worker is waited for
_Process = subprocess.Popen[bytes]
Result = Trial | State


class Workers:
    """Processes that run strategies side by side, each on one core.

    They start when they are first needed, serve later searches, too, and end with this object's
    context, or with this process, however that ends. They serve one search at a time.

    Args:
        count: Strategies that run at once; with 1 there are no processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: list[_Process] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            _end(self._idle.pop())

    def run(
        self, strategies: Sequence[Strategy], deadline: float, progress: Callable[[str], None]
    ) -> Generator[Iterator[Result], None, None]:
        """The results of each strategy, in their order. Closing the iterator ends all of them.

        For half a second, this process runs the first strategies itself: most searches end there,
        and do not wait for a process to start.

        Args:
            deadline: When to stop, on the clock of `time.monotonic`.
            progress: Called with the names of the strategies that run.
        """
        schedule = _Schedule(strategies, self.count, self._idle, deadline, progress)
        try:
            for number in range(len(strategies)):
                yield schedule.results(number)
        finally:
            schedule.end()


class _Schedule:
    """Strategies that run at once, each in a process that a thread of a pool leads.

    Args:
        strategies: What is run.
        count: How many run at once.
        idle: Processes that wait for work.
        deadline: When to stop.
        progress: Called with the names of the strategies that run.
    """

    def __init__(
        self,
        strategies: Sequence[Strategy],
        count: int,
        idle: list[_Process],
        deadline: float,
        progress: Callable[[str], None],
    ) -> None:
        self.strategies, self.count, self.idle = strategies, count, idle
        self.deadline, self.progress = deadline, progress
        self.start = time.monotonic() + _HEAD_START
        self.functions = own_functions()
        self.queues: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in strategies]
        self.begun = 0  # how many strategies this process has begun
        self.running: dict[int, _Process | None] = {}  # None: in this process
        self.futures: dict[int, Future[None]] = {}
        self.ended = False
        self.lock = threading.Lock()
        self.shown = ""
        self.pool = ThreadPoolExecutor(count)
        # While this process may be in the midst of a long strategy.
        self.timer = threading.Timer(_HEAD_START, self._employ)
        self.timer.daemon = True
        if count > 1:
            self.timer.start()

    def results(self, number: int) -> Iterator[Result]:
        """The results of a strategy, run in this process or by a worker."""
        if self.count > 1 and time.monotonic() >= self.start:
            self._employ()
        with self.lock:
            future = self.futures.get(number)
            if future is not None and not future.cancel():
                return self._await(number)
            self.begun, self.running[number] = number + 1, None
        return self._run_here(number)

    def end(self) -> None:
        """Ends all strategies at once."""
        self.timer.cancel()
        with self.lock:
            self.ended = True
            busy = [process for process in self.running.values() if process is not None]
        for process in busy:
            process.kill()
        self.pool.shutdown(cancel_futures=True)

    def show(self) -> None:
        """Passes on the names of the strategies that run, if they have changed."""
        with self.lock:
            names = [self.strategies[number].name for number in sorted(self.running)]
        shown = ", ".join(dict.fromkeys(names))
        if shown not in ("", self.shown):
            self.shown = shown
            self.progress(shown)

    def _employ(self) -> None:
        """Leaves the other strategies to workers."""
        with self.lock:
            if not self.futures and not self.ended:
                for number in range(self.begun, len(self.strategies)):
                    self.futures[number] = self.pool.submit(self._lead, number)

    def _run_here(self, number: int, known: int = 0) -> Iterator[Result]:
        """Runs a strategy in this process, from the results that are known on."""
        self.show()
        for result in itertools.islice(self.strategies[number].run(), known, None):
            self.show()
            yield result
        with self.lock:
            self.running.pop(number, None)

    def _await(self, number: int) -> Iterator[Result]:
        """A worker's results; where it fails, this process continues."""
        for known in itertools.count():
            result = self._next(number)
            if result == _LOST:
                warnings.warn(
                    "a worker of the search has failed: what it did is done without it.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                yield from self._run_here(number, known)
            if result is None or result == _LOST:
                return
            yield result

    def _next(self, number: int) -> Any:
        """A worker's next result; None at its end, or when the time is over."""
        while True:
            try:
                return self.queues[number].get(timeout=_PAUSE)
            except queue.Empty:
                self.show()
                if time.monotonic() > self.deadline:
                    return None

    def _lead(self, number: int) -> None:
        """Has a process run a strategy, and passes its results on, then None."""
        process: _Process | None = None
        end: str | None = _LOST
        # It may end early, or there is no room for it.
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            process = self.idle.pop() if self.idle else _start()
            with self.lock:
                self.running[number] = process
                if self.ended:
                    process.kill()
            seconds = self.deadline - time.monotonic()
            work, answers = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
            pickle.dump((self.functions, seconds, self.strategies[number]), work)
            work.flush()
            while (result := pickle.load(answers)) is not None:
                self.queues[number].put(result)
            end = None
        with self.lock:
            self.running.pop(number, None)
            is_free = end is None and not self.ended
        if process is not None:
            if is_free:
                self.idle.append(process)
            else:
                _end(process)
        self.queues[number].put(end)


def _start() -> _Process:
    """A worker, out of the terminal's group of processes: Ctrl-C is for this process alone."""
    path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
    group: dict[str, Any] = {"process_group": 0}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **{f"{name}_NUM_THREADS": "1" for name in _THREADS}},
        **group,
    )


def _end(process: _Process) -> None:
    process.kill()
    with suppress(OSError), process:  # the rest of a message finds no reader
        pass


def serve() -> None:
    """What a worker does: runs the strategies that come from standard input, until it is closed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print is no answer
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(received,), daemon=True).start()
    while True:
        functions, seconds, strategy = received.get()
        strategy = strategy.until(time.monotonic() + seconds)
        with with_functions(functions), np.errstate(all="ignore"):
            for result in itertools.chain(strategy.run(), [None]):
                pickle.dump(result, answers)
                answers.flush()


def _read(received: queue.SimpleQueue[Any]) -> None:
    """Ends the process as soon as the one that started it has ended."""
    try:
        while True:
            received.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(0)
