"""Predictions against the truth: the points that were given, and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from kan_exp.plots import TASK_FIGURES, prediction_figure
from kan_exp.plots.prediction import MAX_POINTS
from kan_exp.tasks.huber import HuberRegression
from kan_exp.tasks.regression import Regression
from tests.plots.drawn import check_texts


def dots(axes) -> np.ndarray:
    return np.asarray(axes.collections[0].get_offsets())


def pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(5, 2, count)
    return truth[:, None], (truth + rng.normal(0, 0.3, count))[:, None]


def test_points_and_errors_are_drawn_with_their_names():
    truth, predicted = pairs(30)
    figure = prediction_figure(truth, predicted, "price", "RMSE 0.3")
    left, right = figure.axes
    np.testing.assert_allclose(dots(left), np.hstack([truth, predicted]))
    np.testing.assert_allclose(dots(right), np.hstack([truth, predicted - truth]))
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    np.testing.assert_array_equal(left.lines[0].get_data(), [[low, high]] * 2)  # where they agree
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [0, 0])
    assert (left.get_xlabel(), left.get_ylabel()) == ("price, true", "price, predicted")
    assert (right.get_xlabel(), right.get_ylabel()) == ("price, true", "predicted - true")
    assert figure.get_suptitle() == "Test points: RMSE 0.3"
    check_texts(figure)


def test_many_points_are_cut_in_pairs():
    truth, predicted = pairs(MAX_POINTS + 500)
    left, _ = prediction_figure(truth, predicted, "f", "").axes
    expected = np.hstack([truth, predicted])[:MAX_POINTS]
    np.testing.assert_allclose(dots(left), expected)


@pytest.mark.parametrize("value", [0.0, 7.5, -1e9])
def test_a_constant_can_be_drawn(value):
    same = np.full((5, 1), value)
    check_texts(prediction_figure(same, same, "a long name of a column " * 3, "R² 1.000"))


@pytest.mark.parametrize("task", [Regression, HuberRegression])
def test_every_figure_of_a_task_exists(task):
    truth, predicted = pairs(30)
    assert "prediction" in task.figures
    for name in task.figures:
        check_texts(TASK_FIGURES[name](truth, predicted, "price", "RMSE 0.3"))
