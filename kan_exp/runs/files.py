"""Files that are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from kan_exp.errors import KanExpError
from kan_exp.quoting import expand_home


def check_output(path: Path) -> None:
    """Raises a `KanExpError` if `output=...` names a folder, or a file in one that is not there."""
    if path.is_dir():
        raise KanExpError(f"output: {path} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise KanExpError(f"output: there is no folder {path.parent}: make it first.")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that replaces `path` once it is complete and on the disk.

    Raises:
        OSError: The disk is full, or the folder cannot be written; `path` is unchanged.
    """
    partial = path.with_name(f".{path.name[:50]}.partial")  # names may be as long as any can be
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # the system does not name it if the disk is full
        raise


def content_or_path(path: Any) -> Any:
    """A digest of a file's content, or `path` itself if it is not a regular file."""
    try:
        file = expand_home(path)
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device has no end
            return path
        return _content_digest(str(file), status.st_mtime_ns, status.st_size, status.st_ino)
    except (OSError, TypeError, ValueError):
        return path


@functools.lru_cache(16)
def _content_digest(path: str, *_stamp: int) -> str:
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_text(path: Path, text: str) -> None:
    """Writes a text file, complete or not at all. Raises `OSError` as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))  # bytes of names that are not UTF-8


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes plain containers of finite numbers as JSON, complete or not at all."""
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """Parses JSON; a `ValueError` also if it nests too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nests too deeply") from None
