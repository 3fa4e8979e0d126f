"""The content of a folder before a run, to be restored if the run never began."""

from __future__ import annotations

import contextlib
from pathlib import Path

from kan_exp.runs.status import NAME as STATUS

# Files that Hydra and kan_exp write before a run begins.
FILES = (*(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")), STATUS, "train.log")
OUTPUTS = "outputs"
# Contents of these files, None for those that did not exist, and the folders that existed.
Traces = tuple[dict[str, bytes | None], set[Path]]
_before: dict[Path, Traces] = {}  # by folder


def remember(folder: Path) -> None:
    """Stores what the folder holds, for `restore`."""
    files = {name: _content(folder / name) for name in FILES}
    _before[folder.resolve()] = files, {path for path in _made(folder) if path.is_dir()}


def restore(folder: Path) -> None:
    """Removes what was written since `remember`, and restores what was replaced.

    Nothing else is removed, since hydra.run.dir may name one of the user's own folders. Files that
    cannot be restored, as on a full disk, stay.
    """
    files, folders = _before.pop(folder.resolve(), (dict.fromkeys(FILES), set()))
    with contextlib.suppress(OSError):
        for name, content in files.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            elif content != _content(folder / name):
                (folder / name).write_bytes(content)
    for path in _made(folder):
        if path not in folders:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def _made(folder: Path) -> list[Path]:
    """Folders that a run makes, the innermost first."""
    made = [folder / ".hydra", folder]
    if folder.parent.parent.name == OUTPUTS:
        made += [folder.parent, folder.parent.parent]
    return made


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
