"""Names of the options that describe a table in each command, and how to type them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kan_exp.quoting import quoted, shell

NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?")  # which comes back as it was typed
MAX_TYPED = 2000  # characters of an option that a message spells out
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a mapping, as Hydra reads it


@dataclass(frozen=True)
class Options:
    """Names of the options that describe a table, for messages.

    Attributes:
        features: Option that chooses the inputs; `None` where a trained network decides them.
        missing: Option that says what happens to gaps; `None` where there must be none.
        dims: Widths of the network to train, whose first is the number of inputs; `None` if there
            is no network to train, or if its widths are chosen.
    """

    path: str = "data.path"
    separator: str = "data.separator"
    features: str | None = "data.features"
    target: str = "data.target"
    missing: str | None = "data.missing"
    dims: tuple[int, ...] | None = None


TRAINING = Options()


def assign(option: str, value: str | Sequence[str] | Mapping[str, str]) -> str:
    """An option with a text, a list or a mapping of texts as Hydra reads it, for a shell.

    A mapping whose keys Hydra cannot read is written as a list.
    """
    if isinstance(value, Mapping):
        if not all(KEY.fullmatch(key) for key in value):
            return assign(option, [f"{key}: {word}" for key, word in value.items()])
        pairs = ", ".join(f"{key}: {quoted(word)}" for key, word in value.items())
        return shell(f"{option}={{{pairs}}}")
    text = quoted(value) if isinstance(value, str) else f"[{','.join(map(quoted, value))}]"
    return shell(f"{option}={text}")


def assign_words(words: Sequence[str]) -> str:
    """The option that says what stands for missing values."""
    items = (word if NUMBER.fullmatch(word) else quoted(word) for word in words)
    return shell(f"data.missing_values=[{','.join(items)}]")
