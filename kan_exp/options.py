"""Whether options are of the kinds that a constructor takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kan_exp.errors import KanExpError
from kan_exp.quoting import shell

WHOLE = (int, "int")
NUMBERS = (*WHOLE, float, "float")
# Kinds that null is one of.
WHOLE_OR_NONE = (int | None, "int | None", "Optional[int]")
NUMBER_OR_NONE = (*WHOLE_OR_NONE, float | None, "float | None", "Optional[float]")
TEXTS = (str, "str")
TEXTS_OR_NONE = (str | None, "str | None", "Optional[str]")
TRUTHS = (bool | None, "bool | None", "Optional[bool]")


def check_options(group: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuses options of another kind than a constructor's defaults or annotations.

    Args:
        group: The group of the options, by which they are named.
        make: The constructor.
        options: Its arguments by name.

    Raises:
        KanExpError: There is one; the message names it.
    """
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # some builtins have none; they check their own arguments
        return
    for name, value in options.items():
        if name not in parameters:  # which the constructor itself refuses
            continue
        default, annotation = parameters[name].default, parameters[name].annotation
        option = f"{group}.{name}"
        if value is None and annotation in NUMBER_OR_NONE:
            continue
        if isinstance(default, tuple) and all(map(_is_number, default)):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise KanExpError(f"{option} must be a list, as {_list(default)}, got {value!r}.")
            if len(value) != len(default) or not all(map(_is_number, value)):
                raise KanExpError(
                    f"{option} must be {len(default)} numbers, as {_list(default)}, got "
                    f"{_list(value)}."
                )
        elif (_is_number(default) or annotation in (*NUMBERS, *NUMBER_OR_NONE)) and not (
            _is_number(value)
        ):
            shown = repr(value) if isinstance(value, str) else _text(value)
            raise KanExpError(f"{option} must be a number, got {shown}{_cure(value)}.")
        elif annotation in (*WHOLE, *WHOLE_OR_NONE) and value != int(value):
            raise KanExpError(f"{option} must be a whole number, got {value}.")
        elif annotation in TEXTS and not isinstance(value, str):
            raise KanExpError(f"{option} must be text, got {_text(value)}{_as_text(option, value)}")
        elif annotation in TEXTS_OR_NONE and not isinstance(value, str | None):
            raise KanExpError(
                f"{option} must be text or null, got {_text(value)}{_as_text(option, value)}"
            )
        elif annotation in TRUTHS and not isinstance(value, bool | None):
            raise KanExpError(f"{option} must be true, false or null, got {value!r}.")
        elif annotation in (bool, "bool") and not isinstance(value, bool):
            raise KanExpError(f"{option} must be true or false, got {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(values: Iterable[Any]) -> str:
    return f"[{','.join(map(_text, values))}]"


def _text(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_text(option: str, value: Any) -> str:
    """How to write a number or a truth value as a text."""
    if not isinstance(value, int | float):
        return "."
    return f""": write {shell(f'{option}="{_text(value)}"')}"""


def _cure(value: Any) -> str:
    """How to turn a text that reads as a number into one."""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return " (text): leave out its quotes, or write ${oc.decode:${oc.env:NAME}} for ${oc.env:NAME}"
