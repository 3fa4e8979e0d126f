"""Text as a cell of a table: on the terminal and in CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from kan_exp.runs.printable import printable


def plain(text: str) -> Text:
    """Literal text for the terminal: rich takes no markup from it."""
    return Text(printable(text))


def csv_row(content: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts are one line of UTF-8 each; numbers are left as they are."""
    return {
        printable(name): printable(value) if isinstance(value, str) else value
        for name, value in content.items()
    }
