"""The search of trees: right formulas from few points, and no exception on odd data."""

import itertools
import time

import numpy as np
import pytest

from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.structures import Curve, Node, structures
from kan_exp.symbolic.trees import find_trees


def problem(x, y, noise=0.0, weight=None, seconds=60.0):
    weight = np.ones(len(y)) if weight is None else weight
    return Problem(x, y, weight, noise, time.monotonic() + seconds)


def test_structures_grow():
    two = list(structures([0, 3]))
    leaves = (Curve(0), Curve(3))
    assert two[:3] == [Node(False, leaves), Curve(Node(False, leaves)), Curve(Node(True, leaves))]
    four = list(structures(range(4)))
    assert len(set(four)) == len(four)
    pairs = [Curve(Node(False, (Curve(a), Curve(b)))) for a, b in ((0, 1), (2, 3))]
    assert Curve(Node(False, tuple(pairs))) in four
    assert Curve(Node(True, tuple(pairs))) in four


@pytest.mark.parametrize(
    "target",
    [
        lambda a, b: np.exp(np.sin(np.pi * a) + b**2),
        lambda a, b: a * b,
        lambda a, b: np.sin(3 * a) + b**3,
        lambda a, b: np.log(1 + a**2 + b**2),
    ],
    ids=["sum inside", "product", "sum", "log"],
)
def test_the_first_proposal_is_exact(target):
    x, fresh = np.random.default_rng(0).uniform(-1, 1, (2, 200, 2))
    proposal = next(find_trees(problem(x, target(*x.T))))
    truth = target(*fresh.T)
    assert np.abs(proposal.expression(fresh) - truth).max() < 1e-7 * np.std(truth)


def test_a_formula_is_found_under_noise():
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (200, 2))
    truth = np.tanh(2 * x[:, 0]) * x[:, 1]
    noise = 0.01 * truth.std()
    y = truth + noise * generator.normal(size=200)
    for proposal in itertools.islice(find_trees(problem(x, y, noise)), 5):
        # The right form has no error where there is no noise.
        fit = refit(proposal.expression, x, truth, steps=100)
        if fit.loss < 1e-16:
            break
    else:
        pytest.fail("The right form is not among the first five.")


X = np.random.default_rng(0).uniform(-1, 1, (100, 3))
Y = X[:, 0] * X[:, 1]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.where(X > 0.9, np.nan, X)[:, :2], Y),
        (X[:, :2], np.where(X[:, 2] > 0.8, np.inf, Y)),
        (np.column_stack([X[:, :2], np.ones(100)]), Y),
        (X[:20, :2], Y[:20]),
        (1e9 * X[:, :2], 1e200 * Y),
    ],
    ids=["nan in x", "infinite y", "constant column", "20 points", "huge"],
)
def test_rows_and_columns_that_say_nothing_are_left_out(x, y):
    proposal = next(find_trees(problem(x, y)))
    usable = np.isfinite(x).all(1) & np.isfinite(y)
    size = np.abs(y[usable]).max()
    np.testing.assert_allclose(proposal.expression(x[usable]) / size, y[usable] / size, atol=1e-8)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X[:0], Y[:0]),
        (X[:5], Y[:5]),
        (X, np.ones(100)),
        (np.ones((100, 2)), Y),
    ],
    ids=["no rows", "five rows", "constant target", "constant inputs"],
)
def test_data_that_say_nothing_give_no_formula(x, y):
    assert list(find_trees(problem(x, y))) == []


@pytest.mark.parametrize(
    ("x", "y"),
    [(X, np.sign(Y)), (np.tile(X, (1, 4))[:, :10], Y), (np.round(X), Y)],
    ids=["two values", "ten inputs", "three-valued inputs"],
)
def test_hard_data_give_formulas_that_are_finite(x, y):
    for proposal in find_trees(problem(x, y, seconds=0.5)):
        assert np.isfinite(proposal.expression(x)).all()
