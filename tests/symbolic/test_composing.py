"""Compositions of functions: right values, and no more free constants than can be told apart."""

import numpy as np
import pytest

from kan_exp.symbolic.composing import Linear, added, applied, multiplied
from kan_exp.symbolic.expression import Call, Input
from kan_exp.symbolic.library import LIBRARY

X = np.random.default_rng(0).uniform(0.5, 2, (50, 2))
A, B = (Linear(((2.0, Input(column)),), 1.0) for column in (0, 1))


@pytest.mark.parametrize(("name", "free"), [("square root", 4), ("exp", 4), ("log", 4), ("sin", 5)])
def test_a_function_of_a_sum(name, free):
    value = applied(LIBRARY[name], added([A, B]).scaled(0.3, 0.2)).scaled(3.0, 0.5).expression
    function = LIBRARY[name]
    argument = 0.3 * (2 * X[:, 0] + 2 * X[:, 1] + 2) + 0.2
    np.testing.assert_allclose(value(X), 3 * function(argument[:, None]) + 0.5)
    assert len(value.constants) == free
    _, jacobian = value.jacobian(X)
    assert np.linalg.matrix_rank(jacobian, tol=1e-8) == free


def test_a_product_has_one_scale():
    value = multiplied([A, B.scaled(-1.0), Linear((), 4.0)]).expression
    np.testing.assert_allclose(value(X), -4 * (2 * X[:, 0] + 1) * (2 * X[:, 1] + 1))
    assert len(value.constants) == 3


def test_exp_of_logarithms_is_a_product_of_powers():
    logs = [applied(LIBRARY["log"], Linear(((1.0, Input(column)),))) for column in (0, 1)]
    value = applied(LIBRARY["exp"], added([logs[0].scaled(2.0), logs[1].scaled(-1.5)])).expression
    np.testing.assert_allclose(value(X), X[:, 0] ** 2 / X[:, 1] ** 1.5)
    assert not any(isinstance(node, Call) for node in value.walk())
