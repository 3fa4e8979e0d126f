"""Explanations and their formulas in files: nested lists, in which nothing is executed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kan_exp.errors import KanExpError, message_of
from kan_exp.runs.files import parse_json, write_json, write_text
from kan_exp.runs.folders import FORMULA
from kan_exp.symbolic.differences import Difference, finite_or_none
from kan_exp.symbolic.edges import EdgeName
from kan_exp.symbolic.explanation import Explanation
from kan_exp.symbolic.expression import (
    CALLS,
    UNITS,
    Call,
    Constant,
    Expression,
    Input,
    Power,
    Product,
    Sum,
)
from kan_exp.symbolic.judge import Candidate

FORMAT = 1
FRACTION = re.compile(r"-?\d{1,300}(/\d{1,300})?", re.ASCII)


def to_plain(node: Expression) -> list[Any]:
    """A formula as nested lists, such as `["sum", ["input", 0], ["exact", "1/2", "pi"]]`."""
    below = [to_plain(child) for child in node.children()]
    match node:
        case Constant(value, None):
            return ["constant", value]
        case Constant(_, fraction, unit):
            return ["exact", str(fraction), unit]
        case Input(index):
            return ["input", index]
        case Call(name):
            return ["call", name, *below]
    return [type(node).__name__.lower(), *below]


def from_plain(plain: Any, inputs: int) -> Expression:
    """The inverse of `to_plain`.

    Raises:
        ArithmeticError, RecursionError, TypeError, ValueError: It describes no formula of so many
            inputs.
    """
    match plain:
        case ["constant", float() | int() as value] if math.isfinite(value):
            return Constant(float(value))
        case ["exact", str(text), str(unit)] if FRACTION.fullmatch(text) and unit in UNITS:
            fraction = Fraction(text)
            return Constant(float(fraction) * UNITS[unit], fraction, unit)
        case ["input", int(index)] if 0 <= index < inputs:
            return Input(index)
        case ["call", str(name), argument] if name in CALLS:
            return Call(name, from_plain(argument, inputs))
        case ["sum", _, _, *_]:
            return Sum(tuple(from_plain(part, inputs) for part in plain[1:]))
        case ["product", _, _, *_]:
            return Product(tuple(from_plain(part, inputs) for part in plain[1:]))
        case ["power", base, exponent]:
            return Power(from_plain(base, inputs), from_plain(exponent, inputs))
    raise ValueError(f"{str(plain)[:60]} is no part of a formula")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(map(str, values))


# The fields of an explanation that are stored as they are, and what reads them.
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "target": str,
    "found": bool,
    "fits": bool,
    "noise": float,
    "seconds": float,
    "complete": bool,
    "fresh": bool,
    "notes": _texts,
    "constant_units": _texts,
}
_DIFFERENCE = (str, int, int, _number, _number)  # what reads the fields of a `Difference`
# What reading damaged content raises.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_EDGE = (str, str, lambda error: None if error is None else float(error), str)  # of an `EdgeName`


def explanation_to_plain(one: Explanation) -> dict[str, Any]:
    """The content of a file; numbers that are not finite are null."""
    return {
        **{name: getattr(one, name) for name in _FIELDS},
        "inputs": one.names,
        "formula": one.formula,
        "ranges": [[finite_or_none(end) for end in pair] for pair in one.ranges],
        "chosen": next(k for k, each in enumerate(one.candidates) if each is one.chosen),
        "candidates": [
            {**_candidate_to_plain(each), "test_rmse": finite_or_none(test)}
            for each, test in zip(one.candidates, one.test_rmse, strict=True)
        ],
        "differences": [
            {
                **each._asdict(),
                "rmse": finite_or_none(each.rmse),
                "largest": finite_or_none(each.largest),
            }
            for each in one.differences
        ],
        "units": dict(one.units),
        "edges": [each._asdict() for each in one.edge_names],
    }


def explanation_from_plain(plain: Mapping[str, Any]) -> Explanation:
    """The inverse of `explanation_to_plain`.

    Raises:
        ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError: It is
            not such content.
    """
    names, stored = _texts(plain["inputs"]), plain["candidates"]
    candidates = tuple(_candidate_from_plain(one, len(names)) for one in stored)
    ranges = np.array([[_number(end) for end in pair] for pair in plain["ranges"]], np.float64)
    return Explanation(
        **{name: read(plain[name]) for name, read in _FIELDS.items()},
        names=names,
        ranges=ranges.reshape(len(names), 2),
        candidates=candidates,
        chosen=candidates[plain["chosen"]],
        test_rmse=tuple(_number(one["test_rmse"]) for one in stored),
        differences=tuple(_read(Difference, _DIFFERENCE, one) for one in plain["differences"]),
        edge_names=tuple(_read(EdgeName, _EDGE, one) for one in plain["edges"]),
        units={str(name): str(unit) for name, unit in plain["units"].items()},
    )


def _read(kind: Any, readers: Sequence[Callable[[Any], Any]], plain: Mapping[str, Any]) -> Any:
    """A named tuple, from its `_asdict`."""
    fields = zip(kind._fields, readers, strict=True)
    return kind(*(read(plain[name]) for name, read in fields))


def _candidate_to_plain(candidate: Candidate) -> dict[str, Any]:
    return {
        "expression": to_plain(candidate.expression),
        "rmse": finite_or_none(candidate.rmse),
        "validation_rmse": finite_or_none(candidate.validation_rmse),
        "errors": [finite_or_none(error) for error in candidate.errors],
        "origin": candidate.origin,
    }


def _candidate_from_plain(plain: Mapping[str, Any], inputs: int) -> Candidate:
    expression = from_plain(plain["expression"], inputs)
    errors = np.array([_number(error) for error in plain["errors"]], dtype=np.float64)
    if errors.shape != expression.constants.shape:
        raise ValueError("a constant has no error")
    rmse, validation = _number(plain["rmse"]), _number(plain["validation_rmse"])
    return Candidate(expression, rmse, validation, errors, str(plain["origin"]))


def save(explanations: Sequence[Explanation], folder: Path) -> None:
    """Writes the formulas of one or more outputs to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "outputs": [explanation_to_plain(one) for one in explanations]}
    write_json(folder / FORMULA, content)
    texts = {
        "txt": "\n\n".join(
            "\n".join([*one.lines(), "", *one.table(), "", *one.edge_lines()])
            for one in explanations
        ),
        "tex": "\n".join(f"\\[ {one.latex()} \\]" for one in explanations),
    }
    for kind, text in texts.items():
        write_text(folder / f"formula.{kind}", f"{text}\n")


def read(path: Path) -> list[Explanation]:
    """The formulas of a file.

    Raises:
        KanExpError: There is none, or it is damaged.
    """
    try:
        content = parse_json(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r} is not known")
        found = [explanation_from_plain(plain) for plain in content["outputs"]]
    except FileNotFoundError:
        raise KanExpError(f"{path}: there is no formula: run kan_exp.explain first.") from None
    except _DAMAGED as error:
        raise KanExpError(f"{path}: no formulas of kan_exp ({message_of(error)}).") from error
    return found
