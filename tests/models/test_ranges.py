"""Inputs far outside of the training range are reported, with the columns that are worst first."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from kan_exp.data.ranges import outside
from kan_exp.models.model import KANModel

RANGES = np.array([[0.0, 10.0], [-1.0, 1.0], [5.0, 5.0]])
INSIDE = [3.0, 0.5, 5.0]


def rows(*changes: dict[int, float]) -> np.ndarray:
    return np.array(
        [[change.get(at, value) for at, value in enumerate(INSIDE)] for change in changes]
    )


def test_only_rows_beyond_a_tenth_of_the_range_are_reported():
    near = rows({}, {0: 11.0}, {0: -1.0}, {1: 1.2}, {1: -1.2})
    assert outside(near, RANGES, "abc") == []
    (line,) = outside(rows({}, {0: 11.01}, {1: -1.201}), RANGES, "abc")
    assert line.startswith("2 of 3 rows lie far outside ")
    assert "'a' in 1 (trained on 0 to 10, got 3 to 11.01)" in line
    assert "'b' in 1 (trained on -1 to 1, got -1.201 to 0.5)" in line


def test_columns_are_in_the_order_of_their_rows_then_of_their_distance():
    far = rows({0: 12.0}, {0: -2.0}, {1: 1.5, 2: 5.001}, {})
    (line,) = outside(far, RANGES, "abc")
    assert line.startswith("3 of 4 ")
    # Any distance from a column without a width is infinitely far.
    assert re.findall(r"'(\w)' in (\d)", line) == [("a", "2"), ("c", "1"), ("b", "1")]


@pytest.mark.parametrize(
    ("columns", "more"), [(3, ""), (4, "1 more column"), (5, "2 more columns")]
)
def test_three_columns_are_named_and_the_others_counted(columns, more):
    ranges = np.array([[0.0, 1.0]] * columns)
    (line,) = outside(np.full((1, columns), 2.0), ranges, "abcde"[:columns])
    assert line.startswith("1 of 1 row lies ")
    assert re.findall(r"'(\w)'", line) == ["a", "b", "c"]
    assert (f" and {more}." in line) if more else ("more" not in line)


def test_numbers_show_a_thousandth_of_the_range():
    ranges = np.array([[10_000.0, 10_000.5]])
    (line,) = outside(np.array([[10_000.123], [10_001.0]]), ranges, "a")
    assert "(trained on 10000 to 10000.5, got 10000.123 to 10001)" in line


def test_ranges_are_those_of_the_checkpoint_or_what_the_first_layer_has_seen(make_data, make_model):
    data = make_data()
    model = make_model(data)
    model.description = {"bounds": [[0, 1], [2, 3]]}
    np.testing.assert_array_equal(model.trained_ranges, [[0, 1], [2, 3]])
    del model.description
    model.observe(data.train.x)
    x = data.train.x.numpy()
    expected = np.stack([x.min(0), x.max(0)], axis=1)
    np.testing.assert_allclose(model.trained_ranges, expected, rtol=1e-6)
    plain = nn.Sequential(nn.Linear(2, 1))
    unknown = KANModel(plain, data.scaling, data.schema).trained_ranges
    assert unknown.shape == (2, 2)
    assert np.isnan(unknown).all()
    assert outside(torch.full((3, 2), 1e9).numpy(), unknown, data.features) == []
