"""With what a run was made: versions and commits, told without importing anything heavy."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kan_exp import __version__

PACKAGES = ("torch", "lightning", "hydra-core", "numpy")
PATIENCE = 2.0  # seconds that git may take, on a slow disk or a huge repository


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides a result, and commits of the code that is under git.

    `commit` is that of kan_exp's own checkout, `folder_commit` that of another repository in which
    the command was given; "-dirty" is added where files differ from it. Neither is there without
    git. Looked up once per process.
    """
    found = {"python": platform.python_version(), "kan_exp": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # imported from a plain folder
            continue
    own = Path(__file__).resolve().parents[2]
    here = _repository(Path.cwd())
    # Inside site-packages, a folder above may be under git that has nothing to do with kan_exp.
    repositories = {"commit": own if (own / ".git").exists() else None}
    repositories["folder_commit"] = here if here != own else None
    for name, folder in repositories.items():
        commit = None if folder is None else _commit(folder)
        if commit is not None:
            found[name] = commit
    return found


def version_text() -> str:
    """What `--version` prints: kan_exp first, a line for each package."""
    found = {name: text for name, text in versions().items() if name != "folder_commit"}
    return "\n".join(f"{name} {found[name]}" for name in dict.fromkeys(["kan_exp", *found]))


def asks_version(arguments: Sequence[str]) -> bool:
    """Whether `--version` is on a command line, perhaps cut short as argparse lets it."""
    return any(word.startswith("--v") and "--version".startswith(word) for word in arguments)


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two `versions`, a line each: "torch 2.13.0 now, 2.12.1 then".

    The `kernel` is compared where both have one: it is not known before torch is imported.
    """
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if not (then.get("kernel") and now.get("kernel")):
        names = [name for name in names if name != "kernel"]
    return [
        f"{name.replace('_', ' ') if 'commit' in name else name} "
        f"{_short(now.get(name, 'none'))} now, {_short(then.get(name, 'none'))} then"
        for name in names
    ]


def _short(version: str) -> str:
    """A version as one reads it: of a commit, the digits that git shows."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", version)


def _repository(folder: Path) -> Path | None:
    """The folder under git that holds this one."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)


def _commit(repository: Path) -> str | None:
    """The commit that is checked out; nothing where git is missing, slow or refuses."""
    command = ["git", "-C", str(repository), "status", "--porcelain=v2", "--branch"]
    try:
        answer = subprocess.run(
            [*command, "--untracked-files=no"],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    oid, dirty = None, False
    for line in answer.stdout.splitlines():
        if line.startswith("# branch.oid "):
            oid = line.rpartition(" ")[2]
        dirty = dirty or not line.startswith("#")
    return f"{oid}-dirty" if oid and dirty else oid
