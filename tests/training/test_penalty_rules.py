"""Which penalties there are, and which of them least squares can take."""

from __future__ import annotations

import math

import pytest

from kan_exp.errors import KanExpError
from kan_exp.training.penalty_rules import (
    check_group,
    check_quadratic,
    check_smooth,
    check_weights,
)


@pytest.mark.parametrize(
    ("name", "grids", "taken"),
    [
        ("roughness", True, True),
        ("jerk", True, True),
        ("group", True, True),
        ("roughness", False, False),
        ("l1_edges", True, False),
        ("smooth", True, False),
    ],
)
def test_least_squares_take_some_penalties_of_grids(name, grids, taken):
    names = ["curvature", name] if grids else [name]
    if taken:
        check_quadratic(names, grids)
    else:
        with pytest.raises(KanExpError, match=rf"^penalty\.{name} does not go with optimizer=lm"):
            check_quadratic(names, grids)


@pytest.mark.parametrize("weight", [-1e-9, math.inf, math.nan])
def test_weights_are_finite_and_not_below_zero(weight):
    check_weights({"roughness": 0, "l1_outputs": 1e9})
    with pytest.raises(KanExpError, match=r"^penalty\.jerk must be at least 0"):
        check_weights({"roughness": 0, "jerk": weight})


def test_smooth_needs_a_table():
    check_smooth({"smooth": 0.1}, tables=True)
    check_smooth({"smooth": 0.0}, tables=False)
    with pytest.raises(KanExpError, match=r"^penalty\.smooth"):
        check_smooth({"smooth": 0.1}, tables=False)


def test_group_needs_splines():
    check_group({"group": 0.1}, splines=True)
    check_group({"group": 0.0}, splines=False)
    with pytest.raises(KanExpError, match=r"^penalty\.group: only .*l1_edges with optimizer=adam"):
        check_group({"group": 0.1}, splines=False)
