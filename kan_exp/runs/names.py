"""How the folders of runs are called, which is all that most of TensorBoard shows of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kan_exp.runs.identity import decides_result

LONGEST = 100  # bytes; file systems allow 255


def folder_name(first: str, overrides: Iterable[str]) -> str:
    """What a folder is called by: `3` and `layer=mlp`, `seed=0` give `3_layer-mlp_seed-0`.

    Args:
        first: What makes it unique: a time, or a job's number.
        overrides: What it was run with.
    """
    words = [re.sub(r"[^\w.+-]+", "-", text).strip("-") for text in overrides]
    name = "_".join([first, *words]).encode()[:LONGEST]
    return name.decode(errors="ignore").rstrip("-_.")


def run_name(began: str, overrides: Iterable[str]) -> str:
    """What the folder of a run by itself is called, without what decides only how it is shown.

    Args:
        began: When it began.
        overrides: What it was run with.
    """
    return folder_name(began, [text for text in overrides if decides_result(text)])
