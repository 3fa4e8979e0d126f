"""Functions that users give as formulas."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.symbolic.functions import read_functions
from kan_exp.symbolic.library import LIBRARY
from kan_exp.targets.formula import Formula
from tests.symbolic.made import points

TEXTS = [
    "(sin(x)/x)**2",
    "-square(u - 0.1)*exp(+u/e) + pi",
    "sqrt(t) + log2(t) + sigmoid(2*t) + relu(t - 1) + erf(t)",
    "2**-abs(x)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_function_has_the_values_of_its_formula(text):
    expression = read_functions({"f": text})["f"]
    at = np.linspace(0.2, 3, 50)[:, None]
    assert expression(at) == pytest.approx(Formula(text)(torch.from_numpy(at)).numpy())
    assert len(expression.constants) == 0  # all numbers are exact


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"f": "sin(x"}, r"functions\.f 'sin\(x' has 2 '\(' but 0 '\)'|has 1 '\(' but 0"),
        ({"f": "sine(x)"}, "calls 'sine', which is not a known function.*Did you mean 'sin'"),
        ({"f": "x*y"}, r"functions\.f must have one variable, got x, y"),
        ({"f": "j0(x)"}, "a formula that is found cannot have bessel_j0: use abs, "),
        ({"f": "log(-exp(x))"}, r"functions\.f is finite nowhere between -5 and 5"),
        ({"f": 3}, "must be text"),
        ("sin(x)", "must be formulas by name"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_line(given, said):
    with pytest.raises(KanExpError, match=said) as caught:
        read_functions(given)
    assert "\n" not in str(caught.value)


def test_a_formula_may_have_them_and_the_next_one_has_not():
    at = points(120, 1)
    damped = np.exp(-at[:, 0] / 2) * np.sin(at[:, 0]) ** 3
    before = dict(LIBRARY)
    functions = {"sin": "exp(-x/2)*sin(x)**3"}  # a name of the library's own
    found = kan_exp.explain(at, 2 * damped + 0.5, functions=functions, seconds=60)
    assert found.found
    assert found.equals(sympy.sympify("2*exp(-x0/2)*sin(x0)**3 + 1/2"))
    assert before == LIBRARY
