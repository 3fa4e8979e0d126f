"""Makes paths in a configuration independent of the current folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kan_exp.commandline.spelling import SINGLE_PATHS, is_path, split
from kan_exp.quoting import expand_home, literal, quoted, read_path, unquoted, word
from kan_exp.runs import option_name

FOLDER_FLAGS = ("--config-dir", "-cd", "--from")
SKIPPED = ("sweep", "logger", "callbacks")  # output paths are derived from the run's folder


def absolute(path: str | Path, here: str | Path) -> Path:
    """An absolute path to the same file: links of its folder are resolved, its own is not.

    Args:
        path: From the user; `~` is home.
        here: The folder in which the command was given.
    """
    whole = Path(here) / expand_home(path)
    return whole.resolve() if whole.name in ("", "..") else whole.parent.resolve() / whole.name


def use_absolute_paths(cfg: DictConfig, here: str | Path) -> bool:
    """Makes every path to an existing file absolute, in place, and says whether any was not.

    Args:
        cfg: A composed configuration without Hydra's part.
        here: The folder in which the command was given.
    """
    changed = False
    for node, key, full in list(_leaves(cfg)):
        if not is_path(full):
            continue
        try:
            value = node[key]
        except OmegaConfBaseException:  # an unresolvable reference is reported elsewhere
            continue
        if isinstance(value, str) and (found := _there(value, here)) is not None:
            node[key] = literal(str(found))
            changed = True
    return changed


def _there(value: str, here: str | Path) -> Path | None:
    """The absolute form of a path, if it is not absolute yet and there is such a file."""
    try:
        found = absolute(value, here)
        return found if value and value != str(found) and found.exists() else None
    except (OSError, ValueError, RuntimeError):  # no path at all, no such home
        return None


def _leaves(cfg: DictConfig) -> Iterator[tuple[DictConfig, str, str]]:
    """Every option that has a value of its own: its group, its key and its full name."""

    def walk(node: Any, before: str) -> Iterator[tuple[DictConfig, str, str]]:
        for key in node:
            full = f"{before}{key}"
            if full in SKIPPED or OmegaConf.is_missing(node, key):
                continue
            if OmegaConf.is_interpolation(node, key):
                inner: Any = None
            else:
                inner = node[key]
            if isinstance(inner, DictConfig):
                yield from walk(inner, f"{full}.")
            elif not isinstance(inner, ListConfig):
                yield node, key, full

    return walk(cfg, "")


def absolute_arguments(arguments: Sequence[str], here: str | Path) -> list[str]:
    """A command line that means the same in another folder.

    Args:
        arguments: As Hydra reads them.
        here: The folder in which they were given.
    """
    out: list[str] = []
    for text in arguments:
        flag = out[-1] if out else ""
        name, equals, value = text.partition("=")
        if flag in FOLDER_FLAGS:
            out.append(word(absolute(read_path(text), here)))
        elif equals and name in FOLDER_FLAGS:
            out.append(f"{name}={word(absolute(read_path(value), here))}")
        else:
            out.append(_absolute_override(text, here))
    return out


def _absolute_override(text: str, here: str | Path) -> str:
    """The override of a path made absolute; where it may be no path, only if there is such a file.

    Several values may be separated by commas.
    """
    key, equals, value = text.partition("=")
    name = option_name(text)
    if not equals or not is_path(name) or value == "null":
        return text
    parts = []
    for part in split(value):
        inner = unquoted(part)
        path = part if inner is None else inner
        found = absolute(path, here) if name in SINGLE_PATHS else _there(path, here)
        parts.append(part if found is None else quoted(str(found)))
    return f"{key}={','.join(parts)}"
