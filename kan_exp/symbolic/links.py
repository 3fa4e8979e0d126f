"""Functions of the target under which it may be a sum, with their slopes and inverses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import CALLS, Array, Call, Expression, exact


class Link(NamedTuple):
    """A function T of y: y -> `(T(y), |dT/dy|)`, and the formula of y from that of T(y)."""

    name: str
    forward: Callable[[Array], tuple[Array, Array]]
    inverse: Callable[[Expression], Expression]


def links(y: Array, noise: float = 0.0) -> Iterator[Link]:
    """The functions whose domain y `(n,)` lies in, the simplest first.

    Args:
        noise: Standard deviation of the noise of y: functions that it makes undefined, or
            steep beyond use, are left out.
    """
    low, high = float(y.min()), float(y.max())
    margin = 4 * noise
    clear = float(np.median(np.abs(y))) >= 5 * noise
    yield Link("y", lambda y: (y, np.ones_like(y)), lambda z: z)
    if clear and (low >= -margin or high <= margin):
        yield from _of_one_sign(y, margin)
    if high - low < 20 and max(high, -low) < 300:
        yield _called("exp", "log")
    if max(high, -low) < math.pi / 2:
        yield _called("sin", "asin")
        yield _called("tan", "atan")
    if low > 0 and high < math.pi:
        yield _called("cos", "acos")
    if max(high, -low) < 1:
        yield _called("atanh", "tanh")
        yield _called("asin", "sin")
    if low > 0 and high < 1:
        yield Link(
            "logit(y)",
            lambda y: (np.log(y / (1 - y)), 1 / (y * (1 - y))),
            lambda z: (1 + Call("exp", -z)) ** -1,
        )


def _of_one_sign(y: Array, margin: float) -> Iterator[Link]:
    """Logarithm and powers of the size of y, whose sign noise may change within a margin."""
    low, high = float(y.min()), float(y.max())
    sign = 1 if high > -low else -1

    def signed(z: Expression) -> Expression:
        return z if sign > 0 else exact(sign) * z

    def power(name: str, p: float) -> Link:
        return Link(
            name,
            lambda y: (abs(y) ** p, abs(p) * abs(y) ** (p - 1)),
            lambda z: signed(z ** exact(1 / p)),
        )

    is_away = low > margin or high < -margin
    if is_away:
        yield Link(
            "log(y)", lambda y: (np.log(abs(y)), 1 / abs(y)), lambda z: signed(Call("exp", z))
        )
    square, floor = power("y**2", 2), max(margin, 1e-300)
    yield square._replace(forward=lambda y: (sign * y * abs(y), 2 * np.maximum(abs(y), floor)))
    if is_away:
        yield power("1/y", -1)
        yield power("1/y**2", -2)
        yield power("sqrt(y)", 0.5)
        yield power("1/sqrt(y)", -0.5)


def _called(function: str, inverse: str) -> Link:
    """A function of `CALLS` as a link."""
    value, slope = CALLS[function]
    return Link(f"{function}(y)", lambda y: (value(y), abs(slope(y))), lambda z: Call(inverse, z))
