"""Dimensions of formulas: which are consistent, and what their constants carry."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from kan_exp.symbolic.dimensions import Dimensions
from kan_exp.symbolic.expression import Call, Constant, Input, exact
from kan_exp.symbolic.grouping import grouped
from kan_exp.symbolic.problem import Problem, State
from kan_exp.symbolic.reduction import reductions
from kan_exp.symbolic.search import search
from kan_exp.symbolic.sums import sums_of_one_unit


def of(*exponents):
    return tuple(map(Fraction, exponents))


KG, M, SPEED, JOULE, NONE = of(1, 0, 0), of(0, 1, 0), of(0, 1, -1), of(1, 2, -2), of(0, 0, 0)
m, v, c = Input(0), Input(1), Input(2)
HALF = exact(0.5)
ENERGY = Dimensions((KG, SPEED, SPEED), JOULE)


def log(node):
    return Call("log", node)


@pytest.mark.parametrize(
    ("formula", "right"),
    [
        (HALF * m * v**2, True),
        (exact(2, "pi") * m * v * c, True),
        (m * v, False),
        (exact(2) * m * v, False),  # exact numbers have no unit
        (Constant(2.0) * m * v, True),  # but free ones may have any
        (m * v**2 + m * c**2, True),
        (m * v**2 + m, False),
        (m * v**2 + Constant(3.0), True),
        (m * v**2 + exact(3), False),
        (m * c**2 / (1 - (v / c) ** 2) ** HALF, True),
        (m * c**2 / (1 - v**2) ** HALF, False),
        (m * c**2 * Call("sin", v / c), True),
        (m * c**2 * Call("sin", v), False),
        (m * c**2 * Call("sin", Constant(2.0) * v), True),
        (m * Call("abs", v) * c, True),
        (m * c**2 * Call("exp", v), False),
        (m * c**2 * Call("exp", log(v) - log(c)), True),
        (m * c**2 * log(v / c), True),
        (m * c**2 * log(v), False),
        (m * c**2 * (log(v) - log(c)), True),
        (m * c**2 * (2 * log(v) - log(c)), False),
        (m * c**2 * (2 * log(v) - log(c**2)), True),
        (m * c**2 * (log(v) + Constant(1.0)), True),  # of v in some unit
        (m * v * c * log(v) * log(c), False),
        (Constant(2.0) * v ** Constant(2.37), True),
        (m * c**2 * (v / c) ** (v / c), True),
        (m * c**2 * (v / c) ** v, False),
        (m * v**2 + exact(0), True),
    ],
    ids=lambda value: str(value.sympy("mvc")) if hasattr(value, "sympy") else "",
)
def test_a_formula_is_consistent_or_not(formula, right):
    assert ENERGY.allow(formula) is right


def test_what_is_not_known_takes_any_dimension_but_one_only():
    unknown = Dimensions((KG, None, SPEED), None)
    assert unknown.allow(m * c + m * v)
    assert not unknown.allow(m * c + m * v + v)
    assert unknown.allow(Call("exp", v / c))
    assert not unknown.allow(Call("exp", v / c) + v)
    assert unknown.dimension(m * c) == of(1, 1, -1)
    assert unknown.dimension(m * v) is None
    assert not ENERGY.has_units(m + v)
    assert ENERGY.has_units(m * v)


def test_constants_carry_what_is_missing():
    formula = Constant(2.0) * m * v + Constant(3.0)
    assert ENERGY.constants(formula) == [SPEED, JOULE]
    rate = Constant(2.0) * Call("exp", Constant(-1.0) * v)
    assert ENERGY.constants(rate) == [JOULE, of(0, -1, 1)]
    assert ENERGY.constants(m + v) is None


def test_a_number_that_must_carry_a_unit_is_a_measured_one():
    freed = ENERGY.freed(exact(5) * m * v**2 + exact(3) * m)
    assert freed == exact(5) * m * v**2 + Constant(3.0) * m
    assert ENERGY.constants(freed) == [of(0, 2, -2)]
    assert ENERGY.freed(HALF * m * v**2) == HALF * m * v**2
    assert ENERGY.freed(m + v) is None
    assert ENERGY.freed(m * v) is None  # a factor of 1 is not written
    shifted = Dimensions((M,), NONE).freed(log(exact(4) * m))
    assert shifted == log(Constant(4.0) * m)


def test_a_logarithm_is_that_of_the_target():
    energy = Dimensions((KG, SPEED, SPEED), JOULE, is_logarithm=True)
    assert energy.allow(log(m) + 2 * log(v))
    assert energy.allow(log(m) + log(v) + Constant(1.0))
    assert not energy.allow(log(m) + log(v))
    assert not energy.allow(log(m) + 2 * log(v) + v)


def problem(dimensions, count, low=1.0):
    x = np.random.default_rng(0).uniform(low, 3, (200, count))
    return Problem(x, x.prod(1), np.ones(200), 0.0, np.inf, dimensions=dimensions)


def test_groups_are_dimensionless_products():
    state = grouped(problem(ENERGY, 3))
    assert state.factor in (m * v**2, m * c**2, m * v * c)
    assert state.variables in ((v / c,), (c / v,), (v**-1 * c,), (v * c**-1,))
    smaller = state.smaller(problem(ENERGY, 3))
    assert smaller.x.shape == (200, 1)
    assert smaller.dimensions == Dimensions((NONE,), NONE)
    # Of a mass and a speed there is one energy, but for a number.
    state = grouped(problem(Dimensions((KG, SPEED), JOULE), 2))
    assert state.variables == ()
    assert state.smaller(problem(Dimensions((KG, SPEED), JOULE), 2)).x.shape == (200, 0)


@pytest.mark.parametrize(
    ("dimensions", "low"),
    [
        (None, 1),
        (Dimensions((KG, SPEED, None), JOULE), 1),
        (Dimensions((KG, SPEED, SPEED)), 1),
        (Dimensions((NONE, NONE, NONE), NONE), 1),  # as many variables as before
        (Dimensions((KG, KG, KG), JOULE), 1),  # there is no such product
        (ENERGY, -3),  # no input may stand below a fraction
    ],
)
def test_there_may_be_no_groups(dimensions, low):
    assert grouped(problem(dimensions, 3, low)) is None


def test_the_search_takes_no_formula_whose_units_are_wrong():
    x = np.random.default_rng(0).uniform(1, 3, (100, 2))
    wrong = search(x, x.sum(1), seconds=1, dimensions=Dimensions((KG, SPEED), None))
    assert not wrong.found
    assert m + v in wrong.rejected
    right = search(x, x.sum(1), dimensions=Dimensions((SPEED, SPEED), None))
    assert right.found
    assert right.best.expression == m + v
    measured = search(x, 5 * x.prod(1), dimensions=Dimensions((KG, SPEED), JOULE))
    assert measured.found
    assert measured.best.expression.constants == pytest.approx([5])
    assert measured.best.carried == 1


def test_terms_of_the_unit_of_the_target_are_tried_on_their_own():
    x = np.random.default_rng(0).uniform(1, 3, (200, 4))
    inertia = of(1, 2, 0)
    dimensions = Dimensions((KG, SPEED, inertia, of(0, 0, -1)), JOULE)
    y = 0.5 * x[:, 0] * x[:, 1] ** 2 + 0.3 * x[:, 2] * x[:, 3] ** 2
    given = Problem(x, y, np.ones(200), 0.0, np.inf, dimensions=dimensions)
    first = next(sums_of_one_unit(given)).expression
    assert first(x) == pytest.approx(y)
    assert first.constants == pytest.approx([0.5, 0.3])
    assert dimensions.constants(first) == [NONE, NONE]
    assert not [*sums_of_one_unit(problem(None, 3))]


def test_changes_of_variables_have_units():
    x = np.random.default_rng(0).uniform(1, 3, (300, 3))
    given = Problem(x, (x[:, 1] - x[:, 2]) * x[:, 0], np.ones(300), 0.0, np.inf)
    merged = []
    for dimensions in (None, Dimensions((KG, SPEED, M), None)):
        found = reductions(replace(given, dimensions=dimensions))
        states = [one for one in found if isinstance(one, State)]
        merged.append(any(v - c in state.variables for state in states))
    assert merged == [True, False]
