"""Arithmetic of constants, exact where the result is a fraction times one of `UNITS`."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np

from kan_exp.symbolic.expression import UNITS, Constant, exact

ONE, ZERO = exact(1), exact(0)


def rational(fraction: Fraction, unit: str = "1") -> Constant:
    """An exact constant; infinite and free where it is too large for a float."""
    if abs(fraction) > sys.float_info.max:
        return Constant(math.inf if fraction > 0 else -math.inf)
    return Constant(float(fraction) * UNITS[unit], fraction, unit if fraction else "1")


def plus(one: Constant, other: Constant) -> Constant:
    """The sum of two constants."""
    if one.fraction is not None and other.fraction is not None and one.unit == other.unit:
        return rational(one.fraction + other.fraction, one.unit)
    return Constant(one.value + other.value)


def times(one: Constant, other: Constant) -> Constant:
    """The product of two constants."""
    if one == ONE or other == ZERO:
        return other
    if other == ONE or one == ZERO:
        return one
    if one.fraction is not None and other.fraction is not None:
        for unit, value in UNITS.items():
            if math.isclose(UNITS[one.unit] * UNITS[other.unit], value, rel_tol=1e-15):
                return rational(one.fraction * other.fraction, unit)
        if one.unit == other.unit and one.unit in {"sqrt(2)", "sqrt(3)"}:
            return rational(one.fraction * other.fraction * round(UNITS[one.unit] ** 2))
    return Constant(one.value * other.value)


def raised(base: Constant, exponent: Constant) -> Constant:
    """A power of constants."""
    if base == ONE:
        return base
    match base, exponent:
        case Constant(_, Fraction() as own, "1"), Constant(_, Fraction() as power, "1"):
            if power.denominator == 1 and abs(power) <= 8 and own:
                return rational(own ** int(power))
            if power.denominator == 2 and own > 0 and (root := _root(own**power.numerator)):
                return root
    return Constant(float_power(base.value, exponent.value))


def _root(square: Fraction) -> Constant | None:
    """The square root of a fraction, if it is a fraction, or one times the root of 2."""
    for twos, unit in ((1, "1"), (2, "sqrt(2)"), (Fraction(1, 2), "sqrt(2)")):
        whole = square * twos
        root = Fraction(math.isqrt(whole.numerator), math.isqrt(whole.denominator))
        if root**2 == whole:
            return rational(root / max(twos, 1), unit)
    return None


def float_power(base: float, exponent: float) -> float:
    """A power of floats; infinite or NaN rather than an error."""
    with np.errstate(all="ignore"):
        return float(np.power(base, float(exponent)))


def absolute(constant: Constant) -> Constant:
    """The size of a constant."""
    return constant if constant.value >= 0 else times(exact(-1), constant)


def logarithm(constant: Constant) -> Constant:
    """The logarithm of a constant above 0."""
    return exact(1, "log(2)") if constant == exact(2) else Constant(math.log(constant.value))
