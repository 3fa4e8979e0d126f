"""Shows runs in TensorBoard: `python -m kan_exp.dashboard [FOLDER] [port=...] [host=...]`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.quoting import expand_home, read_path
from kan_exp.runs import asks_version, version_text
from kan_exp.runs.printable import printable
from kan_exp.terminal import steady_streams, use_utf8_names

HELP = """\
Shows runs in TensorBoard, at an address that is printed; Ctrl-C ends it.

  python -m kan_exp.dashboard [FOLDER] [OPTION=VALUE ...]

FOLDER (or logdir=FOLDER) holds runs at any depth; outputs unless given.

  port   6006, or the next that is free, unless given; 0 for any
  host   localhost unless given, so that nobody else can see it; 0.0.0.0 for everybody
"""
OPTIONS = ("logdir", "port", "host")
FOLDER, HOST = "outputs", "localhost"
MAX_PORT = 65535


def read_arguments(arguments: Sequence[str]) -> tuple[Path, str, int | None]:
    """Folder, host and port."""
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if Path(read_path(argument)).is_dir() or not (equals or argument.startswith("-")):
            name, value = "logdir", argument
        if name not in OPTIONS:
            raise KanExpError(
                f"{name}: there is no such option.{suggest(name, OPTIONS)} "
                f"There are: {listing(OPTIONS)}."
            )
        if name in given:
            raise KanExpError(f"{name} is given twice: {given[name]} and {value}.")
        given[name] = value
    folder = expand_home(read_path(given.get("logdir", FOLDER)))
    if not folder.is_dir():
        missing = "" if "logdir" in given else " yet: train something, or name another"
        raise KanExpError(f"{folder}: there is no such folder{missing}.")
    port = given.get("port")
    if port is not None and not (port.isdecimal() and int(port) <= MAX_PORT):
        raise KanExpError(f"port must be a number from 0 to {MAX_PORT}, got {port!r}.")
    return folder, given.get("host", HOST), None if port is None else int(port)


def main(arguments: Sequence[str]) -> int:
    """Serves until Ctrl-C or kill; gives the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")  # noqa: T201
        return 0
    if asks_version(arguments):
        print(version_text())  # noqa: T201
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        folder, host, port = read_arguments(arguments)
        from kan_exp.board.server import start

        address = start(folder, host, port)
    except KanExpError as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"TensorBoard on {folder}: {address} (Ctrl-C ends it)", flush=True)  # noqa: T201
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    use_utf8_names()
    steady_streams()
    sys.exit(main(sys.argv[1:]))
