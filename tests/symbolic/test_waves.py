"""Products and sums of two functions of one variable."""

import time

import numpy as np
import pytest

from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.search import search
from kan_exp.symbolic.waves import waves

FORMULAS = {
    "exp(-x/2)*cos(3*x)": (lambda x: np.exp(-x / 2) * np.cos(3 * x), 0, 6),
    "exp(-x**2)*cos(6*x)": (lambda x: np.exp(-(x**2)) * np.cos(6 * x), -3, 3),
    "sin(2*x) + sin(5*x)": (lambda x: np.sin(2 * x) + np.sin(5 * x), 0, 6),
    "x*sin(3*x)": (lambda x: x * np.sin(3 * x), -3, 3),
    "2*exp(-x) + exp(-5*x)": (lambda x: 2 * np.exp(-x) + np.exp(-5 * x), 0, 3),
    "sin(x**2)": (lambda x: np.sin(x**2), 0, 5),
    "x/2 + 2*sin(40*x)": (lambda x: x / 2 + 2 * np.sin(40 * x), 0, 5),
    "sin(4*x)/x": (lambda x: np.sin(4 * x) / x, 0.1, 5),
    # Far from 0 the factor exp(-x) is tiny.
    "exp(-x)*sin(5*x)": (lambda x: np.exp(-x) * np.sin(5 * x), 100, 104),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_with_noise(text):
    function, low, high = FORMULAS[text]
    generator = np.random.default_rng(0)
    x = generator.uniform(low, high, (600, 1))
    y = function(x[:, 0])
    result = search(x, y + 0.01 * y.std() * generator.normal(size=len(y)), seconds=60)
    assert result.found
    assert str(result.best.expression.sympy("x")) == text


def test_only_one_variable_that_varies_enough():
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 6, (50, 2))

    def proposed(x):
        y = np.sin(2 * x[:, 0]) * np.exp(-x[:, 0])
        return list(waves(Problem(x, y, np.ones(len(y)), 0.0, time.monotonic() + 60)))

    assert proposed(x) == []
    constant = x * [1, 0]
    assert proposed(constant)
    assert proposed(constant[:8]) == []


def test_far_from_0_powers_of_e_that_floats_do_not_hold_are_not_tried():
    x = np.random.default_rng(0).uniform(0, 6, (50, 1)) + 1e6
    with np.errstate(all="ignore"):
        problem = Problem(x, np.sin(2 * x[:, 0]), np.ones(50), 0.0, time.monotonic() + 60)
        assert min(np.std(one.expression(x) - problem.y) for one in waves(problem)) < 1e-9
