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


def _absolute(path: str | Path, here: str | Path) -> Path:
    """An absolute path to the same file: links of its folder are resolved, its own is not."""
    whole = Path(here) / expand_home(path)
    return whole.resolve() if whole.name in ("", "..") else whole.parent.resolve() / whole.name


def _existing(path: str, here: str | Path) -> Path | None:
    """The absolute form of a path, if it is not absolute yet and there is such a file."""
    try:
        absolute = _absolute(path, here)
        return absolute if path and path != str(absolute) and absolute.exists() else None
    except (OSError, ValueError, RuntimeError):  # no path at all, no such home
        return None


def use_absolute_paths(cfg: DictConfig, here: str | Path) -> bool:
    """Makes every path to an existing file absolute, in place, and says whether any was not.

    Relative ones are taken from `here`, the folder in which the command was given.
    """
    changed = False
    for node, key in [(node, key) for node, key, name in _leaves(cfg) if is_path(name)]:
        try:
            value = node[key]
        except OmegaConfBaseException:  # an unresolvable reference is reported elsewhere
            continue
        absolute = _existing(value, here) if isinstance(value, str) else None
        if absolute is not None:
            node[key] = literal(str(absolute))
            changed = True
    return changed


def _leaves(node: DictConfig, before: str = "") -> Iterator[tuple[DictConfig, Any, str]]:
    """Every option that has a value of its own: its group, its key and its full name."""
    key: Any  # a text, or what YAML makes of numbers and of `on`
    for key in node:
        name = f"{before}{key}"
        if name in SKIPPED or OmegaConf.is_missing(node, key):
            continue
        value = None if OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(value, DictConfig):
            yield from _leaves(value, f"{name}.")
        elif not isinstance(value, ListConfig):
            yield node, key, name


def found_from(here: str | Path, overrides: Sequence[str], cfg: DictConfig) -> list[str]:
    """Overrides with the paths of the configuration where their own name other files from `here`.

    Those of a run that is repeated were given in the folder where it was made.
    """
    return [_found_from(here, text, cfg) for text in overrides]


def _found_from(here: str | Path, text: str, cfg: DictConfig) -> str:
    key, equals, value = text.partition("=")
    name = option_name(text)
    if not equals or not is_path(name) or "${" in value:
        return text
    path, taken = unquoted(value), OmegaConf.select(cfg, name)
    if not isinstance(taken, str) or str(_absolute(value if path is None else path, here)) == taken:
        return text
    return f"{key}={quoted(taken)}" if Path(taken).is_absolute() else text


def absolute_arguments(arguments: Sequence[str], here: str | Path) -> list[str]:
    """A command line, given in the folder `here`, that means the same in another folder."""
    words: list[str] = []
    for text in arguments:
        name, equals, value = text.partition("=")
        if words and words[-1] in FOLDER_FLAGS:
            words.append(word(_absolute(read_path(text), here)))
        elif equals and name in FOLDER_FLAGS:
            words.append(f"{name}={word(_absolute(read_path(value), here))}")
        else:
            words.append(_absolute_override(text, here))
    return words


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
        absolute = _absolute(path, here) if name in SINGLE_PATHS else _existing(path, here)
        parts.append(part if absolute is None else quoted(str(absolute)))
    return f"{key}={','.join(parts)}"
