"""A lock on a folder, held by the process that writes there until it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kan_exp.errors import KanExpError
from kan_exp.runs.files import parse_json

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has none
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
LOOK_EVERY = 0.1  # seconds
# By process, since a fork inherits this table: a process may take a lock twice, a fork may not.
_held: dict[tuple[int, Path], int] = {}


class LockedError(KanExpError):
    """Another process holds the folder."""


@contextmanager
def holding(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Holds a folder until the end of a block, or longer if it was held before. See `hold`."""
    held = _key(folder) in _held
    hold(folder, patience)
    try:
        yield
    finally:
        if not held:
            release(folder)


def hold(folder: Path, patience: float = 0.0) -> None:
    """Holds a folder until `release`, or until this process and its forks have ended.

    The system releases the lock however a process ends. A file system without locks gets a note.

    Args:
        folder: Made if it is not there.
        patience: Seconds to wait for a process that is about to end.

    Raises:
        LockedError: Another process holds it; the message names that.
        OSError: The folder cannot be written.
    """
    key = _key(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if key in _held or fcntl is None:
        return
    end = time.monotonic() + patience
    while (file := _try(folder)) is None:
        if time.monotonic() >= end:
            raise LockedError(f"{folder}: {_holder(folder)}")
        time.sleep(LOOK_EVERY)
    _held[key] = file


def release(folder: Path) -> None:
    """Releases a folder; does nothing if this process does not hold it."""
    file = _held.pop(_key(folder), None)
    if file is None:
        return
    if _is_at(file, folder / NAME):
        # While it is locked: whoever opens this name from now on creates a new file.
        (folder / NAME).unlink(missing_ok=True)
    os.close(file)


def _key(folder: Path) -> tuple[int, Path]:
    return os.getpid(), folder.resolve()


def _try(folder: Path) -> int | None:
    """Locks the folder's file and returns its descriptor, or None if another process has it."""
    path = folder / NAME
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited by other programs
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                print(  # noqa: T201
                    f"Note: {folder}: its file system has no locks, so that two processes could "
                    f"write there at the same time.",
                    file=sys.stderr,
                )
                return file
            os.close(file)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        if _is_at(file, path):
            break
        os.close(file)  # its last holder has removed it in the meantime
    try:
        os.ftruncate(file, 0)
        os.write(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
    except OSError:  # the disk is full
        path.unlink(missing_ok=True)
        os.close(file)
        raise
    return file


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(folder: Path) -> str:
    """Which process holds the folder and what to do, as far as is known."""
    pid = host = None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        content = parse_json((folder / NAME).read_text(encoding="utf-8"))
        pid, host = int(content["pid"]), str(content["host"])
    if pid is None:
        return "another process is still running: wait, or stop it first."
    if host == socket.gethostname():
        return f"process {pid} is still running: stop it first (kill {pid})."
    return f"process {pid} on {host} is still running: stop it there first."
