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
from contextlib import suppress
from itertools import islice
from typing import IO, Any, cast

import numpy as np

from kan_exp.symbolic.library import own_functions, with_functions
from kan_exp.symbolic.states import State
from kan_exp.symbolic.strategies import Strategy, Trial

# Unlike multiprocessing's processes, a worker does not import the user's script, which then needs
# no guard. Nothing comes from the working directory (-P), unless this process imports from there.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from kan_exp.symbolic.workers import serve; serve()"
)
_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM")  # one each: workers share the cores
_HEAD_START = 0.5  # seconds for which one process runs the strategies alone
_PAUSE = 0.1  # seconds between looks at the clock while a worker is waited for
_DONE, _LOST = "done", "lost"
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
                # A worker may just have claimed it.
                if not schedule.needs_workers and schedule.claim(number) is not None:
                    yield schedule.run_here(number)
                else:
                    schedule.employ(self.count)
                    yield schedule.await_results(number)
        finally:
            schedule.end()


class _Schedule:
    """Strategies that run at once. A thread leads each worker from one to the next.

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
        self.results: list[queue.SimpleQueue[Result | str]] = [
            queue.SimpleQueue() for _ in strategies
        ]
        self.left = list(range(len(strategies)))  # numbers that are not claimed
        self.running: dict[int, _Process | None] = {}  # None: in this process
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []
        self.shown = ""
        # While this process may be in the midst of a long strategy.
        self.timer = threading.Timer(_HEAD_START, self.employ, [count - 1])
        self.timer.daemon = True
        if count > 1:
            self.timer.start()

    @property
    def needs_workers(self) -> bool:
        return self.count > 1 and time.monotonic() >= self.start

    def employ(self, count: int) -> None:
        """Lets so many workers run the strategies that are left."""
        with self.lock:
            self.threads = [thread for thread in self.threads if thread.is_alive()]
            for _ in range(min(count - len(self.threads), len(self.left))):
                self.threads.append(threading.Thread(target=self._lead, daemon=True))
                self.threads[-1].start()

    def claim(self, number: int | None, process: _Process | None = None) -> int | None:
        """Takes a strategy, or the first that is left; None if it is taken, or there is none."""
        with self.lock:
            if number is None and self.left:
                number = self.left[0]
            if number not in self.left:
                return None
            self.left.remove(number)
            self.running[number] = process
        return number

    def run_here(self, number: int, known: int = 0) -> Iterator[Result]:
        """Runs a strategy in this process, from the results that are known on."""
        self.show()
        for result in islice(self.strategies[number].run(), known, None):
            self.show()
            yield result
        with self.lock:
            self.running.pop(number, None)

    def await_results(self, number: int) -> Iterator[Result]:
        """A worker's results of a strategy; this process runs it if there is no worker."""
        known = 0
        while True:
            led = any(thread.is_alive() for thread in self.threads)
            try:
                result = self.results[number].get(timeout=_PAUSE)
            except queue.Empty:
                self.show()
                if time.monotonic() > self.deadline:
                    return
                if led or self.claim(number) is None:  # or just now by a worker
                    continue
                result = _LOST
            if result == _LOST:
                warnings.warn(
                    "a worker of the search has failed: what it did is done without it.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                yield from self.run_here(number, known)
            if isinstance(result, str):
                return
            known += 1
            yield result

    def end(self) -> None:
        """Ends all strategies at once."""
        self.timer.cancel()
        with self.lock:
            self.left.clear()
            busy = [process for process in self.running.values() if process is not None]
        for process in busy:
            process.kill()
        for thread in self.threads:
            thread.join()
        for process in busy:
            _end(process)
        self.idle[:] = [process for process in self.idle if process not in busy]

    def _lead(self) -> None:
        try:
            process = self.idle.pop() if self.idle else _start()
        except OSError:  # the system has no room for a process
            return
        work, answers = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        while (number := self.claim(None, process)) is not None:
            end = _LOST
            try:
                seconds = self.deadline - time.monotonic()
                pickle.dump((self.functions, seconds, self.strategies[number]), work)
                work.flush()
                while (result := pickle.load(answers)) is not None:
                    self.results[number].put(result)
                end = _DONE
            except (OSError, EOFError, pickle.UnpicklingError):  # it has ended
                return
            finally:
                if end == _LOST:
                    _end(process)
                with self.lock:
                    del self.running[number]
                self.results[number].put(end)
        self.idle.append(process)

    def show(self) -> None:
        """Passes on the names of the strategies that run, if they have changed."""
        with self.lock:
            names = [self.strategies[number].name for number in sorted(self.running)]
        shown = ", ".join(dict.fromkeys(names))
        if shown not in ("", self.shown):
            self.shown = shown
            self.progress(shown)


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
