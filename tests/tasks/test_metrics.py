"""Metrics, compared with scikit-learn's and NumPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from kan_exp.tasks.metrics import (
    METRICS,
    higher_is_better,
    linear_of,
    standard_error_of,
    title,
)
from kan_exp.training.score import bootstrap_generator, standard_errors

ORACLES = {
    "rmse": lambda p, t: math.sqrt(sklearn.mean_squared_error(t, p)),
    "max_error": lambda p, t: sklearn.max_error(t, p),
    "mae": lambda p, t: sklearn.mean_absolute_error(t, p),
    "relative_error": lambda p, t: np.linalg.norm(p - t) / np.linalg.norm(t),
    "r2": lambda p, t: sklearn.r2_score(t, p),
    "r": lambda p, t: np.corrcoef(p, t)[0, 1],
}


def points(seed: int, count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    truth = 3 * torch.randn(count, 1, generator=draw, dtype=torch.float64) + 1
    return truth + torch.randn(count, 1, generator=draw, dtype=torch.float64), truth


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_other_libraries(name):
    for seed in range(3):
        predicted, truth = points(seed)
        expected = ORACLES[name](predicted[:, 0].numpy(), truth[:, 0].numpy())
        found = METRICS[name].value(predicted, truth).item()
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_the_best_value_is_that_of_the_truth(name):
    metric, (predicted, truth) = METRICS[name], points(0)
    own, best = metric.value(predicted, truth), metric.value(truth, truth)
    assert best.item() == pytest.approx(1 if metric.higher_is_better else 0, abs=1e-12)
    assert (own < best) == metric.higher_is_better


@pytest.mark.parametrize("name", METRICS)
@given(scale=st.floats(0.01, 100))
def test_units_are_those_of_the_target_or_none(name, scale):
    metric, (predicted, truth) = METRICS[name], points(1)
    expected = metric.value(predicted, truth).item() * (scale if metric.in_target_units else 1)
    found = metric.value(scale * predicted, scale * truth).item()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [one.name for one in METRICS.values() if one.terms])
def test_terms_are_those_of_which_it_is_a_mean(name):
    metric, (predicted, truth) = METRICS[name], points(2)
    terms = metric.terms(predicted, truth)
    assert terms.shape == (len(truth),)
    expected = metric.value(predicted, truth).item()
    assert metric.of_mean(terms.mean()).item() == pytest.approx(expected, rel=1e-12)


def test_the_standard_error_is_that_of_other_samples():
    """Of a mean absolute error it is the deviation of the errors by the root of their number."""
    predicted, truth = points(3, 1500)
    (found,) = standard_errors(METRICS["mae"], [predicted], truth, bootstrap_generator())
    expected = (predicted - truth).abs().std().item() / math.sqrt(1500)
    assert found == pytest.approx(expected, rel=0.15)


def test_a_metric_that_is_no_mean_has_no_standard_error():
    predicted, truth = points(3)
    with pytest.raises(ValueError, match="r2 is not a function of a mean"):
        standard_errors(METRICS["r2"], [predicted], truth, bootstrap_generator())


def test_constant_truth():
    truth = torch.full((5, 1), 2.0, dtype=torch.float64)
    assert METRICS["r2"].value(truth, truth).item() == 1
    assert METRICS["r2"].value(truth + 1, truth).item() == -math.inf
    assert METRICS["r"].value(truth, truth).isnan()
    assert METRICS["relative_error"].value(truth, 0 * truth).isnan()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("test_rmse", "test RMSE"),
        ("test_rmse_se", "standard error of the test RMSE"),
        ("val_mae", "validation MAE"),
        ("linear_r2", "linear model's test R²"),
        ("train_seconds", "train_seconds"),
        ("test_unknown", "test_unknown"),
        ("test_", "test_"),
    ],
)
def test_titles(key, said):
    assert title(key) == said


def test_what_belongs_to_a_number():
    assert higher_is_better("test_r2")
    assert not higher_is_better("test_r2_se")
    assert not higher_is_better("train_seconds")
    assert standard_error_of("test_rmse") == "test_rmse_se"
    assert standard_error_of("val_rmse") is None
    assert standard_error_of("test_r2") is None
    assert linear_of("test_r2") == "linear_r2"
    assert linear_of("val_rmse") is None
