"""Dimensions of formulas: whether they are consistent, and which units their constants carry.

A free constant may carry any unit, as those of PySR do; exact numbers have none. Terms of a sum
have the same dimension, arguments of functions and exponents have none. This is a system of linear
equations: the unknowns are the dimensions of constants, and of inputs whose unit is not known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from kan_exp.symbolic.expression import Call, Constant, Expression, Input, Power, Product, Sum

# Exponents of the base dimensions.
Dimension = tuple[Fraction, ...]
# Of a constant by its place among all constants, of an input by its column, of a logarithm.
_Unknown = tuple[str, int]

_DENOMINATOR = 10_000  # largest one of an exponent that is fitted


class _Form(NamedTuple):
    """A dimension: `known`, and multiples of unknown ones."""

    known: Dimension
    unknown: dict[_Unknown, Fraction]

    def plus(self, other: _Form, times: Fraction) -> _Form:
        known = tuple(a + times * b for a, b in zip(self.known, other.known, strict=True))
        unknown = dict(self.unknown)
        for key, value in other.unknown.items():
            unknown[key] = unknown.get(key, Fraction(0)) + times * value
        return _Form(known, {key: value for key, value in unknown.items() if value})


@dataclass(frozen=True)
class Dimensions:
    """What is known of the units of a problem."""

    inputs: tuple[Dimension | None, ...]  # of each column of x; None where it is not known
    target: Dimension | None = None  # dimension of y; None if it is not known
    is_logarithm: bool = False  # whether y is the logarithm of what has the dimension `target`

    def allow(self, expression: Expression) -> bool:
        """Whether a formula of y is consistent, with units of its free constants."""
        return _Equations(self, expression).solved() is not None

    def of_power(self, exponent: Fraction | None) -> Dimension | None:
        """Of a power of y, or, without an exponent, of a function that takes and gives numbers."""
        if self.target is None or (exponent is None and any(self.target)):
            return None
        return tuple(part * (exponent or 0) for part in self.target)

    def has_units(self, expression: Expression) -> bool:
        """Whether an expression of the inputs is consistent, of whatever dimension."""
        return Dimensions(self.inputs).allow(expression)

    def constants(self, expression: Expression) -> list[Dimension] | None:
        """Dimensions of a formula's free constants, in their order; None if it is inconsistent."""
        equations = _Equations(self, expression)
        if (solved := equations.solved()) is None:
            return None
        none = (Fraction(0),) * equations.width
        return [
            solved.get(("constant", place), none)
            for place, constant in enumerate(equations.numbers)
            if constant.free
        ]

    def freed(self, expression: Expression) -> Expression | None:
        """The formula with those numbers free that must carry a unit; None if it is inconsistent.

        A number that carries a unit is a measured one: it is simple in some system of units only.
        A factor of 1, which is not written, carries none.
        """
        if self.allow(expression):
            return expression
        equations = _Equations(self, expression, freeing=True)
        if equations.solved() is None:
            return None
        places = [place for place, one in enumerate(equations.numbers) if not one.free]
        # The simplest numbers stay, as far as they can.
        for place in sorted(places, key=lambda place: _size(equations.numbers[place])):
            equations.conditions.append(equations.unknown("constant", place))  # carries no unit
            if equations.solved() is None:
                equations.conditions.pop()
                equations.numbers[place] = Constant(equations.numbers[place].value)
        numbers = iter(equations.numbers)
        return expression.replaced(
            lambda node: next(numbers) if isinstance(node, Constant) else None
        )

    def dimension(self, expression: Expression) -> Dimension | None:
        """Of a formula of the inputs; None if it is inconsistent, or depends on unknown ones."""
        equations = _Equations(Dimensions(self.inputs), expression)
        if equations.solved() is None or equations.form.unknown:
            return None
        return equations.form.known

    def smaller(self, variables: Sequence[Expression], factor: Expression) -> Dimensions:
        """Those of a problem in other variables, whose target is y divided by `factor`."""
        inputs = tuple(map(self.dimension, variables))
        divisor = self.dimension(factor)
        target = None
        if self.target is not None and divisor is not None and not self.is_logarithm:
            target = tuple(a - b for a, b in zip(self.target, divisor, strict=True))
        return Dimensions(inputs, target)


def _size(constant: Constant) -> int:
    fraction = constant.fraction or Fraction(0)
    return abs(fraction.numerator) * fraction.denominator


class _Equations:
    """The conditions under which a formula is consistent.

    Attributes:
        conditions: Dimensions that must be none.
        numbers: All constants, in the order of `walk`.
        form: Dimension of the formula.
    """

    def __init__(
        self, dimensions: Dimensions, expression: Expression, freeing: bool = False
    ) -> None:
        known = [one for one in (*dimensions.inputs, dimensions.target) if one is not None]
        self.dimensions, self.freeing = dimensions, freeing
        self.width = len(known[0]) if known else 0
        self.none = _Form((Fraction(0),) * self.width, {})
        self.conditions: list[_Form] = []
        self.numbers: list[Constant] = []
        self._logarithms = itertools.count()
        self.form, charge = self._visit(expression)
        target = self.none if dimensions.target is None else _Form(dimensions.target, {})
        if dimensions.is_logarithm:
            self._require(self.form)
            if dimensions.target is not None:
                self._require(charge.plus(target, Fraction(-1)))
        else:
            self._require(charge)
            if dimensions.target is not None:
                self._require(self.form.plus(target, Fraction(-1)))

    def _require(self, form: _Form) -> None:
        if form.unknown or any(form.known):
            self.conditions.append(form)

    def _visit(self, node: Expression, may_carry: bool = False) -> tuple[_Form, _Form]:
        """Dimension of a node, and that of which it is the logarithm, as `log(x)` is of x."""
        if isinstance(node, Constant):
            return self._constant(node, may_carry), self.none
        if isinstance(node, Input):
            if (known := self.dimensions.inputs[node.index]) is not None:
                return _Form(known, {}), self.none
            return self.unknown("input", node.index), self.none
        carries = isinstance(node, Sum | Product)
        below = [self._visit(child, carries) for child in node.children()]
        match node:
            case Sum():
                return self._sum(node, below)
            case Product():
                return self._product(node, below)
            case Power():
                return self._power(node, below), self.none
            case Call("log"):
                self._require(below[0][1])
                return self.none, below[0][0]
            case Call("abs"):
                self._require(below[0][1])
                return below[0][0], self.none
            case Call("exp"):
                self._require(below[0][0])
                return below[0][1], self.none
        self._require(below[0][0])
        self._require(below[0][1])
        return self.none, self.none

    def _constant(self, node: Constant, may_carry: bool) -> _Form:
        place = len(self.numbers)
        self.numbers.append(node)
        is_one = abs(node.value) == 1 and not node.free
        freed = self.freeing and may_carry and not is_one
        if node.free or freed or node.value == 0:
            return self.unknown("constant", place)
        return self.none

    def unknown(self, kind: str, number: int) -> _Form:
        return _Form(self.none.known, {(kind, number): Fraction(1)})

    def _sum(self, node: Sum, below: list[tuple[_Form, _Form]]) -> tuple[_Form, _Form]:
        total = self.none
        for form, charge in below:
            self._require(form.plus(below[0][0], Fraction(-1)))
            total = total.plus(charge, Fraction(1))
        # `log(x) + c` is the logarithm of x in some unit.
        if total != self.none and any(
            isinstance(term, Constant) and (term.free or self.freeing) for term in node.terms
        ):
            total = total.plus(self.unknown("log", next(self._logarithms)), Fraction(1))
        return below[0][0], total

    def _product(self, node: Product, below: list[tuple[_Form, _Form]]) -> tuple[_Form, _Form]:
        form = self.none
        for factor, _ in below:
            form = form.plus(factor, Fraction(1))
        others = [one for one in node.factors if not isinstance(one, Constant)]
        charges = [charge for _, charge in below if charge != self.none]
        if len(others) == 1 and charges:
            scale = Fraction(1)
            for one in node.factors:
                scale *= _exponent(one) if isinstance(one, Constant) else 1
            return form, self.none.plus(charges[0], scale)
        for charge in charges:
            self._require(charge)
        return form, self.none

    def _power(self, node: Power, below: list[tuple[_Form, _Form]]) -> _Form:
        (base, charge), (exponent, other) = below
        self._require(charge)
        self._require(other)
        if isinstance(node.exponent, Constant):
            return self.none.plus(base, _exponent(node.exponent))
        self._require(base)
        self._require(exponent)
        return self.none

    def solved(self) -> dict[_Unknown, Dimension] | None:
        """Dimensions of the unknowns that meet all conditions; None if there are none."""
        rows: list[tuple[_Unknown, _Form]] = []
        for form in self.conditions:
            for key, row in rows:
                if key in form.unknown:
                    form = form.plus(row, -form.unknown[key])
            if not form.unknown:
                if any(form.known):
                    return None
                continue
            key = next(iter(form.unknown))
            row = self.none.plus(form, 1 / form.unknown[key])
            rows = [
                (other, done.plus(row, -done.unknown.get(key, Fraction(0)))) for other, done in rows
            ]
            rows.append((key, row))
        return {key: tuple(-one for one in row.known) for key, row in rows}


def _exponent(constant: Constant) -> Fraction:
    if constant.fraction is not None and constant.unit == "1":
        return constant.fraction
    if not math.isfinite(constant.value):
        return Fraction(0)
    return Fraction(constant.value).limit_denominator(_DENOMINATOR)
