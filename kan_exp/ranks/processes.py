"""The processes of one run: started by the first, watched by it, and never left behind."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

from kan_exp.errors import KanExpError

COMMAND = (sys.executable, "-m", "kan_exp.rank")
READY = "ready\n"
LOOK_EVERY = 0.2  # seconds
GRACE = 10.0  # seconds in which rank 0 should notice that another is gone
ENDING = 5.0  # seconds that a rank may take to end


class Member(ABC):
    """This process as one of those that train together.

    Args:
        rank: Which of them, from 0.
        count: How many they are.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count

    @abstractmethod
    def gather(self) -> None:
        """Says that this rank could begin; rank 0 waits until all have said so."""

    @abstractmethod
    def share_port(self, port: int | None) -> int:
        """Takes rank 0's port and hands it to every rank."""

    @abstractmethod
    def look_for_lost(self) -> None:
        """Waits a moment for a rank that is gone, after something went wrong."""

    @abstractmethod
    def part(self) -> None:
        """Says that the training is over: ranks may go."""


class Leader(Member):
    """Rank 0, as a context manager around a run: starts the other ranks and ends them.

    They start at once and so import what they need while this process does. What they say is kept
    from the terminal. Each ends as soon as its standard input closes, which the system does for
    rank 0 however it ends.

    Args:
        count: Ranks, this one included.
        job: What they are told, in plain containers.
        give_up: Leaves the program with a reason. It is called by another thread where a rank is
            lost and this one does not come back from waiting for it, as in NCCL.
        command: What runs as a rank.

    Raises:
        KanExpError: On leaving, where something went wrong because a rank was lost.
    """

    def __init__(
        self,
        count: int,
        job: Mapping[str, Any],
        give_up: Callable[[str], None],
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        super().__init__(0, count)
        self.job, self.give_up, self.command = job, give_up, command
        self.lost: str | None = None
        self._over = threading.Event()
        self._others: dict[int, subprocess.Popen[str]] = {}
        self._said: dict[int, IO[str]] = {}

    def __enter__(self) -> Leader:
        for rank in range(1, self.count):
            self._said[rank] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
            self._others[rank] = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said[rank],
                text=True,
                start_new_session=True,  # Ctrl-C is for rank 0, which tells the others
            )
            self._tell(rank, json.dumps({"rank": rank, "count": self.count, **self.job}))
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.part()
        for process in self._others.values():
            with process:  # closes its pipes and waits for it
                if process.stdin is not None:
                    process.stdin.close()
                try:
                    process.wait(ENDING)
                except subprocess.TimeoutExpired:
                    process.kill()
        for said in self._said.values():
            said.close()
        known = isinstance(error, KanExpError) or not isinstance(error, Exception)
        if self.lost is not None and not known:
            raise KanExpError(self.lost) from error

    def gather(self) -> None:
        for process in self._others.values():
            assert process.stdout is not None
            if READY not in iter(process.stdout.readline, ""):
                self.look_for_lost()
                raise KanExpError(self.lost or "a rank ended before the training began.")

    def share_port(self, port: int | None) -> int:
        assert port is not None
        for rank in self._others:
            self._tell(rank, str(port))
        return port

    def part(self) -> None:
        self._over.set()

    def look_for_lost(self) -> None:
        # A connection breaks a little before its process can be seen to have ended.
        end = time.monotonic() + GRACE
        while not self._find_lost() and time.monotonic() < end:
            time.sleep(LOOK_EVERY / 10)

    def _tell(self, rank: int, line: str) -> None:
        stream = self._others[rank].stdin
        assert stream is not None
        try:
            stream.write(line + "\n")
            stream.flush()
        except BrokenPipeError as error:
            self.look_for_lost()
            raise KanExpError(self.lost or f"rank {rank} does not listen.") from error

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            if self._find_lost():
                for process in self._others.values():
                    process.kill()
                if not self._over.wait(GRACE):
                    self.give_up(str(self.lost))
                return

    def _find_lost(self) -> bool:
        """Whether a rank has gone before its time; remembers the first that did."""
        if self.lost is None:
            ended = [(process.poll(), rank) for rank, process in self._others.items()]
            # One that is killed makes others fail: its code, below zero, comes first.
            gone = sorted((code, rank) for code, rank in ended if code)
            if gone:
                self.lost = self._obituary(gone[0][1], gone[0][0])
        return self.lost is not None

    def _obituary(self, rank: int, code: int) -> str:
        who = f"rank {rank} (process {self._others[rank].pid}, one of {self.count})"
        if code < 0:
            return (
                f"{who} was killed by {signal.Signals(-code).name}, and the others cannot go on "
                f"without it: start the run again, with fewer trainer.devices if memory ran out."
            )
        self._said[rank].seek(0)
        lines = [line.strip() for line in self._said[rank] if line.strip()]
        return f"{who} failed: {lines[-1] if lines else f'exit code {code}'}"


class Follower(Member):
    """Any rank but 0; what it is to do comes in on standard input, whose end is its own.

    Ctrl-C and kill do not stop it: rank 0 hears them and tells all ranks at the same step.
    """

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="rank 0", daemon=True).start()
        self.job: dict[str, Any] = json.loads(self._lines.get())
        super().__init__(self.job["rank"], self.job["count"])

    def gather(self) -> None:
        sys.stdout.write(READY)
        sys.stdout.flush()
        os.dup2(2, 1)  # nobody reads on: a full pipe would stop this process

    def share_port(self, port: int | None) -> int:
        return int(self._lines.get())

    def look_for_lost(self) -> None:
        """Rank 0 tells."""

    def part(self) -> None:
        """Rank 0 closes the standard input when it no longer needs this process."""

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        os._exit(0)  # whatever the other threads wait for
