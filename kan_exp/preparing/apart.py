"""Calls that leave no trace in this process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any, TypeVar

from kan_exp.errors import KanExpError

Found = TypeVar("Found")


def apart(function: Callable[[], Found]) -> Found:
    """Calls a function in a fork of this process, which can then be forked again.

    Polars starts threads that a later fork lacks, and waits for them there forever.

    Raises:
        KanExpError: The function has raised it, or the fork was killed.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        try:
            sender.send((function(), None))
        except KanExpError as error:
            sender.send((None, str(error)))

    process = context.Process(target=work)
    process.start()
    sender.close()
    found: Any = None
    try:
        found, message = receiver.recv()
    except EOFError:
        message = "The process that read the data was killed: start again with more memory."
    process.join()
    if message is not None:
        raise KanExpError(message)
    result: Found = found
    return result
