"""Reads command lines: which words are flags, and how values are spelled for Hydra.

Hydra has a grammar for values in which brackets, commas and parentheses mean something. A shell
hands over what the user typed without the quotes that Hydra would need, so that formulas, paths and
names of columns get them here.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from kan_exp.errors import KanExpError, suggest
from kan_exp.own_configs import Asked
from kan_exp.quoting import in_quotes, quoted, shell, unquoted
from kan_exp.runs import option_name

MULTIRUN = ("-m", "--multirun")
# Flags whose value follows as a word of its own.
WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp"),
    *("--config-name", "-cn", "--config-dir", "-cd", "--info", "-i", "--from"),
    "--experimental-rerun",
)
FLAGS = (
    *(*WITH_VALUE, *MULTIRUN, "--help", "-h", "--hydra-help", "--version", "--resolve"),
    *("--run", "-r", "--shell-completion", "-sc"),
)
SHOWN = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
CHOICES = {"--cfg": SHOWN, "-c": SHOWN, "--info": INFO, "-i": INFO}
PATHS = re.compile(r"(\w+_)?(path|file|filename|dir|folder|root)")
PATH_OPTIONS = ("resume", "sweep.resume", "run", "input", "output", "logdir")
SWEPT_PATHS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    *PATH_OPTIONS,
)  # of these, one holds for all jobs
COLUMNS = ("data.target", "data.features", "group_by")
LISTS = COLUMNS[1:]
SPECIAL = set("[](){}'\"\\")  # by which Hydra's values are built
WHOLE_REFERENCE = re.compile(r"\$\{[^{}]+\}")


def is_path(name: str) -> bool:
    """Whether an option, by its full name, takes a path."""
    return name in PATH_OPTIONS or PATHS.fullmatch(name.rpartition(".")[2]) is not None


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts a command line into flags, with their values, and all other words.

    Raises:
        KanExpError: There is no such flag, or the value of one is missing.
    """
    flags: list[str] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.partition("=")
        full = [
            flag for flag in FLAGS if flag == name or (name[:2] == "--" and flag.startswith(name))
        ]
        if not full:
            meant = word.lstrip("-")
            write = f" Options have no dashes: write {shell(meant)}." if equals else ""
            raise KanExpError(f"{name}: there is no such flag.{suggest(name, FLAGS)}{write}")
        flags.append(word)
        choices = CHOICES.get(full[0])
        if full[0] not in WITH_VALUE:
            continue
        if not equals:
            if full[0] in ("--info", "-i") and (not words or "=" in words[0]):
                continue  # all of it
            if not words:
                raise KanExpError(f"{name} needs a value, such as {name} {_example(full[0])}.")
            value = words.pop(0)
            flags.append(value)
        if choices and value not in choices:
            raise KanExpError(f"{name} takes one of {', '.join(choices)}, got {value!r}.")
    return flags, rest


def _example(flag: str) -> str:
    examples = {"--from": "outputs/<date>/<run>", "--cfg": "job", "-c": "job"}
    return examples.get(flag, "my_conf" if flag in ("--config-dir", "-cd") else "NAME")


def spelled(arguments: Sequence[str]) -> list[str]:
    """Spells a command line as Hydra reads it, its flags first.

    Raises:
        KanExpError: There is no such flag.
    """
    flags, overrides = split_flags(arguments)
    names = [option_name(text) for text in overrides]
    many = bool(set(MULTIRUN) & set(flags)) or "search" in names
    return [*_with_homes(flags), *(spelled_option(text, many) for text in overrides)]


def _with_homes(flags: Sequence[str]) -> list[str]:
    """Flags whose folders are there, `~` replaced."""
    out: list[str] = []
    for at, word in enumerate(flags):
        name, equals, value = word.partition("=")
        before = flags[at - 1] if at else ""
        if name in ("--config-dir", "-cd") and equals:
            word = f"{name}={_folder(value)}"
        elif before in ("--config-dir", "-cd"):
            word = _folder(word)
        out.append(word)
    return out


def _folder(text: str) -> str:
    folder = Path(text).expanduser()
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "there is no such folder"
        raise KanExpError(f"--config-dir {shell(text)}: {reason} (looked for {folder.absolute()}).")
    return str(folder)


def spelled_option(text: str, many: bool) -> str:
    """Spells one option as Hydra reads it.

    Args:
        text: `name=value` as the shell hands it over.
        many: Whether commas separate the values of a sweep.
    """
    key, equals, value = text.partition("=")
    name = option_name(text)
    if equals and not name:
        raise KanExpError(f"{text!r}: options are written as name=value.")
    if not equals or not value or "/" in name or key.startswith("~"):
        return text
    if name.rpartition(".")[2] == "formula":
        return f"{key}={_formula(value)}"
    if name.startswith("hydra.") and value.startswith("~"):
        value = str(Path(value).expanduser())  # which Hydra would take for a name
    if is_path(name):
        return f"{key}={_path(value, many and name not in SWEPT_PATHS)}"
    if name in COLUMNS:
        is_list = name in LISTS and not many and not value.startswith("[")
        if is_list and "," in value and unquoted(value) is None and not _is_list(value):
            value = f"[{value}]"
        return f"{key}={_columns(value, many)}"
    if not SPECIAL & set(value) and _parsed(value) is None:
        # A letter or sign that Hydra does not know: there is no other way to read it.
        parts = value.split(",") if many else [value]
        return f"{key}={','.join(part if _as_text(part) else in_quotes(part) for part in parts)}"
    if "${" in value and _parsed(value) is None and value.count("{") == value.count("}"):
        return f"{key}={in_quotes(value)}"  # one reference in another
    return text


def _parsed(value: str) -> Override | None:
    """A value as Hydra reads it; None if it cannot."""
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except (HydraException, RecursionError):
        return None


def _as_text(value: str) -> str | None:
    """The text that Hydra reads, if it reads a single text."""
    parsed = _parsed(value)
    if parsed is None or parsed.is_sweep_override():
        return None
    found = parsed.value()
    return found if isinstance(found, str) else None


def _formula(value: str) -> str:
    """Quotes formulas, whose parentheses Hydra would read as calls of its own functions.

    Commas outside parentheses still separate the formulas of a sweep.
    """
    if _parsed(value) is not None:
        return value
    return ",".join(in_quotes(part) for part in split(value))


def _path(value: str, many: bool) -> str:
    """A path, typed as it is or in Hydra's quotes."""
    inner = unquoted(value)
    if inner is not None:
        return quoted(value) if _exists(value) and not _exists(inner) else value
    if value == "null":
        return value
    if _exists(value):
        return quoted(value)
    if value == "???":
        return value
    parsed = _parsed(value)
    if parsed is not None and many and parsed.is_sweep_override():
        return value
    if parsed is None and many and "," in value:
        return ",".join(_path(part, many=False) for part in split(value))
    read = _as_text(value)
    # A backslash, as Hydra's own way to escape, stays one where there is no such file.
    if read is not None and (read == value or "\\" in value):
        return value
    return _literal(value)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(Path(path).expanduser())
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, no such home
        return False


def _literal(text: str) -> str:
    """A text for Hydra, in which complete references stay such."""
    return in_quotes(text) if WHOLE_REFERENCE.search(text) else quoted(text)


def _columns(value: str, many: bool) -> str:
    """Names of columns, or a list of them, or several of either in a sweep."""
    parsed = _parsed(value)
    if parsed is not None and parsed.is_sweep_override() and many:
        return value
    found = None if parsed is None or parsed.is_sweep_override() else parsed.value()
    if found is None and parsed is not None and not parsed.is_sweep_override():
        return value  # null
    if isinstance(found, str) or (isinstance(found, list) and all(map(_is_text, found))):
        return value
    parts = split(value) if many or value.startswith("[") else [value]
    return ",".join(_column_or_list(part.strip()) for part in parts)


def _is_list(value: str) -> bool:
    parsed = _parsed(value)
    return parsed is not None and not parsed.is_sweep_override()


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _column_or_list(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        names = [name.strip() for name in split(text[1:-1])]
        return f"[{','.join(_column(name) for name in names if name)}]"
    return _column(text)


def _column(name: str) -> str:
    return name if _as_text(name) is not None or name == "null" else _literal(name)


def split(text: str) -> list[str]:
    """Splits at the commas that stand in no brackets and no quotes."""
    closing = {"(": ")", "[": "]", "{": "}"}
    parts, open_ones, quote = [""], [], ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[at - 1] != "\\" else quote
        elif character in "\"'" and not parts[-1].strip(" [") and character in text[at + 1 :]:
            quote = character
        elif character in closing:
            open_ones.append(closing[character])
        elif open_ones and character == open_ones[-1]:
            open_ones.pop()
        if character == "," and not open_ones and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def own_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders of configs that a command line adds."""
    found = []
    flags, overrides = split_flags(arguments)
    for at, word in enumerate(flags):
        name, equals, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            found.append(value if equals else flags[at + 1])
    for text in overrides:
        if option_name(text) == "hydra.searchpath":
            parts = split(text.partition("=")[2].strip("[]"))
            found += [(unquoted(part) or part).removeprefix("file://") for part in parts]
    return [Path(folder) for folder in found]


def asked_configs(arguments: Sequence[str]) -> list[Asked]:
    """The configs that a command line asks for: `group=choice`, and those of a sweep."""
    flags, overrides = split_flags(arguments)
    found = [
        Asked("", name.removesuffix(".yaml"))
        for flag, name in itertools.pairwise(flags)
        if flag in ("--config-name", "-cn")
    ]
    for text in overrides:
        group, equals, value = text.lstrip("+").partition("=")
        if equals and re.fullmatch(r"[\w/]+", group):
            found += [Asked(group, unquoted(part) or part.strip()) for part in split(value)]
    return found
