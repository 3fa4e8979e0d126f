"""Names of run folders; most tabs of TensorBoard show nothing else of a run."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from kan_exp.runs.identity import decides_result

MAX_BYTES = 100  # file systems allow 255
# Windows keeps these for devices, with any suffix.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def folder_name(first: str, overrides: Iterable[str]) -> str:
    """A folder's name: `3` and `layer=mlp`, `seed=0` give `3_layer-mlp_seed-0`.

    `first` makes it unique: a time, or a job's number. Letters of all languages are kept where the
    file system can store them.
    """
    words = [first, *(_plain(text) for text in overrides)]
    try:
        os.fsencode("".join(words))
    except UnicodeEncodeError:  # as in LC_ALL=C without Python's UTF-8 mode
        words = [re.sub(r"-*[^\x00-\x7f]+-*", "-", word).strip("-") for word in words]
    name = "_".join(word for word in words if word)
    name = name.encode()[:MAX_BYTES].decode(errors="ignore").rstrip("-_.") or "run"
    return f"run_{name}" if RESERVED.match(name) else name


def _plain(text: str) -> str:
    """Letters, digits and `_.+-`; other characters become a hyphen."""
    kept = (
        char if char.isalnum() or char in "_.+" or unicodedata.category(char)[0] == "M" else "-"
        for char in unicodedata.normalize("NFC", text)
    )
    return re.sub("-+", "-", "".join(kept)).strip("-")


def run_name(began: str, overrides: Iterable[str]) -> str:
    """The name of a single run's folder: its start and the overrides that affect its result."""
    return folder_name(began, [text for text in overrides if decides_result(text)])
