"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name and gives it its own once it is complete.

    Raises:
        OSError: The disk is full, or the folder cannot be written; the file is as it was before.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes plain containers as JSON, whole or not at all.

    Raises:
        ValueError: A number is not finite, which JSON has no word for.
        OSError: As for `write_text`.
    """
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")
