"""The whole search: formulas that are there are found, and none where there is none."""

import math

import numpy as np
import pytest

from kan_exp.symbolic.expression import Call, Constant, Input
from kan_exp.symbolic.judge import Judge
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.search import search


def rows(count=400, width=2, low=-1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, 1.0 if low < 0 else 5.0, (count, width))


def equal(result, function, x):
    expected = function(*x.T)
    return np.abs(result.best.expression(x) - expected).max() < 1e-9 * np.abs(expected).max()


FORMULAS = {
    "exp(sin(pi x) + y^2)": (lambda x, y: np.exp(np.sin(math.pi * x) + y**2), -1.0),
    "sqrt(x^2 + y^2 + 1)": (lambda x, y: np.sqrt(x**2 + y**2 + 1), -1.0),
    "x cos(y)": (lambda x, y: x * np.cos(y), 1.0),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_formulas_are_found_with_their_constants(name, noise):
    function, low = FORMULAS[name]
    x = rows(1000, low=low)
    y = function(*x.T)
    deviation = noise * y.std()
    result = search(x, y + deviation * np.random.default_rng(1).standard_normal(len(y)))
    assert result.found
    assert not len(result.best.errors)
    assert equal(result, function, x)
    assert result.noise == pytest.approx(deviation, rel=0.1)


def test_a_formula_has_the_constants_that_are_not_simple():
    x = rows(1000)
    y = np.exp(0.8713 * np.sin(2.3117 * x[:, 0]) + 0.6431 * x[:, 1] ** 2)
    result = search(x, y + 3e-4 * np.random.default_rng(1).standard_normal(len(y)))
    assert result.found
    constants = sorted(np.abs(result.best.expression.constants))
    assert constants == pytest.approx([0.6431, 0.8713, 2.3117], abs=4 * max(result.best.errors))


@pytest.mark.parametrize("digits", ["float32", 4])
def test_rounded_data_have_formulas(digits):
    x = rows()
    y = np.hypot(*x.T) ** 2 + 1
    rounded = np.float32(y).astype(float) if digits == "float32" else np.round(np.sqrt(y), digits)
    result = search(x, rounded)
    assert result.found
    assert 0 < result.noise < 1e-4


def test_inputs_without_effect_are_left_out():
    x = rows(800, 5)
    result = search(x, x[:, 1] * np.exp(x[:, 3]))
    assert result.best.expression.inputs == (1, 3)


WITHOUT = {
    "noise": lambda x, random: random.standard_normal(len(x)),
    "two values": lambda x, random: (x[:, 0] > 0) * 1.0,
    "steps": lambda x, random: np.floor(5 * x[:, 0]),
    "a small square wave": lambda x, random: x[:, 0] + 0.1 * np.sign(np.sin(40 * x[:, 0])),
    "a network": lambda x, random: (
        np.tanh(x @ random.standard_normal((2, 20))) @ random.standard_normal(20)
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_no_formula_is_found_where_there_is_none(name):
    x = rows()
    result = search(x, WITHOUT[name](x, np.random.default_rng(3)), seconds=1.5)
    assert not result.found
    complexities = [candidate.complexity for candidate in result.candidates]
    errors = [candidate.validation_rmse for candidate in result.candidates]
    assert complexities == sorted(complexities)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((30, 2)), np.arange(30.0)),
        (rows(30), np.ones(30)),
        (rows(5), rows(5)[:, 0]),
        (rows(30, 2) * [1.0, 0.0], rows(30)[:, 0]),
        (rows(30) * 1e200, rows(30)[:, 0]),
    ],
    ids=["constant inputs", "a constant target", "five rows", "a constant input", "huge"],
)
def test_odd_data_end_in_a_result(x, y):
    result = search(x, y, seconds=2)
    assert result.candidates


def test_ctrl_c_ends_the_search_with_a_result():
    x = rows()
    names = []

    def progress(name):
        names.append(name)
        if len(names) == 2:
            raise KeyboardInterrupt

    y = np.tanh(x @ np.random.default_rng(0).standard_normal((2, 9))).sum(1)
    result = search(x, y, progress=progress)
    assert (result.complete, result.found, len(names)) == (False, False, 2)
    assert result.candidates


def test_a_constant_that_only_has_to_be_large_is_not_known():
    x = rows()
    judge = Judge(Problem(x, np.sign(x[:, 0]) * x[:, 1], np.ones(len(x)), 0.0, math.inf))
    steep = Input(1) * Call("erf", Constant(8000.0) * Input(0))
    candidate = judge.add(steep, "by hand")
    assert judge.is_exact(candidate)
    assert not judge.holds(candidate)
