"""What a folder held before a run was begun in it, to be restored if the run never began."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from kan_exp.runs.status import NAME as STATUS

FILES = (*(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")), STATUS)
LOG = "train.log"
OUTPUTS = "outputs"
# By folder; a process begins one run, or the tests many.
_before: dict[Path, Traces] = {}


@dataclass(frozen=True)
class Traces:
    """Files that Hydra and kan_exp write before a run begins.

    Args:
        files: Their content, None where there was no such file.
        log_size: Bytes of the log, None where there was none.
        folders: Folders that were there.
    """

    files: dict[str, bytes | None]
    log_size: int | None
    folders: frozenset[Path]


def remember(folder: Path) -> None:
    """Keeps what the folder holds, for `restore`."""
    log = folder / LOG
    _before[folder.resolve()] = Traces(
        {name: _content(folder / name) for name in FILES},
        log.stat().st_size if log.is_file() else None,
        frozenset(one for one in _made(folder) if one.is_dir()),
    )


def restore(folder: Path) -> None:
    """Removes what was written since `remember`, and puts back what was replaced.

    Nothing else: the folder may be one of the user's own, named by hydra.run.dir. Files that cannot
    be restored, as on a full disk, are left.
    """
    none = Traces(dict.fromkeys(FILES), None, frozenset())
    before = _before.pop(folder.resolve(), none)
    with contextlib.suppress(OSError):
        for name, content in before.files.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            elif content != _content(folder / name):
                (folder / name).write_bytes(content)
        if before.log_size is None:
            (folder / LOG).unlink(missing_ok=True)
        elif (folder / LOG).is_file():
            with (folder / LOG).open("r+b") as log:
                log.truncate(before.log_size)
    for path in _made(folder):
        if path not in before.folders:
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
