"""Names of the options that describe a table in each command, and how to type them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kan_exp.quoting import quoted, shell

MAX_TYPED = 2000  # characters of an option that a message spells out


@dataclass(frozen=True)
class Options:
    """Names of the options that describe a table, for messages.

    Attributes:
        features: Option that chooses the inputs; `None` where a trained network decides them.
        dims: Widths of the network to train, whose first is the number of inputs; `None` if there
            is no network to train.
    """

    path: str = "data.path"
    separator: str = "data.separator"
    features: str | None = "data.features"
    target: str = "data.target"
    dims: tuple[int, ...] | None = None

    def choice(self, features: Sequence[str]) -> str:
        """The options that select these columns, quoted for a shell."""
        typed = assign(f"{self.features}", features)
        if len(typed) > MAX_TYPED:
            typed = f"{self.features}=[...]"
        return f"{typed}{self.widths(len(features))}"

    def widths(self, count: int) -> str:
        """A blank and `dims` for so many inputs; empty if `dims` fits already."""
        if self.dims is None or self.dims[0] == count:
            return ""
        widths = ",".join(map(str, (count, *self.dims[1:])))
        return f" {shell(f'dims=[{widths}]')}"


TRAINING = Options()


def assign(option: str, value: str | Sequence[str]) -> str:
    """An option with a text or a list of texts as Hydra reads it, quoted for a shell."""
    text = quoted(value) if isinstance(value, str) else f"[{','.join(map(quoted, value))}]"
    return shell(f"{option}={text}")
