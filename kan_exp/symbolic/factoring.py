"""Sums of exact formulas in front of which stands what their terms share."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

from kan_exp.symbolic.algebra import Rows, powers, raised, rational, scaled, split, times
from kan_exp.symbolic.expression import (
    Array,
    Call,
    Constant,
    Expression,
    Power,
    Product,
    Sum,
    exact,
)

_ONE = exact(1)


def factored(expression: Expression, x: Array) -> Expression:
    """The same values on `x` `(n, in)`: common factors of sums in front, squares complete.

    In products and powers, sums have whole coefficients without a common divisor.
    """
    return _visited(expression, Rows(x))


def _visited(node: Expression, rows: Rows) -> Expression:
    below = [_visited(child, rows) for child in node.children()]
    node = node.rebuilt(below)
    match node:
        case Sum():
            node = _logarithms(node)
            return _common(node) if isinstance(node, Sum) else node
        case Power(Product() as base, Constant() as exponent):
            return _whole(rows.power(base, exponent))
        case Power(Power() as base, Constant() as exponent):
            return rows.power(base, exponent)
        case Product() | Power():
            return _whole(node)
    return node


def _common(node: Sum) -> Expression:
    parts = [split(term) for term in node.terms]
    powers_ = [powers(rest) for _, rest in parts]
    shared: dict[Expression, Fraction] = {}
    for base in powers_[0]:
        exponents = [other.get(base, Fraction(0)) for other in powers_]
        if min(exponents) * max(exponents) > 0:
            shared[base] = min(exponents) if min(exponents) > 0 else max(exponents)
    first = parts[0][0]
    same = all(not own.free and abs(own.value) == abs(first.value) for own, _ in parts)
    if not shared and (not same or abs(first.value) == 1):
        return _square(node)
    terms = []
    for (own, _), power in zip(parts, powers_, strict=True):
        rest = _together({base: power[base] - shared.get(base, 0) for base in power})
        terms.append(scaled(exact(math.copysign(1, own.value)) if same else own, rest))
    inner = _square(Sum(tuple(terms)))
    outer = _together(shared)
    result = inner if outer == _ONE else Product((*_factors(outer), *_factors(inner)))
    return scaled(times(first, exact(math.copysign(1, first.value))), result) if same else result


def _factors(node: Expression) -> tuple[Expression, ...]:
    return node.factors if isinstance(node, Product) else (node,)


def _together(powers_: dict[Expression, Fraction]) -> Expression:
    factors = [
        base if exponent == 1 else Power(base, rational(exponent))
        for base, exponent in powers_.items()
        if exponent
    ]
    if not factors:
        return _ONE
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _square(node: Sum) -> Expression:
    """`a**2 + 2 a b + b**2` becomes `(a + b)**2`; other sums stay."""
    if len(node.terms) != 3:
        return node
    parts = [(own, powers(rest)) for own, rest in map(split, node.terms)]
    for first, second in itertools.combinations(range(3), 2):
        (cross, mixed) = parts[3 - first - second]
        roots = []
        for own, power in (parts[first], parts[second]):
            root = raised(own, exact(0.5)) if own.value > 0 else own
            if root.free or any(p % 2 or p <= 0 for p in power.values()):
                break
            roots.append((root, {base: p / 2 for base, p in power.items()}))
        if len(roots) < 2:
            continue
        (one, bases), (other, more) = roots
        both = {base: bases.get(base, Fraction(0)) + more.get(base, 0) for base in bases | more}
        double = times(exact(2), times(one, other))
        if both == mixed and not cross.free and abs(cross.value) == double.value:
            sign = exact(math.copysign(1, cross.value))
            terms = scaled(one, _together(bases)), scaled(times(sign, other), _together(more))
            return Sum(terms) ** 2
    return node


def _whole(node: Expression) -> Expression:
    """Denominators of a sum's coefficients leave it, where the number outside stays exact."""
    coefficient, rest = split(node)
    if coefficient.free:
        return node
    coefficient, rest = _rooted(*_signed(coefficient, rest))
    factors: list[Expression] = []
    for factor in _factors(rest):
        base, exponent = factor.children() if isinstance(factor, Power) else (factor, _ONE)
        content = _content(base) if isinstance(base, Sum) else _ONE
        if content != _ONE and isinstance(exponent, Constant):
            outside = raised(content, exponent)
            if not outside.free and not times(coefficient, outside).free:
                coefficient = times(coefficient, outside)
                terms = [split(term) for term in base.children()]
                inverse = raised(content, exact(-1))
                base = Sum(tuple(scaled(times(own, inverse), part) for own, part in terms))
                factor = base if exponent == _ONE else Power(base, exponent)
        factors.append(factor)
    return scaled(coefficient, factors[0] if len(factors) == 1 else Product(tuple(factors)))


def _signed(coefficient: Constant, rest: Expression) -> tuple[Constant, Expression]:
    """A negative coefficient turns the signs of a sum, if half of them or more are negative."""
    factors = list(_factors(rest))
    for place, factor in enumerate(factors):
        base, exponent = factor.children() if isinstance(factor, Power) else (factor, _ONE)
        odd = isinstance(exponent, Constant) and exponent.value % 2 == 1
        if coefficient.value < 0 and odd and isinstance(base, Sum):
            parts = [split(term) for term in base.terms]
            if 2 * sum(own.value < 0 for own, _ in parts) >= len(parts):
                turned = Sum(tuple(scaled(times(exact(-1), own), part) for own, part in parts))
                factors[place] = turned if exponent == _ONE else Power(turned, exponent)
                coefficient = times(exact(-1), coefficient)
    return coefficient, factors[0] if len(factors) == 1 else Product(tuple(factors))


def _rooted(coefficient: Constant, rest: Expression) -> tuple[Constant, Expression]:
    """A coefficient such as `sqrt(3)` goes into the root of a sum beside it."""
    square = times(coefficient, coefficient)
    factors = list(_factors(rest))
    for place, factor in enumerate(factors):
        match factor:
            case Power(Sum(terms), exponent) if exponent == exact(0.5) and not square.free:
                parts = [(times(square, own), part) for own, part in map(split, terms)]
                if coefficient.unit != "1" and not any(own.free for own, _ in parts):
                    factors[place] = Sum(tuple(scaled(*pair) for pair in parts)) ** exact(0.5)
                    sign = exact(math.copysign(1, coefficient.value))
                    return sign, factors[0] if len(factors) == 1 else Product(tuple(factors))
    return coefficient, rest


def _logarithms(node: Sum) -> Expression:
    """`k log(2) + log(a)` becomes `log(2**k a)`."""
    shift = next((term for term in node.terms if isinstance(term, Constant)), None)
    if shift is None or shift.unit != "log(2)" or shift.fraction is None:
        return node
    for place, term in enumerate(node.terms):
        match split(term):
            case (
                Constant(fraction=Fraction() as own, unit="1") as outside,
                Call("log", argument),
            ) if (shift.fraction / own).denominator == 1 and abs(shift.fraction / own) < 1000:
                factor = rational(Fraction(2) ** int(shift.fraction / own))
                terms = argument.terms if isinstance(argument, Sum) else (argument,)
                moved = [scaled(times(factor, one), part) for one, part in map(split, terms)]
                inner = moved[0] if len(moved) == 1 else Sum(tuple(moved))
                log = scaled(outside, Call("log", inner))
                others = [*node.terms[:place], log, *node.terms[place + 1 :]]
                others.remove(shift)
                return others[0] if len(others) == 1 else Sum(tuple(others))
    return node


def _content(node: Sum) -> Constant:
    """The largest fraction that leaves whole coefficients; 1 if they are not all fractions."""
    fractions = []
    for term in node.terms:
        own, _ = split(term)
        if own.fraction is None or own.unit != "1":
            return _ONE
        fractions.append(own.fraction)
    top = math.gcd(*(fraction.numerator for fraction in fractions))
    return rational(Fraction(top, math.lcm(*(fraction.denominator for fraction in fractions))))
