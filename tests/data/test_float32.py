"""Targets whose values float32 cannot hold or distinguish."""

from __future__ import annotations

import numpy as np
import pytest

from kan_exp.data import SampledData
from kan_exp.errors import KanExpError
from kan_exp.targets import Target


def sampled(formula: str, **options) -> SampledData:
    return SampledData(Target(formula, **options), 200, 50, 50, seed=0, border=0.1)


@pytest.mark.parametrize(
    ("formula", "options", "fragment"),
    [
        ("1e9+sin(x)", {}, "subtract 1e+09"),
        ("sin(x)-1e6", {}, "subtract -1e+06"),
        ("1e15+x", {}, "subtract 1e+15"),
        ("1e-42*sin(x)", {}, "multiply it by a large number"),
        ("x**2", {"domain": [1e-30, 2e-30]}, "multiply it by a large number"),
        ("x", {"domain": [-3e38, 3e38]}, "target.domain of x, [-3e+38, 3e+38], is too wide"),
        ("x", {"noise": 3e38}, "lower target.noise"),
    ],
)
def test_values_that_float32_would_change_are_refused(formula, options, fragment):
    with pytest.raises(KanExpError) as caught:
        sampled(formula, **options)
    assert fragment in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "formula",
    ["1e4+sin(x)", "1e30*exp(x)", "1e-30*sin(x)", "1/x", "exp(-1e9*x**2)", "1/(1-x)", "0*x+3"],
)
def test_other_values_are_those_of_the_formula(formula):
    data = sampled(formula)
    exact = data.target.formula(data.train.x.double()).numpy()
    error = np.abs(data.train.y[:, 0].double().numpy() - exact).max()
    assert error <= 1e-3 * exact.std()


@pytest.mark.parametrize("formula", ["sin(x)**2+cos(x)**2", "0.1+0*x", "x-x"])
def test_a_constant_is_taken_as_one(formula):
    assert sampled(formula).train.y.unique().numel() == 1
