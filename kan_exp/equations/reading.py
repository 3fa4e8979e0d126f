"""Numbers, names and ranges as users write them in a problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets import Formula
from kan_exp.targets.formula import check_names, quote

POINTS = {"interior": 1000, "edge": 80, "drawn_anew": 0.0}
Ranges = Mapping[str, tuple[float, float]]


def read_number(option: str, value: Any) -> float:
    """A finite number, or the value of a formula of numbers such as `pi/2`."""
    number = value
    if isinstance(value, str):
        import torch

        try:
            number = Formula(value, ["_"])(torch.zeros(1, 1, dtype=torch.float64)).item()
        except KanExpError:
            number = None
    if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
        raise KanExpError(
            f"{option} must be a finite number, or a formula of numbers such as pi/2, got "
            f"{quote(value)}."
        )
    return float(number)


def read_positive(option: str, value: Any) -> float:
    """A number above 0."""
    if (number := read_number(option, value)) <= 0:
        raise KanExpError(f"{option} must be above 0, got {number:g}.")
    return number


def read_numbers(option: str, values: Any) -> dict[str, float]:
    """A number for each name."""
    if not isinstance(values or {}, Mapping):
        raise KanExpError(f"{option} must have a number for each name, got {quote(values)}.")
    return {str(name): read_number(f"{option}.{name}", v) for name, v in (values or {}).items()}


def read_names(option: str, names: Any) -> tuple[str, ...]:
    """Different names, of which there may be none: a list, or one name."""
    return check_names([names] if isinstance(names, str) else names or [], option)


def read_list(option: str, values: Any, example: str) -> list[Any]:
    """A list, of which there may be none."""
    if not isinstance(values or [], list | tuple):
        raise KanExpError(f"{option} must be a list, as [{example}], got {quote(values)}.")
    return list(values or [])


def read_points(values: Any) -> dict[str, float]:
    """How many points there are; those that are not given have their defaults."""
    if not isinstance(values or {}, Mapping):
        raise KanExpError(f"pde.points must have {listing(POINTS)}, got {quote(values)}.")
    points = {**POINTS, **{name: v for name, v in (values or {}).items() if v is not None}}
    for name, value in points.items():
        if name not in POINTS:
            hint = suggest(str(name), POINTS)
            raise KanExpError(f"pde.points.{name}: there is no such option.{hint}")
        number = points[name] = read_number(f"pde.points.{name}", value)
        if name == "drawn_anew":
            if not 0 <= number < 1:
                raise KanExpError(f"pde.points.drawn_anew must be from 0 to below 1, got {value}.")
        elif number < 1 or number != int(number):
            raise KanExpError(f"pde.points.{name} must be a whole number above 0, got {value}.")
    return points


def read_ranges(inputs: Any) -> dict[str, tuple[float, float]]:
    """The range of each input, from low to high."""
    if not isinstance(inputs, Mapping) or not inputs:
        raise KanExpError(
            f"pde.inputs must have a range for each input, such as {{x: [-1, 1], t: [0, 1]}}, got "
            f"{quote(inputs)}."
        )
    check_names([*inputs], "pde.inputs")
    ranges = {}
    for name, pair in inputs.items():
        option = f"pde.inputs.{name}"
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise KanExpError(f"{option} needs a range, such as [0, 1], got {quote(pair)}.")
        low, high = (read_number(option, end) for end in pair)
        if not low < high:
            raise KanExpError(f"{option} needs a range from low to high, got [{low:g}, {high:g}].")
        ranges[name] = low, high
    return ranges


def read_continuation(
    given: Any, ranges: Ranges, last: Mapping[str, float], unknown: Sequence[str]
) -> dict[str, list[float]]:
    """Values that lead to the last ones, as many for each name.

    Args:
        given: A list for each of some names.
        ranges: Of the inputs, whose upper ends ascend.
        last: The upper ends of the inputs and the values of the coefficients.
        unknown: Coefficients that cannot be given.
    """
    if not isinstance(given or {}, Mapping):
        raise KanExpError(
            f"pde.continuation must have values by the names of inputs or coefficients, such as "
            f"{{{[*ranges][-1]}: [0.1, 0.3, 1]}}, got {quote(given)}."
        )
    read: dict[str, list[float]] = {}
    for name, values in (given or {}).items():
        option = f"pde.continuation.{name}"
        if values is None:
            continue
        if name not in last:
            hint = suggest(str(name), last)
            raise KanExpError(f"{option}: there is no such input or coefficient.{hint}")
        if name in unknown:
            raise KanExpError(f"{option}: {name} is unknown, so that it cannot be given.")
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise KanExpError(f"{option} must be a list of numbers, got {quote(values)}.")
        numbers = [read_number(f"{option}[{k}]", value) for k, value in enumerate(values)]
        if not math.isclose(numbers[-1], last[name], rel_tol=1e-9):
            raise KanExpError(
                f"{option} must end with {last[name]:g}, which the problem has, got "
                f"{numbers[-1]:g}."
            )
        read[name] = [*numbers[:-1], last[name]]
        if name in ranges and any(one >= two for one, two in pairwise([ranges[name][0], *numbers])):
            raise KanExpError(
                f"{option} must ascend from above {ranges[name][0]:g}, where {name} begins, got "
                f"{quote(values)}."
            )
    if len({len(numbers) for numbers in read.values()}) > 1:
        raise KanExpError("pde.continuation needs as many values for each name.")
    return read
