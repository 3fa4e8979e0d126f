"""Names of curves: the right function, its constants, and none too many of them."""

import numpy as np
import pytest

from kan_exp.symbolic.library import COMPOUNDS, LIBRARY
from kan_exp.symbolic.naming import name_curve

Z = np.linspace(0.2, 1.8, 90)


@pytest.mark.parametrize(
    ("name", "curve", "constants"),
    [
        ("line", 2 * Z - 3, [2, -3]),
        ("square", 3 * (Z - 1) ** 2 + 2, [3, -1, 2]),
        ("square root", 2 * np.sqrt(Z + 1), [2, 1, 0]),
        ("reciprocal", 0.5 / (Z + 2) - 1, [0.5, 2, -1]),
        ("exp", 0.7 * np.exp(-1.5 * Z) + 4, [0.7, -1.5, 4]),
        ("log", 3 * np.log(Z + 0.5) + 1, [3, 0.5, 1]),
        ("tanh", 2 * np.tanh(1.5 * Z - 1) + 3, [2, 1.5, -1, 3]),
    ],
)
def test_a_curve_has_its_name_and_constants(name, curve, constants):
    best = min(name_curve(Z, curve), key=lambda fit: (fit.error > 1e-12, fit.cost))
    assert best.function == name
    assert best.error < 1e-12
    # An odd or even function has a mirror image; a shift of exactly 0 is no constant.
    found, constants = np.abs(best.expression.constants), np.abs(constants)
    np.testing.assert_allclose(found[found > 1e-7], constants[constants > 0], atol=1e-7)


@pytest.mark.parametrize("name", ["sin", "gaussian", "Bose", "atanh", "log(1-exp)", "Doppler(exp)"])
def test_a_function_of_four_constants_is_fitted_exactly(name):
    function = (LIBRARY | COMPOUNDS)[name]
    curve = 2 * function((-0.4 * Z - 0.1)[:, None]) + 1
    fits = name_curve(Z, curve, functions=list(LIBRARY | COMPOUNDS))
    errors = [fit.error for fit in fits if fit.function == name]
    assert errors[0] < 1e-11
    best = next(fit for fit in fits if fit.function == name)
    np.testing.assert_allclose(best.expression(Z[:, None]), curve, rtol=1e-9)


def test_weights_say_which_points_count():
    curve = np.where(Z < 1, Z**2, 7.0)
    best = name_curve(Z, curve, np.where(Z < 1, 1.0, 0.0), functions=["line", "square", "exp"])[0]
    assert (best.function, best.error < 1e-12) == ("square", True)


@pytest.mark.parametrize(
    ("z", "curve"),
    [
        ([], []),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        (Z, np.full_like(Z, 2.0)),
        (Z, np.full_like(Z, np.nan)),
    ],
    ids=["no points", "one argument", "constant", "nan"],
)
def test_what_is_no_curve_has_no_name(z, curve):
    assert name_curve(np.array(z), np.array(curve)) == []
