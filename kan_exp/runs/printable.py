"""Makes text from users and files safe for the terminal, tables and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

# Control characters, line and paragraph separators, overrides of the writing direction, and lone
# surrogates, which stand for bytes that were not UTF-8 and cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

MAX_LENGTH = 40  # of names in tables on the terminal


def escaped(character: str) -> str:
    r"""The code of a character as Python writes it, such as `\n`, `\x1b` or `\u6e29`."""
    return character.encode("unicode_escape").decode()


def printable(text: str) -> str:
    """Replaces unprintable characters by their codes; the result is one line of valid UTF-8."""
    return _UNPRINTABLE.sub(lambda match: escaped(match[0]), text)


def shortened(text: str, most: int = MAX_LENGTH) -> str:
    """A printable text of at most so many characters, cut in its middle."""
    text = printable(text)
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[len(text) - (most - 1 - half) :]}"


def aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of names and values, the values one below the other."""
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {value}" for name, value in rows]


def counted(count: int, noun: str) -> str:
    """A number of things: "1 run", "1,000 runs"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def plain(text: str) -> Text:
    """Literal text for a table on the terminal: rich finds no markup in it."""
    from rich.text import Text  # which takes long to import

    return Text(printable(text))


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same columns as CSV: numbers in full, None empty, texts of one line each."""
    lines = [
        {printable(n): printable(v) if isinstance(v, str) else v for n, v in row.items()}
        for row in rows
    ]
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()
