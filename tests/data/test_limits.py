"""Domains that float32 cannot hold, and advice for tables that cannot be used as they are."""

from __future__ import annotations

import pytest

from kan_exp.data.checks import check_sampled
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.training_table import learning_table
from kan_exp.errors import KanExpError
from kan_exp.targets import Target


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1e6, 1e6 + 99, "too narrow so far from zero"),
        (-1e6 - 99, -1e6, "too narrow so far from zero"),
        (1e6, 1e6 + 101, None),
        (0, 1e-6, None),
        (-2e38, 2e38, "too wide for float32"),
    ],
)
def test_a_domain_must_suit_float32(low, high, words):
    target = Target("x + y", domain=[[-1, 1], [low, high]])
    if words is None:
        check_sampled(target, 2, 2, 2)
        return
    with pytest.raises(KanExpError, match=rf"target\.domain of y, .* is {words}"):
        check_sampled(target, 2, 2, 2)


@pytest.mark.parametrize("header", ["a,b,???", "a,b,"])
def test_the_last_column_that_an_option_can_name_is_suggested(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n1,2,3\n")
    with pytest.raises(KanExpError, match=r"data\.target is needed.*, such as data\.target=b;"):
        learning_table(tmp_path / "t.csv", None, None, SplitOptions([0.7, 0.15, 0.15], 0), ",")
