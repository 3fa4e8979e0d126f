"""Conditions: where they hold, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kan_exp.equations.reading import Ranges, read_number, read_positive
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets.formula import quote

BORDER = "border"
EXAMPLE = "{on: 't=0', equation: 'u - sin(x)', weight: 1}"


@dataclass(frozen=True)
class Condition:
    """An equation that holds on a part of the border.

    Args:
        on: Where: `"t=0"`, `"x=0, y=1"`, or `"border"` for all ends of all inputs.
        equation: The residual, which is zero where the condition is met: in Python a function of
            the point and of the unknown functions, in YAML a formula.
        weight: Of its mean square in what is minimized.
    """

    on: str
    equation: Any
    weight: float = 1.0


class Relation(NamedTuple):
    """An equation and where it holds: at fixed values of some inputs, or inside if there are none.

    Attributes:
        name: For messages, such as `t=0`.
        fixed: Values of inputs by their places.
        function: Of the problem, the point and the unknown functions: the residual, or several.
        weight: Of its mean square.
    """

    name: str
    fixed: Mapping[int, float]
    function: Callable[..., Any]
    weight: float

    @property
    def is_border(self) -> bool:
        """Whether it holds on the border of a domain that is no rectangle."""
        return self.name == BORDER


def read_condition(
    option: str,
    condition: Any,
    ranges: Ranges,
    is_rectangle: bool,
    function_of: Callable[[str, Any], Callable[..., Any]],
) -> list[Relation]:
    """The relations of a condition: several if it holds on the whole border of a rectangle.

    Args:
        option: Where the user wrote it.
        condition: A `Condition`, or a mapping of the same.
        ranges: Of the inputs, by name.
        is_rectangle: Whether the domain is these ranges.
        function_of: Makes a relation's function of an option and its value.

    Raises:
        KanExpError: A part is missing or unknown, or it holds nowhere in the domain.
    """
    if isinstance(condition, Mapping):
        known = ("on", "equation", "weight")
        # YAML reads the word `on` as true.
        condition = {"on" if str(n) == "True" else n: v for n, v in condition.items()}
        for name in condition:
            if name not in known:
                hint = suggest(str(name), known)
                raise KanExpError(f"{option}.{name}: there is no such option.{hint}")
        for name in known[:2]:
            if name not in condition:
                raise KanExpError(f"{option}.{name} is needed, as in {EXAMPLE}.")
        condition = Condition(**condition)
    if not isinstance(condition, Condition):
        raise KanExpError(f"{option} must be as {EXAMPLE}, got {quote(condition)}.")
    weight = read_positive(f"{option}.weight", condition.weight)
    function = function_of(f"{option}.equation", condition.equation)
    where = str(condition.on).strip()
    if where != BORDER:
        fixed = _fixed(f"{option}.on={quote(where)}", where, ranges)
        return [Relation(where, fixed, function, weight)]
    if not is_rectangle:
        return [Relation(BORDER, {}, function, weight)]
    return [
        Relation(f"{name}={end:g}", {place: end}, function, weight)
        for place, (name, ends) in enumerate(ranges.items())
        for end in ends
    ]


def _fixed(option: str, where: str, ranges: Ranges) -> dict[int, float]:
    """Values of the inputs that a text such as `x=0, y=1` fixes, by their places."""
    names = list(ranges)
    fixed: dict[int, float] = {}
    for part in where.split(","):
        name, sign, text = (piece.strip() for piece in part.partition("="))
        if not sign or name not in names:
            raise KanExpError(
                f"{option} must be {BORDER} or as {names[0]}={ranges[names[0]][0]:g}, of the "
                f"inputs {listing(names)}.{suggest(name, [*names, BORDER])}"
            )
        value = read_number(option, text)
        low, high = ranges[name]
        if not low <= value <= high:
            raise KanExpError(
                f"{option} is off the domain, where {name} is from {low:g} to {high:g}: set it to "
                f"one of these, or change pde.inputs.{name}."
            )
        if names.index(name) in fixed:
            raise KanExpError(f"{option} has two values of {name}: leave one.")
        fixed[names.index(name)] = value
    return fixed
