"""Versions and commits that a run was made with, found without importing anything heavy."""

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
PATIENCE = 2.0  # seconds that git may take, on a slow disk or in a huge repository


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what affects a result, and commits of code under git.

    `commit` is that of kan_exp's own checkout, `folder_commit` that of another repository in which
    the command was given; "-dirty" is added if files differ from it. Both need git.
    """
    known = {"python": platform.python_version(), "kan_exp": __version__}
    for name in PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:  # imported from a plain folder
            continue
    # A package inside site-packages may lie below a repository that has nothing to do with it.
    own, here = Path(__file__).resolve().parents[2], Path.cwd()
    found = (path for path in (here, *here.parents) if (path / ".git").exists())
    repositories = {"commit": own, "folder_commit": next(found, own)}
    if repositories["folder_commit"] == own:
        del repositories["folder_commit"]
    for name, folder in repositories.items():
        if (folder / ".git").exists() and (commit := _commit(folder)) is not None:
            known[name] = commit
    return known


def version_text() -> str:
    """The output of `--version`: kan_exp first, a line for each package."""
    known = {name: text for name, text in versions().items() if name != "folder_commit"}
    return "\n".join(f"{name} {known[name]}" for name in dict.fromkeys(["kan_exp", *known]))


def asks_version(arguments: Sequence[str]) -> bool:
    """Whether a command line has `--version`, or a beginning of it, as argparse allows."""
    return any(word.startswith("--v") and "--version".startswith(word) for word in arguments)


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Differences between two `versions`, a line each: "torch 2.13.0 now, 2.12.1 then".

    The `kernel` is compared if both have one: it is not known before torch is imported.
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
    """Shortens a commit to ten digits."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", version)


def _commit(repository: Path) -> str | None:
    """The commit that is checked out; None if git is missing, slow or refuses."""
    command = ["git", "-C", str(repository), "status", "--porcelain=v2", "--branch"]
    try:
        output = subprocess.run(
            [*command, "--untracked-files=no"],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    oid = re.search(r"^# branch\.oid (.+)$", output, re.MULTILINE)
    dirty = re.search(r"^[^#]", output, re.MULTILINE)
    return f"{oid[1]}-dirty" if oid and dirty else oid and oid[1]
