"""Redundant constants, simple numbers, standard errors."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from kan_exp.symbolic.algebra import inward, normal
from kan_exp.symbolic.constants import simplified, standard_errors
from kan_exp.symbolic.expression import (
    CALLS,
    Call,
    Constant,
    Expression,
    Input,
    Power,
    Sum,
    exact,
)
from kan_exp.symbolic.refit import refit
from tests.symbolic.made import shown

A, B, D, E = (Input(place) for place in range(4))


def _line(argument: Expression, slope: float, shift: float) -> Expression:
    return Constant(slope) * argument + Constant(shift)


def _uniform(*ranges: tuple[float, float], rows: int = 1000, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.stack([generator.uniform(low, high, rows) for low, high in ranges], 1)


def _waves() -> Expression:
    wave = Constant(0.9) * Call("sin", _line(A, 3.0, 0.1)) + Constant(0.2)
    inner = Constant(1.1) * wave + Constant(0.95) * _line(B, 0.97, 0.02) ** 2 + Constant(0.1)
    return Constant(0.7) * Call("exp", inner) + Constant(0.05)


def _cosines() -> Expression:
    product = Constant(-1.9) * _line(A, 1, 0.01) * _line(B, 1, 0.01) * Call("cos", _line(D, 1.1, 0))
    squares = Constant(0.9) * _line(A, 1.1, 0.02) ** 2 + Constant(1.1) * _line(B, 0.95, 0.01) ** 2
    return Constant(0.9) * (squares + product + Constant(0.1)) ** exact(0.5) + Constant(0.1)


def _root() -> Expression:
    inner = Constant(8.1) * A * B + Constant(-1.1) * D * E**-2
    return Constant(0.9) * inner ** Constant(0.52) + Constant(0.02)


# A formula with more constants than it needs; the function; ranges; SymPy text of the result.
CASES: dict[str, tuple[Expression, Callable[..., np.ndarray], list[tuple[float, float]], str]] = {
    "phases and shifts": (
        _waves(),
        lambda a, b: np.exp(np.sin(np.pi * a) + b**2),
        [(-1, 1)] * 2,
        "exp(b**2 + sin(pi*a))",
    ),
    "powers": (
        Constant(0.07) * A ** Constant(1.05) * B ** Constant(-1.8) + Constant(0.01),
        lambda a, b: a / (4 * np.pi * b**2),
        [(1, 5)] * 2,
        "a/(4*pi*b**2)",
    ),
    "sums of products": (
        _cosines(),
        lambda a, b, d: np.sqrt(a**2 + b**2 - 2 * a * b * np.cos(d)),
        [(1, 2), (3, 5), (0, 2)],
        "sqrt(a**2 - 2*a*b*cos(d) + b**2)",
    ),
    "a scale that belongs inside": (
        _root(),
        lambda a, b, d, e: np.sqrt(8 * np.pi / 3 * a * b - d / e**2),
        [(1, 5), (1, 5), (1, 2), (1, 2)],
        "sqrt(8*pi*a*b/3 - d/e**2)",
    ),
    "sine for cosine": (
        Constant(0.9) * A * (Constant(1.1) * Call("sin", _line(B, 1, -1.5)) + Constant(0.1)),
        lambda a, b: -a * np.cos(b),
        [(1, 5)] * 2,
        "-a*cos(b)",
    ),
    "squares of sine and cosine": (
        Constant(-0.9) * Call("sin", _line(A, 1.02, 1.5)) ** 2 + Constant(0.97),
        lambda a: np.sin(a) ** 2,
        [(0, 4)],
        "sin(a)**2",
    ),
    "one term too many": (
        Constant(0.9) * Call("sin", _line(A, 1, 0.1)) + Constant(0.3) * Call("sin", A + 0.5),
        lambda a: np.sin(a),
        [(0, 4)],
        "sin(a)",
    ),
    "a denominator that is nearly constant": (
        Constant(86019.0) * A * B * (A + B + Constant(86012.0)) ** -1,
        lambda a, b: a * b,
        [(1, 5)] * 2,
        "a*b",
    ),
    "a function that is straight on the data": (
        Constant(1.1) * A * Call("sin", Constant(0.018) * Call("log", B) + Constant(1e-6)),
        lambda a, b: a * np.log(b) / 50,
        [(1, 5)] * 2,
        "a*log(b)/50",
    ),
    "a function that is a parabola on the data": (
        Constant(90.0)
        * (Constant(1.3e-4) * A**2 - Call("cos", Constant(0.013) * B) + 1.0001) ** 0.5,
        lambda a, b: np.sqrt(a**2 + b**2),
        [(1, 5)] * 2,
        "sqrt(a**2 + b**2)",
    ),
    "a common factor": (
        Constant(0.9) * A * B + Constant(1.1) * A * D + Constant(0.02) * B + Constant(0.01),
        lambda a, b, d: a * (b + 3 * d),
        [(1, 5)] * 3,
        "a*(b + 3*d)",
    ),
}


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("case", CASES)
def test_only_true_constants_are_left(case: str, noise: float) -> None:
    formula, truth, ranges, text = CASES[case]
    x = _uniform(*ranges, rows=4000)
    y = truth(*x.T)
    noisy = y + noise * y.std() * np.random.default_rng(1).normal(size=len(y))
    result = simplified(refit(formula, x, noisy, steps=200).expression, x, noisy)
    assert shown(result, "abde") == text
    np.testing.assert_allclose(result(x), y, rtol=1e-10)


def test_measured_constants_stay_with_their_errors() -> None:
    x = _uniform((-1, 1), (-1, 1))
    y = np.exp(0.87 * np.sin(2.31 * x[:, 0]) + 0.643 * x[:, 1] ** 2)
    noisy = y + 0.01 * np.random.default_rng(1).normal(size=len(y))
    wave = Constant(0.9) * Call("sin", _line(A, 2.3, 0.02))
    formula = Constant(1.1) * Call("exp", wave + Constant(0.6) * B**2)
    result = simplified(formula, x, noisy)
    errors = standard_errors(result, x, noisy)
    away = (np.sort(result.constants) - [0.643, 0.87, 2.31]) / errors[np.argsort(result.constants)]
    assert np.abs(away).max() < 3
    # Of the mean of 1000 values with deviation 0.01: 0.01 / sqrt(1000).
    (error,) = standard_errors(Constant(1.0), x, 1 + noisy - y)
    np.testing.assert_allclose(error, 0.01 / np.sqrt(1000), rtol=0.1)


def test_redundant_constant_has_no_error() -> None:
    x = _uniform((1, 2))
    formula = Constant(2.0) * Constant(0.5) * A + Constant(0.0)
    errors = standard_errors(formula, x, x[:, 0] + np.random.default_rng(0).normal(size=len(x)))
    np.testing.assert_array_equal(np.isinf(errors), [True, True, False])


@pytest.mark.parametrize(
    "formula",
    [
        Constant(0.5) * A ** Constant(0.5),
        Constant(1.0) + Constant(2.0) * Call("log", A),
        (Constant(1e-3) + A) ** Constant(-200.0),
        Constant(1e200) * Call("exp", Constant(1e3) * A),
    ],
)
def test_what_is_not_finite_stays_as_it_is(formula: Expression) -> None:
    x = np.linspace(0, 2, 50)[:, None]
    shifted = formula.substituted([Constant(1.0) * A + Constant(0.0)])
    y = np.ones(50)
    with np.errstate(all="ignore"):
        assert simplified(shifted, x, y) == shifted
        assert np.isinf(standard_errors(shifted, x, y)).all()


def test_every_step_removes_a_constant() -> None:
    x = _uniform((0.5, 3))
    y = x[:, 0] ** -1.297 * (1 + 0.01 * np.random.default_rng(1).normal(size=len(x)))
    result = simplified(Constant(1.01) * A ** Constant(-1.3), x, y)
    assert isinstance(result, Power)
    np.testing.assert_allclose(result.constants, -1.297, atol=0.005)
    # Nothing to be done about a constant of a size that no simple number has.
    assert simplified(Constant(3e-107), x, np.full(len(x), 3e-107)).constants.shape == (1,)


def test_powers_beyond_the_range_of_floats() -> None:
    x = _uniform((1e-4, 1.1e-4))
    formula = (exact(10_000) * A) ** exact(Fraction(301, 2))
    assert simplified(formula, x, formula(x)) == formula
    formula = Call("log", A) - exact(1100, "log(2)")
    np.testing.assert_allclose(normal(formula, x)(x), formula(x))


def test_weights_of_zero_do_not_count() -> None:
    x = _uniform((1, 2))
    y = np.where(np.arange(len(x)) < 500, 3 * x[:, 0], 17.0)
    weight = (np.arange(len(x)) < 500).astype(float)
    result = simplified(_line(A, 2.9, 0.2), x, y, weight)
    assert str(result.sympy("a")) == "3*a"
    # Also where only some rows count, between those of an even choice.
    few = np.zeros(len(x))
    few[[1, 101, 202, 303]] = 1.0
    assert str(simplified(_line(A, 2.9, 0.2), x, y, few).sympy("a")) == "3*a"


def _random_tree(generator: np.random.Generator, depth: int) -> Expression:
    if depth == 0 or generator.random() < 0.15:
        leaves = [Input(int(generator.integers(3))), Constant(float(2 * generator.normal()))]
        return [*leaves, exact(int(generator.integers(-3, 4)))][generator.integers(3)]
    first, second = (_random_tree(generator, depth - 1) for _ in range(2))
    powers = [exact(power) for power in (-2, -1, -0.5, 0.5, 2, 3)]
    match generator.integers(4):
        case 0:
            return Sum((first, second, _random_tree(generator, depth - 1)))
        case 1:
            return first * second
        case 2:
            return first ** powers[generator.integers(len(powers))]
    return Call([*CALLS][generator.integers(len(CALLS))], first)


def test_rewriting_keeps_values() -> None:
    compared = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        x = generator.uniform(0.2, 2, (40, 3)) - [0, 0, 1]
        tree = _random_tree(generator, 4)
        value = tree(x)
        if np.isfinite(value).all() and np.abs(value).max() < 1e6:
            form = normal(tree, x)
            assert normal(form, x) == form
            for same in (form, *inward(form)):
                tolerance = 1e-8 * (1 + np.abs(value).max())
                np.testing.assert_allclose(same(x), value, rtol=1e-6, atol=tolerance)
            compared += 1
    assert compared > 100
