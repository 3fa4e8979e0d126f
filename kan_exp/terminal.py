"""Standard streams that accept any text, and whose loss does not end a command."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import TextIO

STAND_INS = "kan_exp.stand_ins"  # an error handler of `codecs`
ASCII = {"\u2192": "->", "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "x", "\u00b7": "*"}
GONE = {errno.EPIPE, errno.EIO, errno.EBADF}  # nobody reads what is written
UTF8 = "PYTHONUTF8"


def stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replaces what a terminal cannot show: `R²` by `R2`, others by their number.

    Bytes of file names that are not UTF-8 stay as they are.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    plain = ASCII.get(character) or unicodedata.normalize("NFKD", character)
    if not plain.isascii():
        plain = character.encode("ascii", "backslashreplace").decode()
    return plain, error.start + 1


class Outlet(io.FileIO):
    """A file descriptor that records failures of writing instead of raising them.

    A closed terminal or a pipe without a reader must not cost a result.
    """

    fault: OSError | None = None

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if self.fault is None and error.errno not in GONE:
                self.fault = error
            return len(memoryview(data))  # type: ignore[arg-type]


def use_utf8_names() -> None:
    """Restarts the program in UTF-8 mode if file names would be ASCII.

    In the C locale without Python's UTF-8 mode and locale coercion, a name such as `données` could
    neither be read from a configuration nor be written. The terminal keeps its encoding.
    """
    if sys.getfilesystemencoding().lower() not in ("ascii", "us-ascii", "646") or not sys.orig_argv:
        return
    if os.environ.get(UTF8) == "1":  # it would not help
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ[UTF8] = "1"
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def steady_streams() -> None:
    """Makes `sys.stdout` and `sys.stderr` take any text, also where they are closed."""
    codecs.register_error(STAND_INS, stand_in)
    if sys.stdin is None:
        _reserve(0)
    sys.stdout = _steady(sys.stdout, 1)
    sys.stderr = _steady(sys.stderr, 2)


def _steady(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:  # closed; the next opened file would get its number
        number = _reserve(number)
    try:
        if stream is not None:
            stream.flush()
            number = stream.fileno()
    except (OSError, ValueError):  # not a file, as in a notebook
        return stream  # type: ignore[return-value]
    raw = Outlet(number, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=STAND_INS,
        # With `python -u` as well: its streams write through.
        line_buffering=number == 2 or raw.isatty() or getattr(stream, "write_through", False),
    )


def _reserve(number: int) -> int:
    """A descriptor of the null device: `number` itself if it is free."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(null, number)
        os.close(null)
        return number
    return null


def fault_of_stdout() -> OSError | None:
    """The error that left standard output incomplete, unless its reader has gone."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.fault if isinstance(raw, Outlet) else None
