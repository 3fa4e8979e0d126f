"""What cannot fit into the memory is refused before anything is made."""

from __future__ import annotations

import pytest

from kan_exp.errors import KanExpError
from kan_exp.layers.rules import KINDS
from kan_exp.training import host_memory
from kan_exp.training.host_memory import (
    check_grids_fit,
    check_network_fits,
    check_points_fit,
)
from kan_exp.training.stages import Stage


def test_the_limit_is_the_memory_that_is_free(monkeypatch):
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 4.0 * (3 * 1000 + 10 * 7))
    check_network_fits("dims=[2,1]", 1000, 10, 7)
    with pytest.raises(KanExpError, match=r"^dims=\[2,1\]: 1,000 parameters and 8 points a step"):
        check_network_fits("dims=[2,1]", 1000, 10, 8)
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 4.0 * 300)
    check_points_fit("points", 100, 3)
    with pytest.raises(KanExpError, match=r"^points: 101 points need at least"):
        check_points_fit("points", 101, 3)


def test_least_squares_on_a_grid_beyond_the_memory_are_refused(monkeypatch):
    stages, sizes = [Stage(4, 16, 1), Stage(400, 2, 1), Stage(800, 1, 1)], [60, 6000, 12_000]
    # Three matrices of 12,000 x 12,000 need more than six of 6,000 x 6,000.
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 8.0 * 3 * 12_000**2)
    check_grids_fit(sizes, stages, penalized=True)
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 8.0 * 3 * 12_000**2 - 1)
    with pytest.raises(KanExpError, match=r"^optimizer=lm on 800 intervals \(12,000 parameters"):
        check_grids_fit(sizes, stages, penalized=True)
    check_grids_fit(sizes, stages, penalized=False)
    # Without a penalty the change of grids needs most: a matrix of 400 x 800 numbers.
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 8.0 * 400 * 800 - 1)
    with pytest.raises(KanExpError, match=r"on 800 intervals .* needs at least 0\.0 GB"):
        check_grids_fit(sizes, stages, penalized=False)
    check_grids_fit([10], [Stage(None, 8, 1)], penalized=False)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("KANInterpoLayer", "num_x"),
        ("KANSplineLayer", "num_intervals"),
        ("KANRBFLayer", "num_centers"),
        ("KANLayer", "table_points"),
    ],
)
def test_a_grid_finer_than_float32_is_refused(kind, option):
    KINDS[kind].check(kind, **{option: 2**20})
    with pytest.raises(ValueError, match=f"{option} to be at most 1048576, .* got 100000000"):
        KINDS[kind].check(kind, **{option: 100_000_000})
