"""Formulas with free constants are claimed only where polynomials would be longer."""

import math

import numpy as np
import pytest

from kan_exp.symbolic.evidence import is_certain
from kan_exp.symbolic.expression import Call, Constant, Expression, Input, exact
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.search import search

X, Y = Input(0), Input(1)


def _certain(formula: Expression, low: float, high: float, noise: float = 0.01) -> bool:
    x = np.random.default_rng(0).uniform(low, high, (1000, 2))
    problem = Problem(x, formula(x), np.ones(1000), 0.0, math.inf)
    return is_certain(formula, problem, noise * float(formula(x).std()))


@pytest.mark.parametrize(
    ("formula", "low", "high"),
    [
        (Constant(2.17) * X - Constant(3.41) * Y + Constant(0.53), -1, 1),
        (Constant(4.905) * X**2, 0, 3),
        (Constant(0.83) * Call("log", X) + Constant(1.2) * Y, 0.5, 5),
        (Constant(2.7) * X / (Constant(1.9) + X), 0, 10),
        (Constant(1.3) * Call("sin", Constant(2.7) * X + Constant(0.4)) + Constant(0.2), 0, 5),
        (Constant(8.314) * X / Y, 1, 5),
        (Call("exp", exact(-1) * X) * Y, 0, 3),
    ],
)
def test_a_law_is_certain(formula: Expression, low: float, high: float) -> None:
    assert _certain(formula, low, high)


@pytest.mark.parametrize(
    ("formula", "low", "high"),
    [
        # What agrees with I0(x), Lambert's W, and J0(3 x y) to 1 %.
        (Constant(0.67) * Call("cosh", Constant(0.865) * X) + Constant(0.33), -2, 2),
        (Constant(1.06) * Call("atanh", Constant(0.0778) * X - Constant(0.957)) + 2.02, 0, 3),
        (Constant(0.68) * Call("cos", Constant(2.567) * (X * Y)) + exact(1, "1/pi"), -1, 1),
    ],
)
def test_one_of_many_curves_is_not_certain(formula: Expression, low: float, high: float) -> None:
    assert not _certain(formula, low, high)
    # Even less so with more noise.
    assert not _certain(formula, low, high, noise=0.1)


def test_a_smooth_function_fits_but_is_not_claimed() -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(-2, 2, (500, 1))
    y = np.i0(x[:, 0])
    y += 0.01 * y.std() * generator.normal(size=len(y))
    result = search(x, y, seconds=20)
    assert result.fits
    assert not result.found
    assert result.noise == pytest.approx(0.01 * np.i0(x).std(), rel=0.2)
