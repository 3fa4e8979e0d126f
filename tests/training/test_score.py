"""A test error's own uncertainty, against what repeated draws of the test points show."""

from __future__ import annotations

import math

import pytest
import torch

from kan_exp.training.score import (
    MAX_BLOCKS,
    bootstrap_generator,
    rmse_standard_error,
    rmse_standard_errors,
    score,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def errors_of(points: int, seed: int, draws: int = 1) -> torch.Tensor:
    """Errors whose size differs from place to place, as a network's does."""
    size = torch.rand(draws, points, generator=seeded(seed), dtype=torch.float64)
    return size * torch.randn(draws, points, generator=seeded(seed + 1), dtype=torch.float64)


@pytest.mark.parametrize("points", [200, 1000, MAX_BLOCKS + 501, 5 * MAX_BLOCKS])
def test_it_is_the_spread_over_other_test_points(points):
    spread = errors_of(points, 10, draws=400).square().mean(1).sqrt().std().item()
    found = rmse_standard_errors(errors_of(points, 0, draws=20), seeded(3))
    assert found.mean().item() == pytest.approx(spread, rel=0.15)
    assert found.std() < 0.35 * found.mean()


def test_it_is_the_bootstrap_of_numpy():
    np = pytest.importorskip("numpy")
    errors = errors_of(300, 4)
    squares = errors[0].numpy() ** 2
    draws = np.random.default_rng(0).integers(300, size=(4000, 300))
    expected = np.sqrt(squares[draws].mean(1)).std()
    found = [rmse_standard_errors(errors, seeded(seed)).item() for seed in range(10)]
    assert sum(found) / 10 == pytest.approx(expected, rel=0.05)


def test_the_same_generator_gives_the_same_digits_alone_or_among_others():
    errors = errors_of(500, 0, draws=4)
    every = rmse_standard_errors(errors, bootstrap_generator())
    assert torch.equal(every, rmse_standard_errors(errors, bootstrap_generator()))
    alone = [rmse_standard_errors(one[None], bootstrap_generator()) for one in errors]
    assert torch.equal(every, torch.cat(alone))
    truth = torch.zeros(500, 1)
    assert rmse_standard_error(errors[:1].T, truth, bootstrap_generator()) == every[0].item()


def test_units_scale_it():
    errors = errors_of(500, 0)
    one, thousand = (rmse_standard_errors(k * errors, bootstrap_generator()) for k in (1, 1000))
    torch.testing.assert_close(thousand, 1000 * one)


def test_what_has_no_spread_has_none():
    assert rmse_standard_errors(torch.ones(1, 30), seeded(0)).item() == pytest.approx(0, abs=1e-12)
    assert rmse_standard_errors(torch.ones(1, 1), seeded(0)).isnan().all()
    errors = torch.ones(2, 30)
    errors[0, 3] = math.nan
    found = rmse_standard_errors(errors, seeded(0))
    assert found.isnan().tolist() == [True, False]


def test_the_largest_error_is_absolute():
    truth = torch.zeros(3, 1)
    assert score(torch.tensor([[0.5], [-2.0], [1.0]]), truth).max_error == 2.0
