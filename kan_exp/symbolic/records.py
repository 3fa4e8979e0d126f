"""Formulas in plain containers, as files hold them; nothing in them is executed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

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


def candidate_to_plain(candidate: Candidate) -> dict[str, Any]:
    """A formula with its errors; numbers that are not finite are null."""
    return {
        "expression": to_plain(candidate.expression),
        "rmse": finite(candidate.rmse),
        "validation_rmse": finite(candidate.validation_rmse),
        "errors": [finite(error) for error in candidate.errors],
        "origin": candidate.origin,
    }


def candidate_from_plain(plain: Mapping[str, Any], inputs: int) -> Candidate:
    """The inverse of `candidate_to_plain`; raises as `from_plain` does."""
    expression = from_plain(plain["expression"], inputs)
    errors = np.array([number(error) for error in plain["errors"]], dtype=np.float64)
    if errors.shape != expression.constants.shape:
        raise ValueError("a constant has no error")
    rmse, validation = number(plain["rmse"]), number(plain["validation_rmse"])
    return Candidate(expression, rmse, validation, errors, str(plain["origin"]))


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def finite_all(values: Sequence[float]) -> list[float | None]:
    return [finite(value) for value in values]
