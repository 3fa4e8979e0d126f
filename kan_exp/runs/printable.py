"""Escapes control characters in text from users and files."""

from __future__ import annotations

import re

# Control characters, line and paragraph separators, overrides of the writing direction, and lone
# surrogates, which stand for bytes that were not UTF-8 and cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(character: str) -> str:
    r"""The code of a character as Python writes it, such as `\n`, `\x1b` or `\u6e29`."""
    return character.encode("unicode_escape").decode()


def printable(text: str) -> str:
    """Replaces unprintable characters by their codes; the result is one line of valid UTF-8."""
    return _UNPRINTABLE.sub(lambda match: escaped(match[0]), text)
