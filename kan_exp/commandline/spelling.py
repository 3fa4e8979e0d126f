"""Quotes values of options for Hydra's grammar, since a shell removes the quotes it would need."""

from __future__ import annotations

import os
import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from kan_exp.errors import KanExpError, check_once
from kan_exp.quoting import expand_home, in_quotes, quoted, unquoted
from kan_exp.runs import option_name

MULTIRUN = ("-m", "--multirun")
PATHS = re.compile(r"(\w+_)?(path|file|filename|dir|folder|root)")
PATH_OPTIONS = ("resume", "sweep.resume", "run", "input", "output", "logdir")
# Options with one value for all jobs of a sweep.
SINGLE_PATHS = ("hydra.run.dir", "hydra.sweep.dir", *PATH_OPTIONS)
OUR_PATHS = ("data.path", *SINGLE_PATHS)
COLUMNS = ("data.target", "data.features", "data.drop", "data.missing_values", "group_by", "keep")
MAPPINGS = ("data.kinds", "data.scale", "data.units", "monotone", "convex")  # from columns
LISTS = COLUMNS[1:]
SPECIAL = set("[](){}'\"\\")  # structure of Hydra's values
WHOLE_REFERENCE = re.compile(r"\$\{[^{}]+\}")


def is_path(name: str) -> bool:
    """Whether an option, by its full name, takes a path."""
    return name in PATH_OPTIONS or PATHS.fullmatch(name.rpartition(".")[2]) is not None


def spelled_option(text: str, many: bool) -> str:
    """Spells `name=value` as Hydra reads it; `many` if commas separate the values of a sweep."""
    key, equals, value = text.partition("=")
    name = option_name(text)
    if equals and not name:
        raise KanExpError(f"{text!r}: options are written as name=value.")
    if not equals or not value or "/" in name or key.startswith("~"):
        return text
    _check_keys(name, value)
    if name.rpartition(".")[2] == "formula":
        # Hydra would read its parentheses as calls. Commas outside of them separate the formulas of
        # a sweep.
        is_read = _parsed(value) is not None
        return text if is_read else f"{key}={','.join(map(in_quotes, split(value)))}"
    if name.startswith("hydra.") and value.startswith("~"):
        value = str(expand_home(value))  # Hydra does not expand it
    if is_path(name):
        if name not in OUR_PATHS and _parsed(value) is not None and not _exists(value):
            return text  # a user's own option may be a number, or a list of files
        return f"{key}={_path(value, many and name not in SINGLE_PATHS)}"
    if name in MAPPINGS and _parsed(value) is None:
        parts = split(value) if many else [value]
        return f"{key}={','.join(_mapping(part.strip()) for part in parts)}"
    if name in COLUMNS:
        is_list = name in LISTS and not many and not value.startswith("[")
        if is_list and "," in value and unquoted(value) is None and not _is_list(value):
            value = f"[{value}]"
        return f"{key}={_columns(value, many)}"
    if not SPECIAL & set(value) and _parsed(value) is None:
        # It has a character outside of Hydra's grammar, so that it can only be text.
        parts = value.split(",") if many else [value]
        return f"{key}={','.join(part if _as_text(part) else in_quotes(part) for part in parts)}"
    if "${" in value and _parsed(value) is None and value.count("{") == value.count("}"):
        return f"{key}={in_quotes(value)}"  # one reference in another
    return text


def _check_keys(name: str, value: str) -> None:
    """Raises a `KanExpError` if a mapping has a key twice, of which Hydra takes the last."""
    for part in map(str.strip, split(value)):
        if part.startswith("{") and part.endswith("}"):
            cut = str.rpartition if name in MAPPINGS else str.partition
            check_once((_bare(cut(pair, ":")[0]) for pair in split(part[1:-1])), name)


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
    read = parsed.value()
    return read if isinstance(read, str) else None


def _path(value: str, many: bool) -> str:
    """A path, typed as it is or in Hydra's quotes."""
    inner = unquoted(value)
    if inner is not None:
        return quoted(value) if _exists(value) and not _exists(inner) else value
    if value == "null":
        return value
    if _exists(value):
        return quoted(value)
    parsed = _parsed(value)
    if parsed is not None and many and parsed.is_sweep_override():
        return value
    if parsed is None and many and "," in value:
        return ",".join(_path(part, many=False) for part in split(value))
    read = _as_text(value)
    # If there is no such file, a backslash is Hydra's escape character.
    if read is not None and (read == value or "\\" in value):
        return value
    return _literal(value)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(expand_home(path))
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, no such home
        return False


def _literal(text: str) -> str:
    """A text for Hydra; complete references in it are kept."""
    return in_quotes(text) if WHOLE_REFERENCE.search(text) else quoted(text)


def _columns(value: str, many: bool) -> str:
    """Names of columns, or a list of them, or several of either in a sweep."""
    parsed = _parsed(value)
    if parsed is not None and parsed.is_sweep_override():
        if many:
            return value
    elif parsed is not None:
        names = parsed.value()
        if names is None or isinstance(names, str):
            return value
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return value
    parts = split(value) if many or value.startswith("[") else [value]
    return ",".join(_column_or_list(part.strip()) for part in parts)


def _mapping(value: str) -> str:
    """A mapping as the list of its parts, since Hydra's keys have plain letters only."""
    if not (value.startswith("{") and value.endswith("}")):
        return value
    pairs = (part.rpartition(":") for part in split(value[1:-1]))
    texts = (f"{_bare(key)}: {_bare(word)}" for key, _, word in pairs)
    return f"[{','.join(map(quoted, texts))}]"


def _bare(text: str) -> str:
    return (unquoted(text.strip()) or text).strip()


def _is_list(value: str) -> bool:
    parsed = _parsed(value)
    return parsed is not None and not parsed.is_sweep_override()


def _column_or_list(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        names = [name.strip() for name in split(text[1:-1])]
        # A list holds names alone: a null in it is one.
        spelled = (quoted(name) if name == "null" else _column(name) for name in names if name)
        return f"[{','.join(spelled)}]"
    return _column(text)


def _column(name: str) -> str:
    return name if _as_text(name) is not None or name == "null" else _literal(name)


def split(text: str) -> list[str]:
    """Splits at commas outside of brackets and quotes."""
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
