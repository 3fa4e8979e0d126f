"""Calls a function in a fork of this process."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from kan_exp.errors import KanExpError

Found = TypeVar("Found")


def call_in_fork(function: Callable[[], Found]) -> Found:
    """Calls a function in a fork of this process, so that this one can be forked again.

    Polars starts threads, which a later fork of this process would lack and wait for forever.

    Raises:
        KanExpError: The function has raised it, or the fork was killed.
        RuntimeError: The function has raised another exception, whose traceback this has.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        try:
            sender.send((function(), None))
        except KanExpError as error:
            sender.send((None, KanExpError(str(error))))
        except Exception:  # noqa: BLE001 - it would be printed here, and lost
            sender.send((None, RuntimeError(traceback.format_exc())))

    process = context.Process(target=work)
    process.start()
    sender.close()
    found: Any = None
    error: Exception | None = None
    try:
        found, error = receiver.recv()
    except EOFError:
        process.join()
        error = KanExpError(f"The process that read the data {_end(process.exitcode)}")
    process.join()
    if error is not None:
        raise error
    result: Found = found
    return result


def _end(code: int | None) -> str:
    """Describes the end of a process that sent no answer."""
    if code is None or code >= 0:
        return f"ended with exit code {code}."
    if code == -signal.SIGKILL:
        return "was killed, as the system does if memory is short: start again with more of it."
    return f"was ended by {signal.Signals(-code).name}."
