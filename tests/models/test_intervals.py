"""Intervals around predictions, and why there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Column, Schema
from kan_exp.errors import KanExpError
from kan_exp.models.model import KANModel

NINE = torch.tensor([[0.5], [-1.0], [2.0], [0.1], [-0.2], [3.0], [-4.0], [0.3], [1.5]])


def model(output: Column, residuals: torch.Tensor | None = NINE, **options) -> KANModel:
    """A model that predicts its only input, on the scale on which the output is learned."""
    schema = Schema((Column("x"),), (output,))
    scaling = Scaling(*(make(1).double() for make in (torch.zeros, torch.ones) * 2))
    made = KANModel(nn.Sequential(nn.Identity()), scaling, schema, **options)
    made.residuals = residuals
    return made


def test_the_margin_is_a_quantile_for_so_few_errors():
    found = model(Column("y")).predict_interval([[10.0], [-1.0]], 0.7)
    np.testing.assert_allclose(found, [[[8, 12]], [[-3, 1]]])  # the 7th of 9: 0.7 of 10
    assert model(Column("y")).interval_margins(0.9).tolist() == [4.0]


def test_logarithms_have_intervals_of_a_factor():
    found = model(Column("y", scale="log"), smearing=(0.25,)).predict_interval([[1.0]], 0.7)
    np.testing.assert_allclose(np.log(found[0, 0]), [1.25 - 2, 1.25 + 2])


def test_each_output_has_its_own_margin():
    both = torch.cat([NINE, 10 * NINE], 1)
    scaling = Scaling(*(make(2).double() for make in (torch.zeros, torch.ones) * 2))
    made = KANModel(nn.Sequential(nn.Identity()), scaling, Schema.of_numbers("ab", "yz"))
    made.residuals = both
    np.testing.assert_allclose(made.predict_interval([[1.0, 2.0]]), [[[-3, 5], [-38, 42]]])


QUANTILES = {"scoring": {"metrics": ["pinball"], "primary": "pinball", "quantiles": [0.1, 0.9]}}


@pytest.mark.parametrize(
    ("output", "change", "coverage", "fragment"),
    [
        (Column("y"), {}, 90, "coverage must be between 0 and 1, got 90: set coverage=0.9."),
        (Column("y"), {}, "all", "coverage must be between 0 and 1, got 'all'."),
        (Column("y"), {}, 0.95, "need more than 9 errors .* ask for 0.9 at most"),
        (Column("y"), {"residuals": None}, 0.9, "train it again, on few rows with data.folds=5"),
        (Column("y"), {"description": QUANTILES}, 0.9, "predicts quantiles"),
        (Column("y"), {"description": {"coefficients": {}}}, 0.9, "a differential equation"),
        (Column("y"), {"activation": "exp"}, 0.9, "train with task=quantile instead"),
        (Column("y", "class", levels=("a", "b")), {}, 0.9, "y is a class, whose predictions are"),
    ],
)
def test_what_has_no_interval_says_why(output, change, coverage, fragment):
    made = model(output)
    for name, value in change.items():
        setattr(made, name, value)
    with pytest.raises(KanExpError, match=fragment) as error:
        made.predict_interval([[1.0]], coverage)
    assert str(error.value).isprintable()
