"""Where a run keeps its networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kan_exp.errors import KanExpError
from kan_exp.quoting import expand_home
from kan_exp.runs.folders import CHECKPOINTS, is_run, no_run


def find_checkpoint(folder: str | Path, names: Sequence[str] = CHECKPOINTS) -> Path:
    """Finds the best checkpoint of a run, or the last where none was validated.

    Args:
        folder: `outputs/<date>/<run>`.
        names: Files to look for, in this order.

    Raises:
        KanExpError: The folder, or a checkpoint in it, is missing.
    """
    folder = expand_home(folder)
    if not folder.is_dir() or not is_run(folder):
        raise KanExpError(no_run(folder))
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise KanExpError(
            f"{folder}: no checkpoint found there (looked for {' and '.join(names)}): "
            f"the run ended before its first; name another, or run it again with --from."
        )
    return path
