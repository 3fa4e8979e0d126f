"""Functions that users give as formulas, for the library of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from kan_exp.errors import KanExpError, listing
from kan_exp.symbolic.expression import (
    CALLS,
    Call,
    Constant,
    Expression,
    Input,
    as_expression,
    exact,
)
from kan_exp.targets.formula import CONSTANTS, Formula

GRID = np.linspace(-5, 5, 201)  # where a function must be finite somewhere
_OF_TWO: dict[str, Callable[[Any, Any], Expression]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
}
_OF_ONE: dict[str, Callable[[Any], Expression]] = {
    "positive": lambda z: z,
    "neg": lambda z: -z,
    "sqrt": lambda z: z ** exact(0.5),
    "square": lambda z: z**2,
    "log2": lambda z: Call("log", z) / exact(1, "log(2)"),
    "sigmoid": lambda z: 1 / (1 + Call("exp", -z)),
    "relu": lambda z: (z + Call("abs", z)) * exact(0.5),
}


def read_functions(
    functions: Mapping[str, Any], option: str = "functions"
) -> dict[str, Expression]:
    """Reads formulas of one variable, such as `{"sinc2": "(sin(x)/x)**2"}`; nothing is executed.

    Args:
        functions: Formulas by the names of the functions; see `kan_exp.targets.formula.Formula`.
        option: Where the user wrote them, for messages.

    Returns:
        Each as a formula of `Input(0)`, all of its numbers exact.

    Raises:
        KanExpError: A formula cannot be read, has not one variable, or is finite nowhere.
    """
    if not isinstance(functions, Mapping):
        raise KanExpError(
            f"{option} must be formulas by name, such as {{sinc: 'sin(x)/x'}}, got {functions!r}."
        )
    return {str(name): _read(f"{option}.{name}", text) for name, text in functions.items()}


def _read(option: str, text: Any) -> Expression:
    formula = Formula(text, option=option)
    if len(formula.inputs) != 1:
        raise KanExpError(
            f"{option} must have one variable, got {listing(formula.inputs)}: "
            f"scale and shift are found by the search."
        )
    expression = expression_of(formula, option)
    if not np.isfinite(expression(GRID[:, None])).any():
        raise KanExpError(f"{option} is finite nowhere between -5 and 5: {text}.")
    return expression


def expression_of(formula: Formula, option: str = "formula") -> Expression:
    """The formula as a tree of its inputs, by their places, all of its numbers exact.

    Raises:
        KanExpError: It has a function that trees do not have, such as `min`.
    """
    stack: list[Expression] = []
    for item, arity in formula.steps:
        if isinstance(item, float):
            stack.append(_number(item))
        elif arity == 0:
            stack.append(Input(formula.inputs.index(item)))
        elif item in _OF_TWO:
            stack[-2:] = [_OF_TWO[item](*stack[-2:])]
        elif item in _OF_ONE:
            stack[-1] = _OF_ONE[item](stack[-1])
        elif item in CALLS:
            stack[-1] = Call(item, stack[-1])
        else:
            known = sorted({*CALLS, *_OF_ONE} - {"positive", "neg"})
            raise KanExpError(
                f"{option}: a formula that is found cannot have {item.rpartition('.')[2]}: use "
                f"{listing(known, len(known))}."
            )
    (expression,) = stack
    return expression


def _number(value: float) -> Expression:
    for unit, known in (("pi", CONSTANTS["pi"]), ("E", CONSTANTS["e"])):
        if value == known:
            return exact(1, unit)
    if value.is_integer():
        return as_expression(value)
    return Constant(value, Fraction(repr(value)))
