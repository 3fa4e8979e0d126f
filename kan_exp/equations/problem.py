"""A differential equation: its inputs, its residual, its conditions and its coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from numbers import Real
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from kan_exp.equations.conditions import EXAMPLE, Condition, Relation, read_condition
from kan_exp.equations.derivatives import Key
from kan_exp.equations.fields import Field
from kan_exp.equations.frame import Frame
from kan_exp.equations.reading import (
    POINTS,
    read_continuation,
    read_list,
    read_names,
    read_numbers,
    read_points,
    read_positive,
    read_ranges,
)
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets import Formula
from kan_exp.targets.derivatives import read_derivative
from kan_exp.targets.formula import check_names, quote

if TYPE_CHECKING:
    from torch import Tensor

TABLES = (".csv", ".tsv", ".parquet")  # endings of files


class Problem:
    """A differential equation with its conditions, written in Python.

    A subclass sets the attributes and defines `interior`. Arguments that are not None replace
    attributes, so that they are options of the command: `pde._target_=my_module.Burgers`. Inputs,
    coefficients and points that an argument leaves out stay those of the class.

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
        ranges, names: The inputs' ranges as numbers, and their names.
        region: `inside` as a function of points; None for a rectangle.
        frame: What factor, offset and features make of a network; None without them.
        relations: The equation inside, and what holds on the border.
        solution: `exact` as a function from points to values; None if it is a table, or unknown.
        reference: The file of the table.

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
                setattr(self, name, self._completed(name, value))
        self.ranges = read_ranges(getattr(self, "inputs", None))
        self.names = tuple(self.ranges)
        self.outputs = read_names("pde.outputs", self.outputs)
        self.coefficients = read_numbers("pde.coefficients", self.coefficients)
        everything: list[str] = [*self.names, *self.outputs, *self.coefficients]
        check_names(everything, "names of pde.inputs, outputs and coefficients")
        self.unknown = self._read_unknown()
        self.weight = read_positive("pde.weight", self.weight)
        self.points = read_points(self.points)
        self.region = None if self.inside is None else self._formula("pde.inside", self.inside)
        self.frame = None
        parts = self.factor, self.offset, self.features
        if any(part is not None for part in parts):
            self.frame = Frame(self.names, self.outputs, *parts)
        ends = {name: high for name, (_, high) in self.ranges.items()}
        self.continuation = read_continuation(
            self.continuation, self.ranges, {**ends, **self.coefficients}, self.unknown
        )
        is_file = isinstance(self.exact, str) and self.exact.strip().lower().endswith(TABLES)
        self.reference = self.exact.strip() if is_file else None
        self.solution = None if is_file or self.exact is None else self._read_exact(self.exact)
        self.relations = [Relation("the interior", {}, _interior, self.weight)]
        conditions = read_list("pde.conditions", self.conditions, EXAMPLE)
        for number, condition in enumerate(conditions):
            self.relations += read_condition(
                f"pde.conditions[{number}]",
                condition,
                self.ranges,
                self.region is None,
                self.condition_function,
            )
        for name in self.coefficients:  # which will be attributes, see `with_coefficients`
            if hasattr(self, name):
                raise KanExpError(
                    f"pde.coefficients: {name} is a name of {type(self).__name__}'s: rename it."
                )

    def _completed(self, name: str, value: Any) -> Any:
        """An option, with what the class says about the names that it leaves out."""
        inherited: Any = getattr(type(self), name, None)
        if not isinstance(inherited, Mapping) or not isinstance(value, Mapping):
            return value
        if name not in ("inputs", "coefficients", "points"):
            return value
        given = {n: v for n, v in value.items() if v is not None or n not in inherited}
        return {**inherited, **given}

    def _read_unknown(self) -> tuple[str, ...]:
        unknown = read_names("pde.unknown", self.unknown)
        for name in unknown:
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
        return unknown

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

        at = _At(**dict(zip(self.names, points.unbind(-1), strict=True)))
        fields = [self._field(k, derivative) for k in range(len(self.outputs))]
        values = relation.function(self.with_coefficients(coefficients), at, *fields)
        each = values if isinstance(values, list | tuple) else [values]
        if not each:
            raise ValueError("it must return a tensor, or several, got none")
        like = derivative(0, ())
        return torch.stack([_as_tensor(one, like) for one in each], -1)

    def _field(self, place: int, derivative: Callable[[int, Key], Tensor]) -> Field:
        def named(name: str) -> Tensor:
            key = read_derivative(name, self.names)
            if key is None:
                field = self.outputs[place]
                raise KanExpError(
                    f"{type(self).__name__}: {field}.{name} is no derivative by "
                    f"{listing(self.names)}, such as {field}.d{self.names[0]}; functions are those "
                    f"of torch, such as torch.sin({field})."
                )
            return derivative(place, key)

        return Field(derivative(place, ()), named)

    def _formula(self, option: str, text: Any) -> Formula:
        return Formula(text, self.names, option=option)

    def condition_function(self, option: str, equation: Any) -> Callable[..., Any]:
        """The function of a condition, which is called with the problem, the point and fields."""
        if not callable(equation):
            raise KanExpError(f"{option} must be a function, got {quote(equation)}.")
        return lambda problem, at, *fields: equation(at, *fields)

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

    def _read_exact(self, exact: Any) -> Callable[[Tensor], Any]:
        if callable(exact):
            names = tuple(getattr(exact, "outputs", self.outputs))
            if names != self.outputs:
                raise KanExpError(
                    f"pde.exact has the functions {listing(names)}, the problem "
                    f"{listing(self.outputs)}: write the same in the same order."
                )
            return cast("Callable[[Tensor], Any]", exact)
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


def check_problem(problem: Any) -> None:
    """Raises a `KanExpError` unless this is a problem whose `__init__` was called."""
    kind = type(problem).__name__
    if not isinstance(problem, Problem):
        raise KanExpError(f"pde must be a kan_exp.equations.Problem, got {kind}: choose pde=...")
    if not hasattr(problem, "relations"):
        raise KanExpError(f"pde: {kind}.__init__ must call super().__init__(**options).")


class _At(SimpleNamespace):
    """Values of the inputs, by attributes."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the inputs are {listing(vars(self))}, of which at.{name} is none")


def _interior(problem: Problem, at: Any, *fields: Any) -> Any:
    return problem.interior(at, *fields)


def _as_tensor(value: Any, like: Tensor) -> Tensor:
    """A residual at each point, where a function may return one number for all."""
    import torch

    if isinstance(value, Field):
        value = value.value
    if isinstance(value, Real):
        value = like.new_tensor(float(value))
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"it must return a tensor, or several, got {type(value).__name__}")
    if value.ndim > like.ndim or (value.requires_grad and value.shape[-1:] != like.shape[-1:]):
        raise ValueError(
            f"it must return one value for each of {like.shape[-1]} points, got a tensor of shape "
            f"{tuple(value.shape)}; several equations are a list"
        )
    return value.expand(like.shape)
