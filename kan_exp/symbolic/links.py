"""Functions of the target, with their slopes and inverses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import CALLS, Array, Call, Expression, Power, exact


class Link(NamedTuple):
    """A function T of y that may be a sum: `(T(y), |dT/dy|)`, and the way back."""

    name: str
    forward: Callable[[Array], tuple[Array, Array]]
    inverse: Callable[[Expression], Expression]


def called(function: str, inverse: str) -> Link:
    """A function of `CALLS` as a link."""
    value, slope = CALLS[function]
    return Link(f"{function}(y)", lambda y: (value(y), abs(slope(y))), lambda z: Call(inverse, z))


def links(y: Array, noise: float) -> Iterator[Link]:
    """The functions whose domain y lies in."""
    low, high = float(y.min()), float(y.max())
    margin = 4 * noise
    clear = float(np.median(np.abs(y))) >= 5 * noise
    yield Link("y", lambda y: (y, np.ones_like(y)), lambda z: z)
    if clear and (low >= -margin or high <= margin):
        sign = exact(1 if high > -low else -1)

        def back(power: float) -> Callable[[Expression], Expression]:
            def inverse(z: Expression) -> Expression:
                root = Power(z, exact(power))
                return root if sign.value > 0 else sign * root

            return inverse

        floor = max(margin, 1e-300)
        yield Link(
            "y**2",
            # Noise may change the sign of a small y.
            lambda y: (sign.value * y * abs(y), 2 * np.maximum(abs(y), floor)),
            back(0.5),
        )
        if low > margin or high < -margin:
            yield Link("1/y", lambda y: (1 / abs(y), y**-2), back(-1))
            yield Link("1/y**2", lambda y: (y**-2, 2 * abs(y) ** -3), back(-0.5))
            yield Link("sqrt(y)", lambda y: (abs(y) ** 0.5, 0.5 * abs(y) ** -0.5), back(2))
            yield Link(
                "log(y)",
                lambda y: (np.log(abs(y)), 1 / abs(y)),
                lambda z: Call("exp", z) if sign.value > 0 else sign * Call("exp", z),
            )
    if high - low < 20 and max(high, -low) < 300:
        yield called("exp", "log")
    if max(high, -low) < math.pi / 2:
        yield called("sin", "asin")
        yield called("tan", "atan")
    if low > 0 and high < math.pi:
        yield called("cos", "acos")
