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
    CLASSES,
    METRICS,
    NUMBERS,
    OF_EQUATIONS,
    aucs,
    higher_is_better,
    linear_of,
    recalls,
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
OF_NUMBERS = [
    one.name
    for one in METRICS.values()
    if one.judges == NUMBERS and one.name not in (*OF_EQUATIONS, "poisson_deviance")
]
OF_CLASSES = {
    "log_loss": lambda p, t: sklearn.log_loss(t, p),
    "accuracy": lambda p, t: sklearn.accuracy_score(t, p.argmax(1)),
    "balanced_accuracy": lambda p, t: sklearn.balanced_accuracy_score(t, p.argmax(1)),
    "brier": lambda p, t: sklearn.brier_score_loss(t, p if p.shape[1] > 2 else p[:, 1]),
    "roc_auc": lambda p, t: (
        sklearn.roc_auc_score(t, p, multi_class="ovr")
        if p.shape[1] > 2
        else sklearn.roc_auc_score(t, p[:, 1])
    ),
}


def points(seed: int, count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    truth = 3 * torch.randn(count, 1, generator=draw, dtype=torch.float64) + 1
    return truth + torch.randn(count, 1, generator=draw, dtype=torch.float64), truth


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_metrics_are_those_of_other_libraries(name):
    for seed in range(3):
        predicted, truth = points(seed)
        expected = ORACLES[name](predicted[:, 0].numpy(), truth[:, 0].numpy())
        found = METRICS[name].value(predicted, truth).item()
        assert found == pytest.approx(expected, rel=1e-12)


def chances(seed: int, classes: int, count: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of classes, and classes that they say something about."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=draw, dtype=torch.float64)
    truth = torch.multinomial(logits.softmax(1), 1, generator=draw).double()
    return (1.5 * logits).softmax(1), truth


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", [one.name for one in METRICS.values() if one.judges == CLASSES])
def test_metrics_of_classes_are_scikit_learns(name, classes):
    predicted, truth = chances(0, classes)
    expected = OF_CLASSES[name](predicted.numpy(), truth[:, 0].numpy())
    assert METRICS[name].value(predicted, truth).item() == pytest.approx(expected, rel=1e-6)
    if METRICS[name].terms:
        assert METRICS[name].terms(predicted, truth).mean().item() == pytest.approx(
            expected, rel=1e-6
        )


def test_a_class_without_test_points_is_left_out_of_means_over_classes():
    predicted, truth = chances(1, 3)
    kept = truth[:, 0] != 2
    predicted, truth = predicted[kept], truth[kept]
    assert recalls(predicted, truth).isnan().tolist() == [False, False, True]
    assert aucs(predicted, truth).isnan().tolist() == [False, False, True]
    for name in ("balanced_accuracy", "roc_auc"):
        assert 0 < METRICS[name].value(predicted, truth).item() < 1


def test_a_certain_mistake_costs_a_finite_loss():
    wrong = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    loss = METRICS["log_loss"].value(wrong, torch.ones(1, 1)).item()
    assert loss == pytest.approx(sklearn.log_loss([1], wrong.numpy(), labels=[0, 1]))


@pytest.mark.parametrize("shares", [[0.9], [0.1, 0.5]])
def test_metrics_of_quantiles(shares):
    predicted, truth = points(0)
    predicted = torch.cat([predicted + share for share in shares], 1)
    pinball, coverage = (METRICS[one].of_quantiles(shares) for one in ("pinball", "coverage_error"))
    expected = [
        sklearn.mean_pinball_loss(truth, predicted[:, [k]], alpha=share)
        for k, share in enumerate(shares)
    ]
    assert pinball.value(predicted, truth).item() == pytest.approx(np.mean(expected), rel=1e-12)
    assert pinball.terms(predicted, truth).mean().item() == pytest.approx(np.mean(expected))
    below = (truth <= predicted).double().mean(0).numpy()
    assert coverage.value(predicted, truth).item() == pytest.approx(np.abs(below - shares).mean())


def test_the_deviance_of_counts_is_scikit_learns():
    draw = torch.Generator().manual_seed(0)
    predicted = torch.rand(50, 1, generator=draw, dtype=torch.float64) + 0.1
    truth = torch.poisson(predicted, generator=draw)
    expected = sklearn.mean_poisson_deviance(truth[:, 0], predicted[:, 0])
    metric = METRICS["poisson_deviance"]
    assert metric.value(predicted, truth).item() == pytest.approx(expected, rel=1e-12)
    assert metric.value(predicted - 1, truth).isnan()


def test_several_outputs_count_alike_in_what_has_no_unit():
    (first, one), (second, two) = points(0), points(1)
    predicted, truth = torch.cat([first, 1000 * second], 1), torch.cat([one, 1000 * two], 1)
    assert METRICS["r2"].value(predicted, truth).item() == pytest.approx(
        sklearn.r2_score(truth, predicted), rel=1e-12
    )
    parts = [METRICS["r"].value(*pair).item() for pair in ((first, one), (second, two))]
    assert METRICS["r"].value(predicted, truth).item() == pytest.approx(np.mean(parts))


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_the_best_value_is_that_of_the_truth(name):
    metric, (predicted, truth) = METRICS[name], points(0)
    own, best = metric.value(predicted, truth), metric.value(truth, truth)
    assert best.item() == pytest.approx(1 if metric.higher_is_better else 0, abs=1e-12)
    assert (own < best) == metric.higher_is_better
    assert metric.error(own) > metric.error(best) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", OF_NUMBERS)
@given(scale=st.floats(0.01, 100))
def test_units_are_those_of_the_target_or_none(name, scale):
    metric, (predicted, truth) = METRICS[name], points(1)
    expected = metric.value(predicted, truth).item() * (scale if metric.in_target_units else 1)
    found = metric.value(scale * predicted, scale * truth).item()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [one for one in OF_NUMBERS if METRICS[one].terms])
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
