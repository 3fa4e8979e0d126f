"""How the folders of runs are called, which is all that most of TensorBoard shows of a run."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from kan_exp.runs.identity import decides_result

LONGEST = 100  # bytes; file systems allow 255
# Windows keeps these for devices, with any suffix.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def folder_name(first: str, overrides: Iterable[str]) -> str:
    """What a folder is called by: `3` and `layer=mlp`, `seed=0` give `3_layer-mlp_seed-0`.

    Letters of all languages are kept where the file system can store them.

    Args:
        first: What makes it unique: a time, or a job's number.
        overrides: What it was run with.
    """
    words = [first, *(_plain(text) for text in overrides)]
    try:
        os.fsencode("".join(words))
    except UnicodeEncodeError:  # as in LC_ALL=C without Python's UTF-8 mode
        words = [re.sub(r"-*[^\x00-\x7f]+-*", "-", word).strip("-") for word in words]
    name = "_".join(word for word in words if word)
    name = name.encode()[:LONGEST].decode(errors="ignore").rstrip("-_.") or "run"
    return f"run_{name}" if RESERVED.match(name) else name


def _plain(text: str) -> str:
    """Letters, digits and `_.+-`; whatever else stands between them becomes a hyphen."""
    kept = (
        one if one.isalnum() or one in "_.+" or unicodedata.category(one)[0] == "M" else "-"
        for one in unicodedata.normalize("NFC", text)
    )
    return re.sub("-+", "-", "".join(kept)).strip("-")


def run_name(began: str, overrides: Iterable[str]) -> str:
    """What the folder of a run by itself is called, without what decides only how it is shown.

    Args:
        began: When it began.
        overrides: What it was run with.
    """
    return folder_name(began, [text for text in overrides if decides_result(text)])
