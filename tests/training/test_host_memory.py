"""What cannot fit into the memory is refused before anything is made."""

from __future__ import annotations

import pytest

from kan_exp.errors import KanExpError
from kan_exp.layers.rules import KINDS
from kan_exp.training import host_memory
from kan_exp.training.host_memory import check_network_fits, check_points_fit


def test_the_limit_is_the_memory_that_is_free(monkeypatch):
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 4.0 * (3 * 1000 + 10 * 7))
    check_network_fits("dims=[2,1]", 1000, 10, 7)
    with pytest.raises(KanExpError, match=r"^dims=\[2,1\]: 1,000 parameters and 8 points a step"):
        check_network_fits("dims=[2,1]", 1000, 10, 8)
    monkeypatch.setattr(host_memory, "host_bytes", lambda: 4.0 * 300)
    check_points_fit("points", 100, 3)
    with pytest.raises(KanExpError, match=r"^points: 101 points need at least"):
        check_points_fit("points", 101, 3)


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
