"""Text as a value of a table, on the terminal and in CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from kan_exp.runs.printable import printable


def plain(text: str) -> Text:
    """Literal text for the terminal: rich finds no markup in it."""
    return Text(printable(text))


def csv_row(content: Mapping[str, Any]) -> dict[str, Any]:
    """A row in which every text is one line of UTF-8; numbers are unchanged."""
    return {
        printable(name): printable(value) if isinstance(value, str) else value
        for name, value in content.items()
    }
