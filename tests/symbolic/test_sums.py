"""Sums of few terms and quotients of them."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from kan_exp.symbolic.constants import simplified
from kan_exp.symbolic.expression import Expression
from kan_exp.symbolic.problem import Finder, Problem
from kan_exp.symbolic.quotients import quotients
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.sums import sums, sums_of_functions
from tests.symbolic.made import shown

# Finder; function; ranges; SymPy text of the formula.
Case = tuple[Finder, Callable[..., np.ndarray], list[tuple[float, float]], str]
CASES: dict[str, Case] = {
    "products": (
        sums,
        lambda a, b, c, d, e, f: a * d + b * e + c * f,
        [(1, 5)] * 6,
        "a*d + b*e + c*f",
    ),
    "root of squares": (
        sums,
        lambda a, b, c: -np.sqrt(a**2 / b**2 + 3 * c),
        [(1, 5)] * 3,
        "-sqrt(a**2/b**2 + 3*c)",
    ),
    "log of squares": (
        sums,
        lambda a, b: np.log(1 + a**2 + 2 * b**2),
        [(-2, 2)] * 2,
        "log(a**2 + 2*b**2 + 1)",
    ),
    "exp of squares": (
        sums,
        lambda a, b: -np.exp(-(a**2) / 2 - b**2 / 3),
        [(-2, 2)] * 2,
        "-exp(-a**2/2 - b**2/3)",
    ),
    "squared differences": (
        sums,
        lambda a, b, c, d: 1 / ((a - b) ** 2 + (c - d) ** 2),
        [(1, 2), (3, 4)] * 2,
        "1/((a - b)**2 + (c - d)**2)",
    ),
    "difference inside cosine": (
        sums_of_functions,
        lambda a, b, c, d: np.sqrt(a**2 + b**2 - 2 * a * b * np.cos(c - d)),
        [(1, 2), (3, 5), (0, 2), (0, 1)],
        "sqrt(a**2 - 2*a*b*cos(c - d) + b**2)",
    ),
    "roots times cosine": (
        sums_of_functions,
        lambda a, b, c: a + b + 2 * np.sqrt(a * b) * np.cos(c),
        [(1, 5)] * 3,
        "2*sqrt(a)*sqrt(b)*cos(c) + a + b",
    ),
    "quotient": (
        quotients,
        lambda a, b, c: (a + b) / (1 + a * b / c**2),
        [(1, 5)] * 3,
        "c**2*(a + b)/(a*b + c**2)",
    ),
    "quotient of four": (
        quotients,
        lambda a, b, c, d: (a * c + b * d) / (a + b),
        [(1, 5)] * 4,
        "(a*c + b*d)/(a + b)",
    ),
    "quotient with a cosine": (
        quotients,
        lambda a, b: (1 - a**2) / (1 + a * np.cos(b)),
        [(0.2, 0.8), (0, 6)],
        "(1 - a**2)/(a*cos(b) + 1)",
    ),
}


def _problem(case: str, noise: float, rows: int) -> tuple[Problem, np.ndarray]:
    _, truth, ranges, _ = CASES[case]
    generator = np.random.default_rng(0)
    x = np.stack([generator.uniform(low, high, rows) for low, high in ranges], 1)
    y = truth(*x.T)
    deviation = noise * float(y.std())
    noisy = y + deviation * generator.normal(size=rows)
    return Problem(x, noisy, np.ones(rows), deviation, time.monotonic() + 60), y


def _first(finder: Finder, problem: Problem) -> Expression | None:
    """The first proposal that holds to the noise, simplified."""
    for proposal in finder(problem):
        fit = refit(proposal.expression, problem.x, problem.y)
        size = np.linalg.norm(problem.y)
        if fit.loss**0.5 <= max(1.02 * problem.noise * len(problem.y) ** 0.5, 1e-9 * size):
            return simplified(fit.expression, problem.x, problem.y)
    return None


NOISY = ("root of squares", "log of squares", "roots times cosine", "quotient of four")


@pytest.mark.parametrize(
    ("case", "noise"), [*((case, 0.0) for case in CASES), *((case, 0.01) for case in NOISY)]
)
def test_formula_is_found(case: str, noise: float) -> None:
    problem, y = _problem(case, noise, 1000 if noise else 300)
    formula = _first(CASES[case][0], problem)
    assert formula is not None
    assert shown(formula, "abcdef") == CASES[case][3]
    np.testing.assert_allclose(formula(problem.x), y, rtol=1e-9)


@pytest.mark.parametrize("finder", [sums, quotients, sums_of_functions])
def test_noise_alone_and_other_functions_have_no_exact_sum(finder: Finder) -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 2, (200, 2))
    for y in (generator.normal(size=200), np.sin(np.exp(x[:, 0]) + np.tanh(3 * x[:, 1]))):
        problem = Problem(x, y, np.ones(200), 0.0, time.monotonic() + 60)
        assert list(finder(problem)) == []


@pytest.mark.parametrize("finder", [sums, quotients, sums_of_functions])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((30, 2)), np.linspace(0, 1, 30)),
        (np.zeros((30, 1)), np.zeros(30)),
        (np.linspace(1, 2, 40).reshape(20, 2) * 1e150, np.linspace(1, 2, 20) ** 3 * 1e200),
        (np.linspace(1, 2, 2).reshape(1, 2), np.ones(1)),
        # As many coefficients as different rows fit anything.
        (np.arange(300).reshape(300, 1) % 4 + 1.0, np.sqrt(np.arange(300) % 4 + 1.37)),
    ],
    ids=["constant inputs", "zeros", "huge values", "one row", "four different rows"],
)
def test_proposals_hold_on_odd_data(finder: Finder, x: np.ndarray, y: np.ndarray) -> None:
    problem = Problem(x, y, np.ones(len(y)), 0.0, time.monotonic() + 60)
    for proposal in finder(problem):
        np.testing.assert_allclose(proposal.expression(x), y, rtol=1e-6)
        assert len(proposal.expression.constants) <= 1
    unweighted = Problem(x, y, np.zeros(len(y)), 0.0, time.monotonic() + 60)
    assert list(finder(unweighted)) == []


def test_sums_of_squares_beyond_the_range_of_floats_have_no_quotient() -> None:
    x = np.random.default_rng(0).uniform(1, 2, (60, 1)) * 1e120
    problem = Problem(x, x[:, 0], np.full(60, 1e100), 1e119, time.monotonic() + 60)
    with np.errstate(all="ignore"):
        assert list(quotients(problem)) == []


@pytest.mark.parametrize("finder", [sums, quotients, sums_of_functions])
def test_rows_of_weight_zero_do_not_count(finder: Finder) -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(1, 2, (500, 2))
    y = (x[:, 0] ** 2 + 3 * np.exp(x[:, 1])) / (1 if finder is not quotients else x[:, 1] + x[:, 0])
    if finder is not sums_of_functions:
        y = (x[:, 0] ** 2 + 3 * x[:, 1]) / (1 if finder is sums else 1 + x[:, 1])
    used = np.arange(500) % 5 > 0
    problem = Problem(x, np.where(used, y, 1e6), used.astype(float), 0.0, time.monotonic() + 60)
    proposal = next(iter(finder(problem)))
    np.testing.assert_allclose(proposal.expression(x), y, rtol=1e-6)


@pytest.mark.parametrize("finder", [sums, quotients, sums_of_functions])
def test_nothing_is_tried_when_time_is_over(finder: Finder) -> None:
    problem, _ = _problem("quotient", 0.0, 100)
    over = Problem(problem.x, problem.y, problem.weight, 0.0, time.monotonic() - 1)
    assert list(finder(over)) == []
