"""Exact rewriting of formulas: like terms are merged, scales are pulled out.

The rules hold for real values on the rows given, which tell where a base is positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from kan_exp.symbolic.expression import (
    Array,
    Call,
    Constant,
    Expression,
    Power,
    Product,
    Sum,
    exact,
    product_of,
    sum_of,
)
from kan_exp.symbolic.numbers import (
    ONE,
    ZERO,
    absolute,
    float_power,
    logarithm,
    plus,
    raised,
    times,
)

_ODD = {"sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf"}
_EVEN = {"cos", "cosh", "abs"}


def normal(expression: Expression, x: Array) -> Expression:
    """The same values on `x` `(n, in)`, in a form in which few free constants are redundant.

    Scales leave powers, logarithms and products of sums; shifts leave exponentials; phases of sine
    and cosine lie within pi/4 of 0; sums and products are flat, with one constant each.
    """
    return NormalForm(x).of(expression)


def terms_of(node: Expression) -> tuple[Expression, ...]:
    """The terms of a sum; the node itself if it is none."""
    return node.terms if isinstance(node, Sum) else (node,)


def factors_of(node: Expression) -> tuple[Expression, ...]:
    """The factors of a product; the node itself if it is none."""
    return node.factors if isinstance(node, Product) else (node,)


def powers(term: Expression) -> dict[Expression, Fraction]:
    """Bases and exact exponents of a term's factors."""
    found: dict[Expression, Fraction] = {}
    for factor in factors_of(term):
        match factor:
            case Power(base, Constant(fraction=Fraction() as fraction, unit="1")):
                found[base] = found.get(base, Fraction(0)) + fraction
            case _:
                found[factor] = found.get(factor, Fraction(0)) + 1
    found.pop(ONE, None)
    return found


def inward(expression: Expression) -> Iterator[Expression]:
    """The same values, with one free factor or term moved into the function beside it.

    A factor into the power of a sum or into `exp`, a term into `log`.
    """
    return expression.alternatives(_inward)


def _inward(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, Sum):
        yield from _into_log(expression)
    coefficient, rest = split(expression)
    if not coefficient.free or rest == ONE or not coefficient.value:
        return
    factors = factors_of(rest)
    sign, size = math.copysign(1, coefficient.value), abs(coefficient.value)
    for place, factor in enumerate(factors):
        match factor:
            case Call("exp", argument):
                inner = Sum((*terms_of(argument), Constant(math.log(size))))
                moved: Expression = Call("exp", inner)
            case Power(Sum() as base, Constant(value) as exponent) if value:
                moved = Power(multiplied(base, Constant(float_power(size, 1 / value))), exponent)
            case _:
                continue
        together = product_of((*factors[:place], moved, *factors[place + 1 :]))
        yield scaled(exact(sign), together)


def _into_log(node: Sum) -> Iterator[Expression]:
    shift = next((term for term in node.terms if isinstance(term, Constant) and term.free), None)
    for place, term in enumerate(node.terms):
        coefficient, rest = split(term)
        match rest:
            case Call("log", Sum() as argument) if shift is not None and coefficient.value:
                size = float_power(math.e, shift.value / coefficient.value)
                log = Call("log", multiplied(argument, Constant(size)))
                others = [*node.terms[:place], scaled(coefficient, log), *node.terms[place + 1 :]]
                yield sum_of(other for other in others if other is not shift)


def multiplied(node: Expression, factor: Constant) -> Expression:
    """A normal sum, or another term, whose coefficients are multiplied by a number."""
    parts = map(split, terms_of(node))
    return sum_of(scaled(times(factor, own), part) for own, part in parts)


def _whole(exponent: Expression) -> bool:
    match exponent:
        case Constant(fraction=Fraction(denominator=1), unit="1"):
            return True
    return False


def split(term: Expression) -> tuple[Constant, Expression]:
    """A normal term as coefficient times rest."""
    match term:
        case Constant():
            return term, ONE
        case Product((Constant() as coefficient, *rest)):
            return coefficient, product_of(rest)
    return ONE, term


def scaled(coefficient: Constant, rest: Expression) -> Expression:
    """Coefficient times a normal term without one."""
    if coefficient.value == 0 and not coefficient.free:
        return ZERO
    if rest == ONE:
        return coefficient
    if coefficient == ONE:
        return rest
    return Product((coefficient, *factors_of(rest)))


def _order(node: Expression) -> tuple[bool, tuple[int, ...], int, str]:
    return isinstance(node, Constant), node.inputs, node.complexity, repr(node)


class NormalForm:
    """Normal forms on rows of data."""

    def __init__(self, x: Array) -> None:
        self.x = x

    def of(self, node: Expression) -> Expression:
        match node:
            case Sum(terms):
                return self.sum(map(self.of, terms))
            case Product(factors):
                return self.product(map(self.of, factors))
            case Power(base, exponent):
                return self.power(self.of(base), self.of(exponent))
            case Call(function, argument):
                return self._call(function, self.of(argument))
        return node

    def _positive(self, node: Expression) -> bool:
        """Whether it is nowhere negative on the rows."""
        match node:
            case Call("exp" | "cosh" | "abs"):
                return True
            case Power(_, Constant(fraction=Fraction(denominator=1, numerator=n))) if n % 2 == 0:
                return True
        return bool((node(self.x) >= 0).all())

    def _negative(self, node: Expression) -> bool:
        return bool((node(self.x) < 0).all())

    def sum(self, terms: Iterable[Expression]) -> Expression:
        merged: dict[Expression, Constant] = {}
        for term in terms:
            for part in terms_of(term):
                coefficient, rest = split(part)
                if rest in merged:
                    coefficient = plus(merged[rest], coefficient)
                merged[rest] = coefficient
        for rest in list(merged):
            self._pythagoras(merged, rest)
        kept = [scaled(coefficient, rest) for rest, coefficient in merged.items()]
        return sum_of(sorted((term for term in kept if term != ZERO), key=_order))

    def _pythagoras(self, merged: dict[Expression, Constant], rest: Expression) -> None:
        """`c - c sin**2` becomes `c cos**2` and the reverse, also times other factors."""
        for factor in factors_of(rest):
            match factor:
                case Power(Call("sin" | "cos" as function, argument), power) if power == exact(2):
                    other = self.product((rest, Power(factor.children()[0], exact(-2))))
                    if other in merged and merged[other].value == -merged[rest].value:
                        swapped = Call("cos" if function == "sin" else "sin", argument) ** 2
                        new = self.product((other, swapped))
                        if new not in merged:
                            merged[new] = merged[other]
                            merged[other] = merged[rest] = ZERO
                            return

    def _leading(self, node: Sum) -> Constant:
        """The coefficient that is pulled out of a sum: 1 if a term has it, or its largest term's.

        A term without inputs, or one that does not matter, is not the one to be set to 1.
        """
        coefficients, sizes = [], []
        for term in node.terms:
            coefficient, _ = split(term)
            size = float(np.abs(term(self.x)).mean())
            coefficients.append(coefficient)
            sizes.append(size if np.isfinite(size) else 0.0)
        for coefficient, size in zip(coefficients, sizes, strict=True):
            one = not coefficient.free and abs(coefficient.value) == 1
            if one and size >= 1e-3 * max(sizes):
                return ONE
        weighed = [
            size * (0.01 if term.inputs == () else 1.0)
            for term, size in zip(node.terms, sizes, strict=True)
        ]
        return coefficients[int(np.argmax(weighed))]

    def _divided(self, node: Sum, by: Constant) -> Expression:
        inverse = raised(by, exact(-1))
        terms = []
        for term in node.terms:
            coefficient, rest = split(term)
            coefficient = ONE if coefficient is by else times(coefficient, inverse)
            terms.append(scaled(coefficient, rest))
        return Sum(tuple(terms))

    def _out(self, node: Expression, signed: bool) -> tuple[Constant, Expression]:
        """Pulls a coefficient out of a term or a sum; a positive one unless `signed`."""
        if isinstance(node, Sum):
            leading = self._leading(node)
            if leading == ONE or not leading.value:
                return ONE, node
            if not signed and leading.value < 0:
                divided = self._divided(node, leading)
                assert isinstance(divided, Sum)
                return times(exact(-1), leading), self._divided(divided, exact(-1))
            return leading, self._divided(node, leading)
        coefficient, rest = split(node)
        if rest == ONE or not coefficient.value:
            return ONE, node
        if not signed and coefficient.value < 0:
            return times(exact(-1), coefficient), scaled(exact(-1), rest)
        return coefficient, rest

    def product(self, factors: Iterable[Expression]) -> Expression:
        coefficient = ONE
        powers: dict[Expression, Expression] = {}
        inside: list[Expression] = []
        for factor in factors:
            for part in factors_of(factor):
                match part:
                    case Constant():
                        coefficient = times(coefficient, part)
                        continue
                    case Call("exp", argument):
                        inside.append(argument)
                        continue
                    case Power(base, exponent):
                        pass
                    case _:
                        base, exponent = part, ONE
                powers[base] = self.sum((powers[base], exponent)) if base in powers else exponent
        parts: list[Expression] = []
        for base, exponent in powers.items():
            if isinstance(base, Sum) and exponent == ONE and (len(powers) > 1 or inside):
                scale, base = self._out(base, signed=True)
                coefficient = times(coefficient, scale)
            part = self.power(base, exponent)
            scale, rest = split(part)
            coefficient = times(coefficient, scale)
            parts += factors_of(rest)
        if inside:
            scale, rest = split(self._call("exp", self.sum(inside)))
            coefficient = times(coefficient, scale)
            parts.append(rest)
        parts = sorted((part for part in parts if part != ONE), key=_order)
        if len(parts) == 1 and isinstance(parts[0], Sum) and coefficient != ONE:
            # Coefficient times sum alone: the coefficients are the sum's.
            return self.sum(terms_of(multiplied(parts[0], coefficient)))
        return scaled(coefficient, product_of(parts))

    def power(self, base: Expression, exponent: Expression) -> Expression:
        if not isinstance(exponent, Constant):
            return Power(base, exponent)
        whole = _whole(exponent)
        if exponent == ONE:
            return base
        if exponent == ZERO:
            return ONE
        even = whole and exponent.value % 2 == 0
        match base:
            case Constant() if base.value > 0 or (whole and base.value):
                return raised(base, exponent)
            case Call("exp", argument):
                return self._call("exp", self.product((exponent, argument)))
            case Call("abs", argument) if even:
                return self.power(argument, exponent)
            case Power(inner, power) if isinstance(power, Constant):
                if (whole and _whole(power)) or self._positive(inner):
                    return self.power(inner, times(power, exponent))
                if _whole(power) and power.value % 2 == 0:
                    return self.power(self._call("abs", inner), times(power, exponent))
                if whole:
                    return self.power(inner, times(power, exponent))
        scale, rest = self._out(base, signed=whole)
        match split(rest):
            case Constant(-1.0), Power(Sum() as inner, Constant() as power) if (
                not whole and _whole(power) and power.value % 2
            ):
                # An odd power: the sign goes into the sum.
                inverse = Power(self.product((exact(-1), inner)), power)
                return self.product((raised(scale, exponent), self.power(inverse, exponent)))
        if scale != ONE and not isinstance(rest, Sum):
            return self.product((raised(scale, exponent), self.power(rest, exponent)))
        scale = raised(scale, exponent)
        if isinstance(rest, Product) and len(powers(split(rest)[1])) > 1:
            out: list[Expression] = []
            kept: list[Expression] = []
            for factor in rest.factors:
                if whole or self._positive(factor):
                    out.append(self.power(factor, exponent))
                elif not isinstance(factor, Constant) and self._negative(factor):
                    kept.append(exact(-1))
                    out.append(self.power(self.product((exact(-1), factor)), exponent))
                else:
                    kept.append(factor)
            if out:
                left = self.product(kept) if kept else ONE
                return self.product((scale, *out, self.power(left, exponent)))
        return scaled(scale, Power(rest, exponent))

    def _call(self, function: str, argument: Expression) -> Expression:
        if isinstance(argument, Constant):
            return Call(function, argument)
        if isinstance(argument, Sum) or argument == ONE:
            shift = next((term for term in argument.children() if isinstance(term, Constant)), None)
        else:
            shift = None
        if function == "exp":
            if shift is not None and shift.free and abs(shift.value) < 300:
                rest = self.sum(term for term in argument.children() if term is not shift)
                return scaled(Constant(math.exp(shift.value)), Call("exp", rest))
            if isinstance(argument, Call) and argument.function == "log":
                return argument.argument
        if function == "log":
            return self._log(argument)
        if function in {"sin", "cos"} and shift is not None and shift.free:
            turns = round(shift.value / (math.pi / 2))
            rest = self.sum(term for term in argument.children() if term is not shift)
            argument = self.sum((rest, Constant(shift.value - turns * math.pi / 2)))
            quarter = (turns + (function == "cos")) % 4
            function = "sin" if quarter % 2 == 0 else "cos"
            result = self._call_signed(function, argument)
            return self.product((exact(-1), result)) if quarter >= 2 else result
        return self._call_signed(function, argument)

    def _call_signed(self, function: str, argument: Expression) -> Expression:
        """Odd and even functions: the sign of the first coefficient leaves the argument."""
        if function == "abs":
            scale, argument = self._out(argument, signed=True)
            if self._positive(argument):
                return self.product((absolute(scale), argument))
            if self._negative(argument):
                return self.product((exact(-1), absolute(scale), argument))
            return scaled(absolute(scale), Call("abs", argument))
        if function in _ODD | _EVEN:
            first = argument.children()[0] if isinstance(argument, Sum) else argument
            if split(first)[0].value < 0:
                argument = self.product((exact(-1), argument))
                result = Call(function, argument)
                return scaled(exact(-1), result) if function in _ODD else result
        return Call(function, argument)

    def _log(self, argument: Expression) -> Expression:
        match argument:
            case Call("exp", inner):
                return inner
            case Power(base, exponent) if isinstance(exponent, Constant) and self._positive(base):
                return self.product((exponent, self._call("log", base)))
        scale, rest = self._out(argument, signed=False)
        if scale == ONE:
            return Call("log", rest)
        return self.sum((self._call("log", rest), logarithm(scale)))
