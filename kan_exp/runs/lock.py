"""A lock on a folder, held by the process that writes there until it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kan_exp.errors import KanExpError
from kan_exp.runs.files import parse_json

if TYPE_CHECKING:
    from filelock import FileLock

NAME = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
# By process, since a fork inherits this table and not the locks.
_held: dict[tuple[int, Path], FileLock] = {}


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
    """Holds a folder, which is made if needed, until `release` or the end of this process.

    Does nothing if this process holds it already. A file system without locks gets a note.
    `patience` are seconds to wait for another process that is about to end.

    Raises:
        LockedError: Another process holds it.
        OSError: The folder cannot be written.
    """
    from filelock import FileLock, Timeout

    key, path = _key(folder), folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    if key in _held:
        return
    lock = FileLock(path, timeout=patience, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
        # The system, which releases the lock, does not know who holds it.
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    except Timeout:
        raise LockedError(f"{folder}: {_holder(path)}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            if lock.is_locked:  # but the disk is full
                _remove(lock, path)
            raise
        print(  # noqa: T201
            f"Note: {folder}: its file system has no locks, so that two processes could write "
            f"there at the same time.",
            file=sys.stderr,
        )
    _held[key] = lock


def release(folder: Path) -> None:
    """Releases a folder; does nothing if this process does not hold it."""
    lock = _held.pop(_key(folder), None)
    if lock is not None:
        _remove(lock, folder / NAME)


def _remove(lock: FileLock, path: Path) -> None:
    """Removes the file while it is locked: processes that wait for it make a new one."""
    with contextlib.suppress(OSError):
        path.unlink()
    lock.release()


def _key(folder: Path) -> tuple[int, Path]:
    return os.getpid(), folder.resolve()


def _holder(path: Path) -> str:
    """Which process holds a lock and what to do, as far as is known."""
    try:
        content = parse_json(path.read_bytes())
        pid, host = int(content["pid"]), str(content["host"])
    except (OSError, ValueError, TypeError, KeyError):
        return "another process is still running: wait, or stop it first."
    if host == socket.gethostname():
        return f"process {pid} is still running: stop it first (kill {pid})."
    return f"process {pid} on {host} is still running: stop it there first."
