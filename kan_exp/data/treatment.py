"""Options that say how the columns of a table are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kan_exp.data.columns import by_column, shown, tidy
from kan_exp.data.schema import SCALES
from kan_exp.errors import KanExpError, listing

CHOICES = ("number", "boolean", "category", "date")  # kinds that an option may name
GAPS = ("error", "impute", "drop")


@dataclass(frozen=True)
class Treatment:
    """Options that say how the columns of a table are read, checked; None means the usual.

    Args:
        drop: Columns to leave out.
        missing: What happens to gaps: `error`, `impute` or `drop` (of rows).
        missing_values: Texts and numbers that stand for gaps, too.
        kinds: Kinds of columns that are not to be recognized, one of `CHOICES` or a format of
            `strptime` for dates.
        scale: Names in `SCALES` for columns of numbers.
        decimal: The decimal sign; None where it is recognized.

    Raises:
        KanExpError: An option has no such value.
    """

    drop: Any = ()
    missing: Any = "error"
    missing_values: Any = ()
    kinds: Any = None
    scale: Any = None
    decimal: Any = None

    def __post_init__(self) -> None:
        for name, allowed in (("missing", GAPS), ("decimal", (".", ","))):
            if (value := getattr(self, name)) not in (None, *allowed):
                raise KanExpError(f"data.{name} must be {' or '.join(allowed)}, got {value!r}.")
        kinds, scale = _mapping("kinds", self.kinds), _mapping("scale", self.scale)
        for name, kind in kinds.items():
            if kind not in CHOICES and "%" not in kind:
                raise KanExpError(
                    f"data.kinds: column {shown(name)} must be one of {listing(CHOICES)}, or a "
                    f"format of dates such as %d.%m.%Y, got {kind!r}."
                )
        for name, function in scale.items():
            if function not in SCALES:
                raise KanExpError(
                    f"data.scale: column {shown(name)} must be one of {listing(SCALES)}, got "
                    f"{function!r}."
                )
        words = tuple(str(value).strip() for value in _list(self.missing_values))
        checked = {"drop": tuple(map(tidy, _list(self.drop))), "missing": self.missing or "error"}
        checked |= {"missing_values": words, "kinds": kinds, "scale": scale}
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def take_treatment(options: Mapping[str, Any]) -> tuple[Treatment, dict[str, Any]]:
    """The options of a `Treatment` among others, and the others."""
    own = {one.name for one in fields(Treatment)}
    treatment = Treatment(**{name: options[name] for name in own & options.keys()})
    return treatment, {name: value for name, value in options.items() if name not in own}


def _list(value: object) -> Sequence[object]:
    """A list, which one value may stand for."""
    if value is None:
        return ()
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _mapping(name: str, value: object) -> dict[str, str]:
    """An option `{column: word}`, see `by_column`."""
    words = by_column(value or {}, f"data.{name}")
    if not isinstance(words, Mapping):
        raise KanExpError(
            f"data.{name} must name columns, such as {{price: "
            f"{'log' if name == 'scale' else 'category'}}}, got {shown(value)}."
        )
    return {column: tidy(word) for column, word in words.items()}
