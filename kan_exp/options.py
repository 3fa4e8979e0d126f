"""Compares options with the signature of the constructor that takes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kan_exp.errors import KanExpError
from kan_exp.quoting import shell

MAX_WHOLE = 2**60  # sums of a few are int64


def check_options(group: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuses `options` of another type than the defaults or annotations of the constructor `make`.

    Messages name an option `group.name`.
    """
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # some builtins have none; they check their own arguments
        return
    for name, value in options.items():
        option = f"{group}.{name}"
        # The constructor itself refuses names that it has not.
        if name in parameters and (rule := _broken_rule(option, parameters[name], value)):
            raise KanExpError(f"{option} must be {rule}")


def _broken_rule(option: str, parameter: inspect.Parameter, value: Any) -> str | None:
    """The broken rule of an option with the value; None if it is obeyed."""
    default = parameter.default
    kind, optional = _kind(parameter.annotation)
    if value is None and optional:
        return None
    if isinstance(default, tuple) and all(map(_is_number, default)):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return f"a list, as {_list(default)}, got {value!r}."
        if len(value) != len(default) or not all(_is_number(v) and v == v for v in value):
            return f"{len(default)} numbers, as {_list(default)}, got {_list(value)}."
    elif _is_number(default) or kind in ("int", "float"):
        if not _is_number(value):
            shown = repr(value) if isinstance(value, str) else _text(value)
            return f"a number, got {shown}{_cure(value)}."
        if value != value:
            return "a number, got nan."
        too_large = abs(value) >= MAX_WHOLE
        if kind == "int" and (too_large or value != int(value)):
            return f"a whole number{' between -2**60 and 2**60' if too_large else ''}, got {value}."
        if isinstance(value, int) and too_large:
            return f"a number between -2**60 and 2**60, or in the form 1e20, got {value}."
    elif kind == "str" and not isinstance(value, str):
        return f"text{' or null' if optional else ''}, got {_text(value)}{_as_text(option, value)}"
    elif kind.startswith("Sequence[") and not _is_list(value, "[str]" in kind):
        return f"a list{' of names' if '[str]' in kind else ''}, got {_text(value)}."
    elif kind == "bool" and not isinstance(value, bool):
        return f"{'true, false or null' if optional else 'true or false'}, got {value!r}."
    return None


def _kind(annotation: Any) -> tuple[str, bool]:
    """The name of a type, and whether null is allowed too."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    match = re.fullmatch(r"(?:typing\.)?Optional\[(int|float|str|bool)\]", text)
    match = match or re.fullmatch(r"(int|float|str|bool|Sequence\[.*\]) \| None", text)
    return (match[1], True) if match else (text, False)


def _is_list(value: Any, of_texts: bool) -> bool:
    """Whether a value is a list, if it is to be `of_texts` of these alone."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and not (of_texts and any(not isinstance(one, str) for one in value))


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
    """Advice on writing a number or a truth value as text."""
    if not isinstance(value, int | float):
        return "."
    return f""": write {shell(f'{option}="{_text(value)}"')}"""


def _cure(value: Any) -> str:
    """Advice on turning a text that reads as a number into one."""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return " (text): leave out its quotes, or write ${oc.decode:${oc.env:NAME}} for ${oc.env:NAME}"
