"""Errors of formulas that are written as in other programs."""

import pytest
import torch

from kan_exp.data import SampledData
from kan_exp.errors import KanExpError
from kan_exp.targets import Formula, Target


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        *[(f"{name}*a", f"uses '{name}', which is no finite number") for name in ("nan", "Inf")],
        ("a+infinity", "uses 'infinity'"),
        ("ln(a)", "Write log(x)."),
        ("pow(a,2)", "Write x**2."),
        ("arctan(a)", "Write atan(x)."),
        ("2(a+b)", "2*(x+y)"),
        ("(a+b)(a-b)", "2*(x+y)"),
        ("sin(a)(b)", "2*(x+y)"),
        *[(f"{module}.sin(a)", "write sin(x)") for module in ("np", "math", "torch.special")],
    ],
)
def test_the_line_says_what_to_write(text, fragment):
    with pytest.raises(KanExpError) as caught:
        Formula(text)
    assert fragment in str(caught.value)


@pytest.mark.parametrize("text", ["a*1e38", "1e38+1e37*a", "-3e38+a*1e37"])
def test_values_whose_mean_is_beyond_float32_are_refused(text):
    with pytest.raises(KanExpError, match="beyond float32"):
        SampledData(Target(text, domain=[-1, 1]), 1000, 500, 500, seed=0)


def test_values_within_float32_are_taken():
    data = SampledData(Target("a*1e35", domain=[-1, 1]), 1000, 500, 500, seed=0)
    assert torch.isfinite(data.scaling.y_mean).all()
