"""Quotes paths and options for a shell and for Hydra."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

# Text that needs no quotes in Hydra, unless it is the second: numbers, null, booleans.
PLAIN = re.compile(r"[A-Za-z0-9_./:@%+-]+")
NO_TEXT = re.compile(r"[+-]?(inf|nan|[\d_.]+(e[+-]?[\d_]+)?)|null|true|false", re.IGNORECASE)


def quoted(text: str) -> str:
    """Quotes a text, in which `${...}` is no reference, as a value for Hydra where needed."""
    if PLAIN.fullmatch(text) and not NO_TEXT.fullmatch(text):
        return text
    return in_quotes(literal(text))


def literal(text: str) -> str:
    """Escapes `${...}` in a text, which would be a reference in a configuration."""
    # OmegaConf halves backslashes before `${`, and takes `\${` literally.
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def in_quotes(text: str) -> str:
    """Puts a text in Hydra's quotes; a `${...}` in it stays a reference."""
    quote = "'" if '"' in text and "'" not in text else '"'
    # Hydra halves backslashes before a quote, also before the last one, and no others.
    inner = re.sub(rf"(\\*){quote}", lambda match: match[1] * 2 + f"\\{quote}", text)
    inner = re.sub(r"\\+\Z", lambda match: match[0] * 2, inner)
    return f"{quote}{inner}{quote}"


def unquoted(text: str) -> str | None:
    """The content of a value in Hydra's quotes, or None if `text` is not quoted."""
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        return None
    quote, inner = text[0], text[1:-1]
    runs = [match[0] for match in re.finditer(rf"\\*{quote}", inner)]
    ending = len(inner) - len(inner.rstrip("\\"))
    if ending % 2 or any(len(run) % 2 for run in runs):  # a quote that is not escaped
        return None
    inner = re.sub(rf"(\\*)\\{quote}", lambda match: match[1][::2] + quote, inner)
    inner = inner[: len(inner) - ending // 2]
    return re.sub(r"(\\*)\\\$\{", lambda match: match[1][::2] + "${", inner)


def expand_home(path: str | Path) -> Path:
    """A path with `~` expanded; `~name` stays as it is if nobody is called so."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_path(text: str) -> str:
    """A path, without Hydra's quotes unless there is a file of that name only with them."""
    inner = unquoted(text)
    if inner is None or (os.path.lexists(text) and not os.path.lexists(inner)):
        return text
    return inner


def option(name: str, path: str | Path) -> str:
    """`name=PATH`, as Hydra and the commands' own readers take it."""
    return f"{name}={quoted(_relative(str(path)))}"


def word(path: str | Path) -> str:
    """A path as a word of its own on a command line, such as after `--from`."""
    text = _relative(str(path))
    return text if unquoted(text) is None else quoted(text)


def _relative(text: str) -> str:
    """Keeps `~` from being a home, `-` from beginning a flag and `???` from being nothing."""
    return f"./{text}" if text.startswith(("~", "-")) or text == "???" else text


def shell(*words: str) -> str:
    """Words as they can be pasted into a POSIX shell."""
    return shlex.join(words)


def typed(name: str, path: str | Path) -> str:
    """`name=PATH`, ready to be pasted into a shell."""
    return shell(option(name, path))
