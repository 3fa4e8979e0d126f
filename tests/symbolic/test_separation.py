"""Terms and factors of fewer variables."""

import time

import numpy as np
import pytest

from kan_exp.symbolic import search as module
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.search import formulas_of_parts, search
from kan_exp.symbolic.separation import separations


def problem(function, width, noise=0.0, count=1000):
    generator = np.random.default_rng(0)
    x = generator.uniform(0.5, 4, (count, width))
    y = function(*x.T)
    deviation = noise * y.std()
    y += deviation * generator.normal(size=len(y))
    return Problem(x, y, np.ones(count), deviation, time.monotonic() + 600)


def separated(*args, **options):
    return separations(problem(*args, **options))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_sum_has_its_finest_groups(noise):
    (terms,) = separated(lambda x, y, z: np.hypot(x, z) + np.sin(3 * y), 3, noise)
    assert not terms.is_product
    assert [part.columns for part in terms.parts] == [(0, 2), (1,)]
    truths = [lambda x: np.hypot(*x.T), lambda x: np.sin(3 * x[:, 0])]
    for part, truth in zip(terms.parts, truths, strict=True):
        left = part.y - truth(part.x)
        # A term is known but for a constant, and has the noise of the target.
        assert left.std() < 1.2 * part.noise
        assert part.noise < (1.2 * noise + 2e-3) * truth(part.x).std() * 2


def test_a_product_is_found_beside_a_constant():
    (factors,) = separated(lambda x, y: 1.5 + x * np.exp(-x) * np.cos(3 * y), 2)
    assert factors.is_product
    one, other = factors.parts
    assert (one.columns, other.columns) == ((0,), (1,))
    ratio = one.y / (one.x * np.exp(-one.x))[:, 0]
    assert np.ptp(ratio) < 1e-2 * np.abs(ratio).mean()


def test_what_is_no_sum_and_no_product_is_left_alone():
    assert separated(lambda x, y: np.sin(x * y) + x * y**2, 2) == []
    assert separated(lambda x: np.sin(x), 1) == []


@pytest.mark.filterwarnings("error")
def test_without_rows_to_hold_back_nothing_is_separated():
    assert separated(lambda x, y: x + y, 2, count=5) == []


def test_ctrl_c_in_the_search_of_a_part_ends_that_of_the_whole(monkeypatch):
    def interrupt(judge):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_first_strategies", interrupt)
    both = problem(lambda x, y: np.sin(x) + np.exp(-y), 2, count=300)
    found = search(both.x, both.y)
    assert found.interrupted
    assert not found.complete
    with pytest.raises(KeyboardInterrupt):
        next(formulas_of_parts(both))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, y: np.sin(3 * x) / x + y * np.exp(-y), "x1*exp(-x1) + sin(3*x0)/x0"),
        (lambda x, y: y * np.exp(-y) * (x**2 * np.cos(x)), "x0**2*x1*exp(-x1)*cos(x0)"),
    ],
)
def test_formulas_of_parts_are_found(function, text):
    x = np.random.default_rng(0).uniform(0.5, 6, (1000, 2))
    result = search(x, function(*x.T), seconds=600)
    assert result.found
    assert str(result.best.expression.sympy(["x0", "x1"])) == text
