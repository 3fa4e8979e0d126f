"""Metrics of points that come a part at a time are those of all points together."""

from __future__ import annotations

import math

import pytest
import torch

from kan_exp.tasks import Scoring
from kan_exp.tasks.metrics import CLASSES, METRICS, NUMBERS, QUANTILES
from kan_exp.training import running_scores
from kan_exp.training.running_scores import RunningScores
from kan_exp.training.score import score_networks

POINTS = 5000
LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def few(monkeypatch):
    """Keeps no more than 1,000 points."""
    monkeypatch.setattr(running_scores, "MAX_KEPT", 1000)


def rows(judges: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and true values, such as seconds of one year."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(POINTS, 6, generator=generator, dtype=torch.float64)
    if judges == CLASSES:
        truth = draw[:, :3].argmax(1, keepdim=True).double()
        return (draw[:, :3] + draw[:, 3:]).softmax(1), truth
    truth = 1.7e9 + 100 * draw[:, :2]
    if judges == QUANTILES:
        return truth[:, :1] + 80 * draw[:, 3:], truth[:, :1]
    return truth + 30 * draw[:, 2:4], truth


def scored(scoring, predicted, truth, weight=None, size=700):
    running = RunningScores(scoring)
    whole = torch.arange(len(truth))
    for part in [whole[:0], *whole.split(size)]:
        running.add(predicted[part], truth[part], None if weight is None else weight[part])
    assert running.points == len(truth)
    return running.scores()


def scoring_of(judges):
    names = [one.name for one in METRICS.values() if one.judges == judges]
    return Scoring(names, names[0], LEVELS if judges == QUANTILES else ())


@pytest.mark.parametrize("judges", [NUMBERS, CLASSES, QUANTILES])
@pytest.mark.parametrize("weighs", [False, True])
def test_every_metric_is_that_of_all_points(few, judges, weighs):
    scoring = scoring_of(judges)
    predicted, truth = rows(judges)
    weight = torch.arange(POINTS) % 3 if weighs else None
    (expected,) = score_networks(scoring, [predicted], truth, weight)
    found = scored(scoring, predicted, truth, weight)
    error = f"{scoring.judged_by}_se"
    assert found.pop(error) == pytest.approx(expected.pop(error), rel=0.25)
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_few_points_have_the_very_numbers_of_a_training():
    predicted, truth = rows(NUMBERS)
    scoring = scoring_of(NUMBERS)
    (expected,) = score_networks(scoring, [predicted], truth)
    assert scored(scoring, predicted, truth) == expected


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_constants_have_no_correlation(few, error):
    truth = torch.full((POINTS, 1), 0.1)
    found = scored(Scoring(["r2", "r", "relative_error"], "r2"), truth + error, truth)
    assert found["test_r"] is None
    assert found["test_r2"] == (None if error else 1)
    assert found["test_relative_error"] == pytest.approx(10 * error)


def test_a_metric_of_all_points_keeps_them_alone(few):
    running = RunningScores(scoring_of(NUMBERS))
    for part in zip(*(one.split(700) for one in rows(NUMBERS)), strict=True):
        running.add(*part)
    assert not running._kept
    (kept,) = running._sums.deciding.values()  # of the largest error
    assert sum(len(truth) for _, truth in kept) == 1


def test_one_missing_number_spoils_the_mean(few):
    predicted, truth = rows(NUMBERS)
    predicted[3000, 0] = math.nan
    found = scored(Scoring(["rmse", "r2", "max_error"], "rmse"), predicted, truth)
    assert {*found.values()} == {None}
