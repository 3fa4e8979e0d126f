"""What has become of a run: `status.json`, from its first moment to its last."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from kan_exp.errors import DivergedError
from kan_exp.runs.best_effort import begin_run, note_once
from kan_exp.runs.files import parse_json, write_json
from kan_exp.runs.results import is_complete
from kan_exp.runs.versions import versions

NAME = "status.json"
CLOCK = 60.0  # seconds by which a machine may have set its clock since
State = Literal["running", "done", "failed", "diverged", "interrupted"]
FAILED = ("failed", "diverged")  # states of runs that would end in the same way once more


@dataclass(frozen=True)
class Status:
    """One moment of a run.

    Args:
        state: What has become of it; "running" of a process that is gone means killed.
        reason: Why it failed, in one line.
        overrides: What was asked for, as typed.
        key: A digest of its whole configuration.
        job: Its number in its sweep.
        pid: Of the process that runs it, on `host`.
        host: Name of the machine.
        started: When, in UTC.
        seconds: How long it took, once it is over.
        versions: With what it is made, see `kan_exp.runs.versions`.
        setting: A digest of its configuration without the seed, and without how many are stacked.
    """

    state: State
    reason: str | None
    overrides: Sequence[str]
    key: str
    job: int | None
    pid: int
    host: str
    started: str
    seconds: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    setting: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether its process is, or was, one of this machine."""
        return self.host == socket.gethostname()


def read_status(folder: Path) -> Status | None:
    """The status of the run in a folder; nothing where none can be read.

    A run that was killed once its result was written is done.
    """
    try:
        status = Status(**parse_json((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if status.state == "running" and is_complete(folder) and not is_running(status):
        return replace(status, state="done")
    return status


def is_running(status: Status) -> bool:
    """Whether a run goes on, as far as can be told: not where its process here is gone."""
    if status.state != "running" or not status.is_here:
        return status.state == "running"
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's, and there
        pass
    born = _birth(status.pid)
    return born is None or born <= datetime.fromisoformat(status.started).timestamp() + CLOCK


def _birth(pid: int) -> float | None:
    """When a process began, in seconds since 1970, where /proc tells; its number may be reused.

    Of one that is dead, and that its parent has not yet taken note of, it lies in the future.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state in "ZX":
            return math.inf
        ticks = int(fields[18])
        lines = Path("/proc/stat").read_text().splitlines()
        boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def write_status(folder: Path, status: Status) -> None:
    """Puts a status in the place of the one before.

    Raises:
        OSError: It cannot be written.
    """
    write_json(folder / NAME, asdict(status))


class StatusFile:
    """Keeps `status.json` while a run goes on, as a context manager around it.

    Args:
        folder: Of the run.
        overrides: What was asked for.
        key: A digest of the configuration.
        job: The run's number in its sweep, if it is part of one.
        explain: Says in one line what an exception means to the user.
        setting: A digest of the configuration without the seed.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Sequence[str],
        key: str,
        job: int | None,
        explain: Callable[[BaseException], str],
        setting: str | None = None,
    ) -> None:
        self.folder, self.explain = folder, explain
        self.began = False  # whether a result in the folder is this run's
        now = datetime.now(UTC).isoformat(timespec="seconds")
        host = socket.gethostname()
        self.status = Status(
            "running",
            None,
            list(overrides),
            key,
            job,
            os.getpid(),
            host,
            now,
            None,
            versions(),
            setting,
        )

    def __enter__(self) -> StatusFile:
        self._began = time.perf_counter()
        begin_run()
        write_status(self.folder, self.status)
        return self

    def add_versions(self, versions: Mapping[str, str]) -> None:
        """Adds what is known only once torch has been imported."""
        self.status = replace(self.status, versions={**self.status.versions, **versions})
        write_status(self.folder, self.status)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        state: State = "diverged" if isinstance(error, DivergedError) else "failed"
        reason = None
        if error is None or (self.began and is_complete(self.folder)):
            state = "done"
        elif isinstance(error, (KeyboardInterrupt, SystemExit)):  # the run ends itself by these
            state = "interrupted"
        else:
            reason = self.explain(error)
        seconds = round(time.perf_counter() - self._began, 3)
        status = replace(self.status, state=state, reason=reason, seconds=seconds)
        try:
            write_status(self.folder, status)
        except OSError as failure:  # the result, or the error, counts more
            if state == "done":
                note_once(f"{NAME} could not be written", failure)
