"""Optional work, such as pictures: a failure becomes a note and does not cost the result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kan_exp.errors import message_of

log = logging.getLogger(__name__)

MAX_REASON = 200  # characters


def _info(note: str) -> None:
    log.info("%s", note)


@contextmanager
def best_effort(failure: str, tell: Callable[[str], None] = _info) -> Iterator[None]:
    """Turns an exception into a note; `KeyboardInterrupt` and `SystemExit` are raised.

    Args:
        failure: What the note says, such as "figures/loss.png could not be drawn".
        tell: Takes the note; logs it if not given.
    """
    try:
        yield
    except Exception as error:  # whatever a library raises, the result is kept
        tell(f"Note: {failure}: {_reason(error)}")
        log.debug("%s", failure, exc_info=True)


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
