"""Structures of splines: derivatives, refinement, and what they can represent."""

import numpy as np
import pytest

from kan_exp.symbolic.spline_basis import SplineRows
from kan_exp.symbolic.spline_starts import random_splines
from kan_exp.symbolic.splines import Splines
from kan_exp.symbolic.structures import Curve, Node

LEAVES = (Curve(0), Curve(1), Curve(2))
DEEP = Curve(Node(False, (Curve(Node(True, LEAVES[:2])), LEAVES[2], Node(True, LEAVES[1:]))))


@pytest.fixture
def rows():
    x = np.random.default_rng(0).uniform(-1, 1, (150, 3))
    return SplineRows(x, np.sin(x @ [1.0, 2.0, 3.0]), np.ones(150))


def test_a_structure_reads_as_its_formula():
    assert str(DEEP) == "g(g(f(x0)*f(x1))+f(x2)+f(x1)*f(x2))"


def test_derivatives_are_those_of_differences(rows):
    splines = random_splines(DEEP, rows, 2, np.random.default_rng(1))
    # A narrow grid: some arguments lie beyond it.
    splines.high[:, 2] -= 0.3 * (splines.high[:, 2] - splines.low[:, 2])
    jacobian = splines(rows, derivatives=True).jacobian
    flat = splines.coefficients.reshape(2, -1)
    for column in range(0, flat.shape[1], 5):
        outputs = []
        for sign in (1, -1):
            flat[:, column] += sign * 1e-6
            outputs.append(splines(rows).output)
            flat[:, column] -= sign * 1e-6
        difference = (outputs[0] - outputs[1]) / 2e-6
        np.testing.assert_allclose(jacobian[:, :, column], difference, atol=1e-7)


def test_refined_splines_have_the_same_values(rows):
    splines = random_splines(DEEP, rows, 3, np.random.default_rng(1))
    fine = splines.refined()
    assert fine.cells == 2 * splines.cells
    fresh = SplineRows(1.5 * rows.x, rows.y, np.ones(150))
    fresh.low, fresh.high = rows.low, rows.high
    np.testing.assert_allclose(fine(fresh).output, splines(fresh).output, atol=1e-12)


def test_splines_go_on_along_straight_lines():
    x = np.linspace(-3, 3, 13)[:, None]
    coefficients = np.random.default_rng(0).normal(size=(1, 1, 7))
    ends = np.array([[-1.0]]), np.array([[1.0]])
    splines = Splines(Curve(0), 4, coefficients, *ends, np.zeros(1))
    output = splines(SplineRows(x, x[:, 0], np.ones(13))).output[0]
    for beyond in (output[:5], output[8:]):
        np.testing.assert_allclose(np.diff(beyond, 2), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("structure", "target", "error"),
    [
        (Curve(Node(True, LEAVES)), lambda x: x[:, 0] * x[:, 1] * (x[:, 2] - 0.5), 1e-6),
        (Curve(Node(False, LEAVES)), lambda x: np.exp(x[:, 0] ** 2 - x[:, 1] + x[:, 2]), 5e-3),
    ],
    ids=["product", "sum"],
)
def test_the_right_structure_is_fitted(rows, structure, target, error):
    y = target(rows.x)
    own = SplineRows(rows.x, (y - y.mean()) / y.std(), np.ones(150))
    splines = random_splines(structure, own, 36, np.random.default_rng(0)).fit(own, 30)
    assert np.sqrt(splines.best().loss[0]) < error
