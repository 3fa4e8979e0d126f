"""Which processes of this machine have ended, told at once."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time


class Deaths:
    """Waits for the ends of processes, whoever has started them.

    Where the system cannot tell (elsewhere than on Linux) it only lets time pass.
    """

    def __init__(self) -> None:
        self._here = socket.gethostname()
        self._gone: set[int] = set()
        self._files: dict[int, int] = {}  # file descriptor -> process
        self._poll = select.poll() if hasattr(os, "pidfd_open") else None

    def follow(self, process: int, host: str) -> None:
        """Has the end of a process told from now on, if it is one of this machine."""
        if self._poll is None or host != self._here or process in self._files.values():
            return
        with contextlib.suppress(OSError):  # gone already, or more than may be open
            file = os.pidfd_open(process)
            self._files[file] = process
            self._poll.register(file, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Returns when a process ends, or after so many seconds."""
        if self._poll is None:
            time.sleep(seconds)
            return
        for file, _ in self._poll.poll(1000 * seconds):
            self._gone.add(self._drop(file))

    def has(self, process: int, host: str) -> bool:
        """Whether a process that was followed has ended."""
        return host == self._here and process in self._gone

    def forget(self) -> None:
        """Starts afresh."""
        for file in list(self._files):
            self._drop(file)
        self._gone.clear()

    def _drop(self, file: int) -> int:
        assert self._poll is not None
        self._poll.unregister(file)
        os.close(file)
        return self._files.pop(file)
