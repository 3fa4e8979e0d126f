"""Functions of functions as formulas, with no more free constants than the values depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kan_exp.symbolic.expression import (
    Call,
    Constant,
    Expression,
    Input,
    Power,
    Product,
    exact,
    product_of,
    sum_of,
)


@dataclass(frozen=True)
class Linear:
    """A sum of expressions, each times a number, and a number."""

    terms: tuple[tuple[float, Expression], ...]
    shift: float = 0.0

    def scaled(self, factor: float, shift: float = 0.0) -> Linear:
        terms = tuple((factor * scale, term) for scale, term in self.terms)
        return Linear(terms, factor * self.shift + shift)

    @property
    def expression(self) -> Expression:
        """The sum as a formula in which every number is a free constant."""
        terms: list[Expression] = [
            Product((Constant(scale), term)) if scale != 1 else term for scale, term in self.terms
        ]
        if self.shift != 0:
            terms.append(Constant(self.shift))
        return sum_of(terms)

    def normalized(self) -> tuple[float, Expression]:
        """A positive number and a formula, whose first term has no free factor, of this product."""
        (first, leading), *others = self.terms
        size = max(abs(first), 1e-300)
        terms = [leading if first > 0 else Product((exact(-1), leading))]
        terms += [Product((Constant(scale / size), term)) for scale, term in others]
        if self.shift != 0:
            terms.append(Constant(self.shift / size))
        return size, sum_of(terms)


def added(parts: Sequence[Linear]) -> Linear:
    """The sum of linear forms."""
    terms = tuple(term for part in parts for term in part.terms)
    return Linear(terms, sum(part.shift for part in parts))


def multiplied(parts: Sequence[Linear]) -> Linear:
    """The product of linear forms, its scale as one number."""
    scale, factors = 1.0, []
    for part in parts:
        if not part.terms:
            scale *= part.shift
            continue
        size, factor = part.normalized()
        scale *= size
        if isinstance(factor, Product) and factor.factors[0] == exact(-1):
            scale, factor = -scale, factor.factors[1]
        factors.append(factor)
    return Linear(((scale, product_of(factors)),)) if factors else Linear((), scale)


def applied(function: Expression, argument: Linear) -> Linear:
    """A function of one argument, of a linear form.

    Where a change of the argument's scale or shift is one of the value's, only one is free.
    """
    if function == Input(0):
        return argument
    if not argument.terms:
        return Linear((), float(function(np.full((1, 1), argument.shift))[0]))
    match function:
        case Power(Input(), Constant(exponent)):
            size, inner = argument.normalized()
            return Linear(((float(np.power(size, exponent)), Power(inner, function.exponent)),))
        case Call("abs", Input()):
            size, inner = argument.normalized()
            return Linear(((size, Call("abs", inner)),))
        case Call("log", Input()):
            size, inner = argument.normalized()
            return Linear(((1.0, Call("log", inner)),), math.log(size))
        case Call("exp", Input()):
            scale = 1.0
            if abs(argument.shift) < 100:
                scale, argument = math.exp(argument.shift), replace(argument, shift=0.0)
            return Linear(((scale, _exponential(argument)),))
    return Linear(((1.0, function.substituted([argument.expression])),))


def _exponential(argument: Linear) -> Expression:
    """exp of a linear form: the logarithms in it become powers."""
    powers: list[Expression] = []
    rest = []
    for scale, term in argument.terms:
        if isinstance(term, Call) and term.function == "log":
            powers.append(Power(term.argument, Constant(scale)))
        else:
            rest.append((scale, term))
    if rest or argument.shift != 0:
        powers.append(Call("exp", Linear(tuple(rest), argument.shift).expression))
    return product_of(powers)
