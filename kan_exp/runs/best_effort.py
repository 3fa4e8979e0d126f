"""Optional work, such as figures: a failure becomes a note and does not cost the result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kan_exp.errors import message_of

log = logging.getLogger(__name__)

MAX_REASON = 200  # characters
_noted: set[str] = set()  # reasons of notes about a run


@contextmanager
def best_effort(failure: str, report: Callable[[str], None] = log.info) -> Iterator[None]:
    """Turns an exception into a note; `KeyboardInterrupt` and `SystemExit` are raised.

    `failure` is how the note begins, such as "figures/loss.png could not be drawn".
    """
    try:
        yield
    except Exception as error:  # whatever a library raises, the result is kept
        report(f"Note: {failure}: {_reason(error)}")
        log.debug("%s", failure, exc_info=True)


class Failures:
    """Collects failures of several pieces of work and logs one note per reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Stores an exception under a name."""
        try:
            yield
        except Exception as error:  # as in `best_effort`
            self._names.setdefault(_reason(error), []).append(name)
            log.debug("%s", name, exc_info=True)

    def log(self, failure: str) -> None:
        """Logs the notes; `failure` follows the names, such as "could not be drawn"."""
        for reason, names in self._names.items():
            _noted.add(reason)
            log.info("Note: %s %s: %s", ", ".join(names), failure, reason)


def begin_run() -> None:
    """Forgets the notes of an earlier run of this process."""
    _noted.clear()


def note_once(failure: str, error: Exception) -> None:
    """Logs a note, unless there was one with the same reason, such as a full disk."""
    reason = _reason(error)
    if reason not in _noted:
        _noted.add(reason)
        log.info("Note: %s: %s", failure, reason)


def _reason(error: Exception) -> str:
    """An exception's message as one sentence."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    text = message_of(error)
    if isinstance(error, LookupError):  # a missing key alone says little
        text = f"{type(error).__name__} {error}".strip()
    if len(text) > MAX_REASON:
        text = f"{text[:MAX_REASON]}..."
    return text if text.endswith(".") else f"{text}."
