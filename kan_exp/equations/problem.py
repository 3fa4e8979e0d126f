"""A differential equation: its inputs, its residual, its conditions and its coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from kan_exp.equations.fields import Field
from kan_exp.equations.frame import Frame, Key
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets import Formula
from kan_exp.targets.derivatives import read_derivative
from kan_exp.targets.formula import check_names, quote

if TYPE_CHECKING:
    from torch import Tensor

BORDER = "border"
TABLES = (".csv", ".tsv", ".parquet")  # endings of files
POINTS = {"interior": 1000, "edge": 80, "drawn_anew": 0.0}


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


class Problem:
    """A differential equation with its conditions, written in Python.

    A subclass sets the attributes and defines `interior`. Arguments that are not None replace
    attributes, so that they are options of the command: `pde._target_=my_module.Burgers`.

    Attributes:
        inputs: The range of each input by its name.
        outputs: Names of the unknown functions.
        coefficients: Numbers in the equation, by name; `self.nu` in `interior`.
        unknown: Names of those that are found from data; their values are where they start.
        conditions: What holds on the border.
        factor: A formula of the inputs by which the network's output is multiplied, for all unknown
            functions or one for each by its name: zero where `offset` meets a condition exactly.
        offset: Formulas that are added, likewise.
        features: What the network reads in the place of an input: a formula of it, or several, by
            its name. See `kan_exp.equations.features.Features`.
        weight: Of the mean square of the equation inside.
        inside: A formula of the inputs that is above 0 in the domain, if that is no rectangle.
        continuation: Ends of ranges, or values of coefficients, that lead to the last one.
        stretch: Whether the network is stretched to ranges that a continuation makes longer; else
            what it does beyond the present range is extrapolated.
        points: How many points there are inside and for each condition, and which share of those
            inside is drawn anew where the residual is large.
        exact: The solution, if it is known: a formula of the inputs for each unknown function, a
            function from points `(n, in)` to values `(n, out)`, or a table with columns for inputs
            and unknown functions. It is never trained on.

    Raises:
        KanExpError: An attribute breaks its rule; the error names it.
    """

    inputs: Mapping[str, Sequence[float]]
    outputs: Sequence[str] = ("u",)
    coefficients: Mapping[str, float] = {}
    unknown: Sequence[str] = ()
    conditions: Sequence[Condition] = ()
    factor: Any = None
    offset: Any = None
    features: Any = None
    weight: float = 1.0
    inside: str | None = None
    continuation: Mapping[str, Sequence[float]] = {}
    stretch: bool = True
    points: Mapping[str, float] = POINTS
    exact: Any = None

    def __init__(self, **options: Any) -> None:
        known = list(Problem.__annotations__)
        for name, value in options.items():
            if name not in known:
                raise KanExpError(
                    f"pde.{name}: there is no such option.{suggest(name, known)} "
                    f"There are: {listing(known)}."
                )
            if value is not None:
                setattr(self, name, value)
        self.ranges = _read_ranges(getattr(self, "inputs", None))
        self.names = tuple(self.ranges)
        self.outputs = tuple(check_names(self.outputs, "pde.outputs"))
        self.coefficients = _read_numbers("pde.coefficients", self.coefficients)
        everything: list[str] = [*self.names, *self.outputs, *self.coefficients]
        check_names(everything, "names of pde.inputs, outputs and coefficients")
        for name in self.coefficients:
            if hasattr(type(self), name):
                raise KanExpError(f"pde.coefficients: {name} is a name of Problem's: rename it.")
        self.unknown = tuple(self.unknown or ())
        for name in self.unknown:
            if name not in self.coefficients:
                raise KanExpError(
                    f"pde.unknown has {quote(name)}, which is no coefficient: set "
                    f"pde.coefficients.{name} to the value where it starts."
                )
            if self.coefficients[name] == 0:
                raise KanExpError(
                    f"pde.coefficients.{name}=0: an unknown coefficient keeps its sign: start from "
                    f"another value, such as 1."
                )
        self.weight = _positive("pde.weight", self.weight)
        self.points = _read_points(self.points)
        self.region = None if self.inside is None else self._formula("pde.inside", self.inside)
        self.frame = None
        parts = self.factor, self.offset, self.features
        if any(part is not None for part in parts):
            self.frame = Frame(self.names, self.outputs, *parts)
        self.continuation = self._read_continuation()
        self.reference: str | None = None  # the file of a table
        self.solution = self._read_exact()
        self.relations = [Relation("the interior", {}, _interior, self.weight)]
        for number, condition in enumerate(self.conditions):
            self.relations += self._read_condition(f"pde.conditions[{number}]", condition)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the network reads."""
        frame = self.frame
        return self.names if frame is None or not frame.features else frame.features.columns

    def interior(self, at: Any, *fields: Any) -> Any:
        """The residual inside, zero for a solution: a tensor, or several for several equations.

        Args:
            at: Values of the inputs, by attributes: `at.x`.
            fields: The unknown functions, see `Field`.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method interior(self, at, u).")

    @property
    def summary(self) -> str:
        """One line about the equation."""
        return type(self).__name__

    def with_coefficients(self, values: Mapping[str, Any]) -> Problem:
        """A copy in which coefficients are attributes: numbers, or tensors of one per point."""
        other = copy(self)
        for name, value in {**self.coefficients, **values}.items():
            setattr(other, name, value)
        return other

    def evaluate(
        self,
        relation: Relation,
        points: Tensor,
        derivative: Callable[[int, Key], Tensor],
        coefficients: Mapping[str, Any],
    ) -> Tensor:
        """The residuals of a relation, `(..., equations)`.

        Args:
            relation: One of `relations`.
            points: `(n, in)`.
            derivative: From the place of an unknown function and the inputs by which it is derived
                to values `(..., n)`.
            coefficients: Those that differ from `self.coefficients`.
        """
        import torch

        at = SimpleNamespace(**dict(zip(self.names, points.unbind(-1), strict=True)))
        fields = [self._field(k, derivative) for k in range(len(self.outputs))]
        values = relation.function(self.with_coefficients(coefficients), at, *fields)
        each = values if isinstance(values, list | tuple) else [values]
        like = derivative(0, ())
        return torch.stack([_as_tensor(one, like) for one in each], -1)

    def _field(self, place: int, derivative: Callable[[int, Key], Tensor]) -> Field:
        def named(name: str) -> Tensor:
            key = read_derivative(name, self.names)
            if key is None:
                raise KanExpError(
                    f"{type(self).__name__}: {self.outputs[place]}.{name} is no derivative by "
                    f"{listing(self.names)}, such as {self.outputs[place]}.d{self.names[0]}."
                )
            return derivative(place, key)

        return Field(derivative(place, ()), named)

    def _formula(self, option: str, text: Any) -> Formula:
        return Formula(text, self.names, option=option)

    def _read_condition(self, option: str, condition: Any) -> list[Relation]:
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
                    raise KanExpError(f"{option}.{name} is needed, as in {_EXAMPLE}.")
            condition = Condition(**condition)
        if not isinstance(condition, Condition):
            raise KanExpError(f"{option} must be as {_EXAMPLE}, got {quote(condition)}.")
        weight = _positive(f"{option}.weight", condition.weight)
        function = self.condition_function(f"{option}.equation", condition.equation)
        where = str(condition.on).strip()
        if where == BORDER and self.region is None:
            return [
                Relation(f"{name}={end:g}", {place: end}, function, weight)
                for place, (name, ends) in enumerate(self.ranges.items())
                for end in ends
            ]
        if where == BORDER:
            return [Relation(BORDER, {-1: 0.0}, function, weight)]
        return [Relation(where, self._read_place(f"{option}.on", where), function, weight)]

    def condition_function(self, option: str, equation: Any) -> Callable[..., Any]:
        """The function of a condition, which is called with the problem, the point and fields."""
        if not callable(equation):
            raise KanExpError(f"{option} must be a function, got {quote(equation)}.")
        return lambda problem, at, *fields: equation(at, *fields)

    def _read_place(self, option: str, where: str) -> dict[int, float]:
        fixed: dict[int, float] = {}
        for part in where.split(","):
            name, sign, text = (piece.strip() for piece in part.partition("="))
            if not sign or name not in self.names:
                hint = suggest(name, [*self.names, BORDER])
                example = f"{self.names[0]}={self.ranges[self.names[0]][0]:g}"
                raise KanExpError(
                    f"{option}={quote(where)} must be {BORDER} or as {example}, of the inputs "
                    f"{listing(self.names)}.{hint}"
                )
            value = _number_of(option, text)
            low, high = self.ranges[name]
            if not low <= value <= high:
                raise KanExpError(
                    f"{option}={quote(where)} is off the domain, where {name} is from {low:g} to "
                    f"{high:g}: set it to one of these, or change pde.inputs.{name}."
                )
            fixed[self.names.index(name)] = value
        return fixed

    def _read_continuation(self) -> dict[str, list[float]]:
        read: dict[str, list[float]] = {}
        for name, values in (self.continuation or {}).items():
            option = f"pde.continuation.{name}"
            if values is None:
                continue
            if name not in self.names and name not in self.coefficients:
                hint = suggest(name, [*self.names, *self.coefficients])
                raise KanExpError(f"{option}: there is no such input or coefficient.{hint}")
            if name in self.unknown:
                raise KanExpError(f"{option}: {name} is unknown, so that it cannot be given.")
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                raise KanExpError(f"{option} must be a list of numbers, got {quote(values)}.")
            numbers = [_number_of(f"{option}[{k}]", value) for k, value in enumerate(values)]
            last = self.ranges[name][1] if name in self.names else self.coefficients[name]
            if not math.isclose(numbers[-1], last, rel_tol=1e-9):
                raise KanExpError(
                    f"{option} must end with {last:g}, which the problem has, got {numbers[-1]:g}."
                )
            if name in self.names and not self.ranges[name][0] < min(numbers) <= max(numbers):
                low = self.ranges[name][0]
                raise KanExpError(f"{option} must be above {low:g}, where {name} begins.")
            read[name] = [*numbers[:-1], last]
        if len({len(numbers) for numbers in read.values()}) > 1:
            raise KanExpError("pde.continuation needs as many values for each name.")
        return read

    @property
    def num_continuations(self) -> int:
        """How many problems lead to the last one, at least one."""
        return max(map(len, self.continuation.values()), default=1)

    def continued(self, number: int) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
        """The ranges of the inputs and the known coefficients of the problems that lead here."""
        ranges = dict(self.ranges)
        coefficients = {n: v for n, v in self.coefficients.items() if n not in self.unknown}
        for name, values in self.continuation.items():
            if name in ranges:
                ranges[name] = ranges[name][0], values[number]
            else:
                coefficients[name] = values[number]
        return ranges, coefficients

    @property
    def has_exact(self) -> bool:
        """Whether the solution is known, as a function or at the points of a table."""
        return self.solution is not None or self.reference is not None

    def _read_exact(self) -> Callable[[Tensor], Tensor] | None:
        exact = self.exact
        if exact is None:
            return None
        if callable(exact):
            solution: Callable[[Tensor], Tensor] = exact
            return solution
        if isinstance(exact, str) and exact.strip().lower().endswith(TABLES):
            self.reference = exact.strip()
            return None
        if isinstance(exact, str | int | float):
            exact = {self.outputs[0]: str(exact)}
        if not isinstance(exact, Mapping) or {*exact} != {*self.outputs}:
            raise KanExpError(
                f"pde.exact must have a formula for each of {listing(self.outputs)}, or be a table "
                f"({listing(TABLES)}), got {quote(exact)}."
            )
        formulas = [self._formula(f"pde.exact.{n}", str(exact[n])) for n in self.outputs]

        def solve(x: Tensor) -> Tensor:
            import torch

            return torch.stack([formula(x) for formula in formulas], -1)

        return solve


_EXAMPLE = "{on: 't=0', equation: 'u - sin(x)', weight: 1}"


def _interior(problem: Problem, at: Any, *fields: Any) -> Any:
    return problem.interior(at, *fields)


def _as_tensor(value: Any, like: Tensor) -> Tensor:
    import torch

    if isinstance(value, Field):
        value = value.value
    if not isinstance(value, torch.Tensor):
        value = like.new_tensor(float(value))
    return value.expand(torch.broadcast_shapes(value.shape, like.shape))


def _number(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise KanExpError(f"{option} must be a finite number, got {quote(value)}.")
    return float(value)


def _number_of(option: str, value: Any) -> float:
    """A number, or a formula of numbers such as `pi/2`."""
    if not isinstance(value, str):
        return _number(option, value)
    import torch

    result = Formula(value, ["_"], option=option)(torch.zeros(1, 1, dtype=torch.float64))
    return _number(option, float(result))


def _positive(option: str, value: Any) -> float:
    number = _number(option, value)
    if number <= 0:
        raise KanExpError(f"{option} must be above 0, got {number:g}.")
    return number


def _read_numbers(option: str, values: Any) -> dict[str, float]:
    if not isinstance(values or {}, Mapping):
        raise KanExpError(f"{option} must have a number for each name, got {quote(values)}.")
    return {str(n): _number_of(f"{option}.{n}", v) for n, v in (values or {}).items()}


def _read_points(values: Any) -> dict[str, float]:
    if not isinstance(values or {}, Mapping):
        raise KanExpError(f"pde.points must have {listing(POINTS)}, got {quote(values)}.")
    points = {**POINTS, **{n: v for n, v in (values or {}).items() if v is not None}}
    for name, value in points.items():
        if name not in POINTS:
            raise KanExpError(f"pde.points.{name}: there is no such option.{suggest(name, POINTS)}")
        number = _number(f"pde.points.{name}", value)
        if name == "drawn_anew":
            if not 0 <= number < 1:
                raise KanExpError(f"pde.points.drawn_anew must be from 0 to below 1, got {value}.")
        elif not 1 <= number < 2**31 or number != int(number):
            bounds = "above 0 and below 2**31"
            raise KanExpError(f"pde.points.{name} must be a whole number {bounds}, got {value}.")
    return points


def _read_ranges(inputs: Any) -> dict[str, tuple[float, float]]:
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
        low, high = (_number_of(option, end) for end in pair)
        if not low < high:
            raise KanExpError(f"{option} needs a range from low to high, got [{low:g}, {high:g}].")
        ranges[str(name)] = low, high
    return ranges
