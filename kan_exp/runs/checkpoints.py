"""Where a run keeps its networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kan_exp.errors import KanExpError

CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")


def find_checkpoint(folder: str | Path, names: Sequence[str] = CHECKPOINTS) -> Path:
    """Finds the best checkpoint of a run, or the last where none was validated.

    Args:
        folder: `outputs/<date>/<run>`.
        names: Files to look for, in this order.

    Raises:
        KanExpError: The folder, or a checkpoint in it, is missing.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise KanExpError(f"{folder}: there is no such folder of a run.")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise KanExpError(
            f"{folder}: no checkpoint found there (looked for {' and '.join(names)}): "
            f"name the folder of one run, such as outputs/<date>/<run>."
        )
    return path
