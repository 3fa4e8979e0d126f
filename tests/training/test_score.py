"""A test error's own uncertainty, against what repeated draws of the test points show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from kan_exp.data import Split
from kan_exp.tasks import METRICS
from kan_exp.training.score import (
    MAX_BLOCKS,
    bootstrap_generator,
    linear_predictions,
    standard_errors,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def errors_of(points: int, seed: int, draws: int = 1) -> torch.Tensor:
    """Errors whose size differs from place to place, as a network's does."""
    size = torch.rand(draws, points, generator=seeded(seed), dtype=torch.float64)
    return size * torch.randn(draws, points, generator=seeded(seed + 1), dtype=torch.float64)


def rmse_standard_errors(errors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Of errors `(networks, points)`."""
    truth = torch.zeros(errors.shape[1], 1)
    found = standard_errors(METRICS["rmse"], [one[:, None] for one in errors], truth, generator)
    return torch.tensor(found, dtype=torch.float64)


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


# The linear model


def linear_oracle(train: Split, test: Split) -> list[float]:
    fit = LinearRegression().fit(train.x.double().numpy(), train.y.double().numpy())
    predicted, truth = fit.predict(test.x.double().numpy()), test.y.double().numpy()
    return [
        math.sqrt(mean_squared_error(truth, predicted)),
        mean_absolute_error(truth, predicted),
        r2_score(truth, predicted),
    ]


def collinear(columns: str) -> tuple[Split, Split]:
    a, b, noise = random(90, 3).T
    constant = torch.where(torch.arange(90) < 60, 2.5, a)  # constant in training only
    known = {"a": a, "b": b, "sum": a + b, "far": 1e6 + 1e-3 * b, "constant": constant}
    x = torch.stack([known[name] for name in columns.split()], 1)
    y = (3 * a - b**2 + noise + 20)[:, None]
    return Split(x[:60], y[:60]), Split(x[60:], y[60:])


@pytest.mark.parametrize(
    "columns", ["a", "a b", "a b sum", "a a a", "a constant", "far a", "constant"]
)
def test_the_linear_model_is_scikit_learns(columns):
    train, test = collinear(columns)
    predicted = linear_predictions(train, test)
    found = [METRICS[name].value(predicted, test.y.double()) for name in ("rmse", "mae", "r2")]
    np.testing.assert_allclose(found, linear_oracle(train, test), 1e-7)


def test_the_linear_model_with_fewer_rows_than_columns_fits_the_training_rows():
    split = Split(random(5, 9).float(), random(5, 1, seed=1).float())
    assert (linear_predictions(split, split) - split.y).abs().max() < 1e-6
