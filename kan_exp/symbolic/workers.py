"""Processes that go ways to find a formula side by side."""

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

from kan_exp.symbolic.naming import own_functions, with_functions
from kan_exp.symbolic.ways import Heard, Way

# Unlike multiprocessing's processes, a worker does not import the user's script, which then needs
# no guard. Nothing comes from the working directory (-P), unless this process imports from there.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from kan_exp.symbolic.workers import serve; serve()"
)
_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM")  # one each: workers share the cores
_HEAD_START = 0.5  # seconds for which one process goes the ways alone
_PAUSE = 0.1  # seconds between looks at the clock while a worker is waited for
_DONE, _LOST = "done", "lost"
_Process = subprocess.Popen[bytes]


class Workers:
    """Processes that go ways to find a formula side by side, each on one core.

    They start when they are first needed, serve later searches, too, and end with this object's
    context, or with this process, however that ends. They serve one search at a time.

    Args:
        count: Ways that are gone at once; with 1 there are no processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: list[_Process] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            _end(self._idle.pop())

    def heard(
        self, ways: Sequence[Way], deadline: float, told: Callable[[str], None]
    ) -> Generator[Iterator[Heard], None, None]:
        """What is heard of each way, in their order. Closing the iterator ends all ways.

        This process goes the first ways itself, for half a second: most searches end there, and
        do not wait for a process to start.

        Args:
            deadline: When to stop, on the clock of `time.monotonic`.
            told: Called with the ways that are being gone.
        """
        race = _Race(ways, self.count, self._idle, deadline, told)
        try:
            for number in range(len(ways)):
                # A worker may just have begun it.
                if not race.needs_workers and race.begin(number) is not None:
                    yield race.here(number)
                else:
                    race.employ(self.count)
                    yield race.awaited(number)
        finally:
            race.end()


class _Race:
    """Ways that are gone at once. A thread leads each worker from one way to the next.

    Args:
        ways: The ways.
        count: Those that are gone at once.
        idle: Processes that wait for work.
        deadline: When to stop.
        told: Called with the ways that are being gone.
    """

    def __init__(
        self,
        ways: Sequence[Way],
        count: int,
        idle: list[_Process],
        deadline: float,
        told: Callable[[str], None],
    ) -> None:
        self.ways, self.count, self.idle = ways, count, idle
        self.deadline, self.told = deadline, told
        self.start = time.monotonic() + _HEAD_START
        self.functions = own_functions()
        self.queues: list[queue.SimpleQueue[Heard | str]] = [queue.SimpleQueue() for _ in ways]
        # The ways that nobody has begun, and those that are being gone, with the worker.
        self.left = list(range(len(ways)))
        self.going: dict[int, _Process | None] = {}
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []
        self.said = ""
        # While this process may be in the midst of a long way.
        self.timer = threading.Timer(_HEAD_START, self.employ, [count - 1])
        self.timer.daemon = True
        if count > 1:
            self.timer.start()

    @property
    def needs_workers(self) -> bool:
        return self.count > 1 and time.monotonic() >= self.start

    def employ(self, count: int) -> None:
        """Lets so many workers go the ways that are left."""
        with self.lock:
            self.threads = [thread for thread in self.threads if thread.is_alive()]
            for _ in range(min(count - len(self.threads), len(self.left))):
                self.threads.append(threading.Thread(target=self._lead, daemon=True))
                self.threads[-1].start()

    def begin(self, number: int | None, process: _Process | None = None) -> int | None:
        """Takes a way, or the first one that is left; None if it is taken, or there is none."""
        with self.lock:
            if number is None and self.left:
                number = self.left[0]
            if number not in self.left:
                return None
            self.left.remove(number)
            self.going[number] = process
        return number

    def here(self, number: int, known: int = 0) -> Iterator[Heard]:
        """Goes a way in this process, from what is known of it on."""
        self.tell()
        for heard in islice(self.ways[number].heard(), known, None):
            self.tell()
            yield heard
        with self.lock:
            self.going.pop(number, None)

    def awaited(self, number: int) -> Iterator[Heard]:
        """What a worker hears of a way; this process goes it where there is no worker."""
        known = 0
        while True:
            led = any(thread.is_alive() for thread in self.threads)
            try:
                heard = self.queues[number].get(timeout=_PAUSE)
            except queue.Empty:
                self.tell()
                if time.monotonic() > self.deadline:
                    return
                if led:
                    continue
                if self.begin(number) is None:  # just now by a worker
                    continue
                heard = _LOST
            if isinstance(heard, str):
                if heard == _LOST:
                    warnings.warn(
                        "a worker of the search has failed: what it did is done without it.",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    yield from self.here(number, known)
                return
            known += 1
            yield heard

    def end(self) -> None:
        """Ends all ways at once."""
        self.timer.cancel()
        with self.lock:
            self.left.clear()
            busy = [process for process in self.going.values() if process is not None]
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
        while (number := self.begin(None, process)) is not None:
            end = _LOST
            try:
                seconds = self.deadline - time.monotonic()
                pickle.dump((self.functions, seconds, self.ways[number]), work)
                work.flush()
                while (heard := pickle.load(answers)) is not None:
                    self.queues[number].put(heard)
                end = _DONE
            except (OSError, EOFError, pickle.UnpicklingError):  # it has ended
                return
            finally:
                if end == _LOST:
                    _end(process)
                with self.lock:
                    del self.going[number]
                self.queues[number].put(end)
        self.idle.append(process)

    def tell(self) -> None:
        """Tells which ways are being gone, if they are others than the last time."""
        with self.lock:
            names = [self.ways[number].doing for number in sorted(self.going)]
        said = ", ".join(dict.fromkeys(names))
        if said not in ("", self.said):
            self.said = said
            self.told(said)


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
    """What a worker does: goes the ways that come from standard input, until it is closed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print is no answer
    ways: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(ways,), daemon=True).start()
    while True:
        functions, seconds, way = ways.get()
        way = way.until(time.monotonic() + seconds)
        with with_functions(functions), np.errstate(all="ignore"):
            for heard in itertools.chain(way.heard(), [None]):
                pickle.dump(heard, answers)
                answers.flush()


def _read(ways: queue.SimpleQueue[Any]) -> None:
    """Ends the process as soon as the one that started it has ended."""
    try:
        while True:
            ways.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(0)
