"""Errors that a user can correct: one line that names the rule, what came, and what to change."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class KanExpError(Exception):
    """An input, a setting or a result that only the user can change; shown as one line."""


class DivergedError(KanExpError):
    """The loss or a validation metric stopped being a finite number."""


def message_of(error: BaseException) -> str:
    """The message of an exception in one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def explained(rule: str) -> Iterator[None]:
    """Raises what a user's own function raises as a `KanExpError`: the rule, and the message."""
    try:
        yield
    except KanExpError:
        raise
    except Exception as error:
        raise KanExpError(f"{rule}: {message_of(error)}") from error


def suggest(word: str, known: Iterable[str]) -> str:
    """Names what `word` may have meant: `" Did you mean 'interpo'?"`, or nothing."""
    meant = closest(word, known)
    return "" if meant is None else f" Did you mean '{meant}'?"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The name that `word` may have meant; None if no name is near.

    It differs in case and signs alone, or is spelled nearly alike.
    """
    names = list(known)
    bare = _letters(word)
    alike = [name for name in names if bare and _letters(name) == bare]
    close = alike or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return close[0] if close else None


def _letters(text: str) -> str:
    """Letters and digits alone, whatever their case."""
    return "".join(filter(str.isalnum, text.casefold()))


def listing(names: Iterable[str], most: int = 12) -> str:
    """Joins names with commas and cuts a long list short."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def check_once(names: Iterable[str], option: str) -> None:
    """Raises a `KanExpError` if an option has a name twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise KanExpError(f"{option} has {name!r} twice: leave one of the two out.")
        seen.add(name)
