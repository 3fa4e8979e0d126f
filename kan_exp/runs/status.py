"""The state of a run: `status.json`, from its start to its end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from kan_exp.errors import DivergedError
from kan_exp.runs.best_effort import begin_run, note_once
from kan_exp.runs.files import parse_json, write_json
from kan_exp.runs.results import is_complete
from kan_exp.runs.versions import versions

NAME = "status.json"
CLOCK = 60.0  # seconds by which a machine may have set its clock since
State = Literal["running", "done", "failed", "diverged", "interrupted"]
FAILED = ("failed", "diverged")  # states of runs that would end in the same way again
KILLED = "its process ended without a word: it was killed, or memory ran out."


@dataclass(frozen=True)
class Status:
    """The content of `status.json`."""

    state: State  # "running" with a process that is gone means killed
    reason: str | None  # why the run failed, in one line
    overrides: Sequence[str]  # what was typed
    key: str  # a digest of the whole configuration
    job: int | None  # the run's number in its sweep
    pid: int  # the process that runs it, on `host`
    host: str  # name of the machine
    started: str  # in UTC, ISO-8601
    seconds: float | None = None  # how long it took, once it has ended
    versions: Mapping[str, str] = field(default_factory=dict)  # see `kan_exp.runs.versions`
    setting: str | None = None  # a digest of the configuration without seed and replicas

    @property
    def is_here(self) -> bool:
        """Whether its process is, or was, one of this machine."""
        return self.host == socket.gethostname()

    @property
    def was_killed(self) -> bool:
        """Whether its process ended without writing a reason."""
        return self.reason == KILLED


def read_status(folder: Path) -> Status | None:
    """The status of the run in a folder; None if there is none that can be read.

    A run that was killed after its result was written is done.
    """
    try:
        status = Status(**parse_json((folder / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    if status.state == "running" and is_complete(folder) and not is_running(status):
        return replace(status, state="done")
    return status


def is_running(status: Status) -> bool:
    """Whether a run has not ended; of another machine, whether its status says so."""
    if status.state != "running" or not status.is_here:
        return status.state == "running"
    import psutil  # here, since most commands need no more than the names above

    try:
        process = psutil.Process(status.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # The number of a process is used again after its end.
        latest = datetime.fromisoformat(status.started).timestamp() + CLOCK
        return process.create_time() <= latest
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True


def write_status(folder: Path, status: Status) -> None:
    """Replaces `status.json`."""
    write_json(folder / NAME, asdict(status))


def close_status(folder: Path, *, killed: bool = True) -> None:
    """Marks a run that says "running", and whose process is gone, as killed or interrupted."""
    status = read_status(folder)
    if status is not None and status.state == "running":
        state: State = "failed" if killed else "interrupted"
        write_status(folder, replace(status, state=state, reason=KILLED if killed else None))


class StatusFile:
    """Keeps `status.json` up to date, as a context manager around a run.

    `explain` describes an exception in one line; for the other arguments see `Status`.
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
        self.status = Status(
            state="running",
            reason=None,
            overrides=list(overrides),
            key=key,
            job=job,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            setting=setting,
        )

    def __enter__(self) -> StatusFile:
        self._start = time.perf_counter()
        begin_run()
        write_status(self.folder, self.status)
        return self

    def add_versions(self, versions: Mapping[str, str]) -> None:
        """Adds versions that are known only once torch has been imported."""
        self.status = replace(self.status, versions={**self.status.versions, **versions})
        write_status(self.folder, self.status)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        state: State = "diverged" if isinstance(error, DivergedError) else "failed"
        reason = None
        if error is None or (self.began and is_complete(self.folder)):
            state = "done"
        elif isinstance(error, (KeyboardInterrupt, SystemExit)):  # the run ends itself by these
            state = "interrupted"
        else:
            reason = self.explain(error)
        seconds = round(time.perf_counter() - self._start, 3)
        status = replace(self.status, state=state, reason=reason, seconds=seconds)
        try:
            write_status(self.folder, status)
        except OSError as failure:  # the result, or the error, counts more
            if state == "done":
                note_once(f"{NAME} could not be written", failure)
