"""Reads JSON that may be damaged, old or edited: entries of an unexpected type are ignored."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kan_exp.quoting import unquoted
from kan_exp.runs.files import parse_json
from kan_exp.runs.identity import decides_result, normalized


def parse_overrides(overrides: Iterable[Any]) -> dict[str, Any]:
    """Names and values of typed overrides, parsed without Hydra; what is not JSON is text."""
    typed: dict[str, Any] = {}
    for override in overrides:
        name, equals, value = str(override).lstrip("+").partition("=")
        if not equals or not decides_result(str(override)):
            continue
        if (inner := unquoted(value)) is not None:
            typed[name] = inner
            continue
        try:
            typed[name] = parse_json(value)
        except ValueError:
            typed[name] = value
    return typed


def read_object(path: Path, unreadable: list[str] | None = None) -> dict[str, Any] | None:
    """The object in a JSON file; None if it cannot be read, and why is added to `unreadable`."""
    try:
        content = parse_json(path.read_bytes())
        if isinstance(content, dict) and content:
            return content
        reason = "holds no object"
    except OSError as error:
        reason = str(error.strerror)
    except ValueError as error:  # not JSON, or not UTF-8
        reason = str(error).splitlines()[0]
    if unreadable is not None:
        unreadable.append(f"{path}: {reason}")
    return None


def entry(content: Mapping[str, Any] | None, name: str, kind: type) -> Any:
    """An entry of the expected type, or an empty one."""
    value = (content or {}).get(name)
    return value if isinstance(value, kind) else kind()


def objects(content: Mapping[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The objects in an entry that is a list."""
    return [item for item in entry(content, name, list) if isinstance(item, dict)]


def numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """The entries that are finite numbers."""
    values = {name: number(value) for name, value in content.items()}
    return {name: value for name, value in values.items() if value is not None}


def number(value: Any) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) <= sys.float_info.max else None  # also of an integer of any size


def text(value: Any) -> str | None:
    """The value if it is text and not empty."""
    return value if isinstance(value, str) and value else None


def value_text(value: Any) -> str:
    """A choice as it would be typed: mlp, [2,5,1], 0.01, null."""
    if isinstance(value, str):
        return value
    value = normalized(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)  # as JSON has it, in a tenth of the time
    return json.dumps(value, separators=(",", ":"))
