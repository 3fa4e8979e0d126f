"""Predictions against the truth: the points that were given, and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from kan_exp.plots import TASK_FIGURES, prediction_figure
from kan_exp.plots.classes import calibration, calibration_figure, confusion_figure, roc, roc_figure
from kan_exp.plots.prediction import MAX_POINTS, quantiles_figure
from kan_exp.tasks.classification import Classification
from kan_exp.tasks.huber import HuberRegression
from kan_exp.tasks.quantile import QuantileRegression
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
    figure = prediction_figure(truth, predicted, ["price"], "RMSE 0.3")
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
    left, _ = prediction_figure(truth, predicted, ["f"], "").axes
    expected = np.hstack([truth, predicted])[:MAX_POINTS]
    np.testing.assert_allclose(dots(left), expected)


@pytest.mark.parametrize("value", [0.0, 7.5, -1e9])
def test_a_constant_can_be_drawn(value):
    same = np.full((5, 1), value)
    check_texts(prediction_figure(same, same, ["a long name of a column " * 3], "R² 1.000"))


def test_several_outputs_have_a_row_each():
    truth, predicted = (np.hstack([part, 1000 * part, -part]) for part in pairs(30))
    names = ["price", "a long name of a column " * 3, "weight"]
    figure = prediction_figure(truth, predicted, names, "R² 0.9")
    assert len(figure.axes) == 6
    np.testing.assert_allclose(
        dots(figure.axes[2]), np.stack([truth[:, 1], predicted[:, 1]], axis=1)
    )
    check_texts(figure)


def test_quantiles_say_how_many_points_are_at_or_below():
    truth, predicted = pairs(40)
    predicted = np.hstack([predicted - 10, predicted, predicted + 10])
    figure = quantiles_figure(truth, predicted, ["y q0.1", "y q0.5", "y q0.9"], "")
    shares = [axes.get_xlabel() for axes in figure.axes[:3]]
    assert shares[0] == "y q0.1, 0% at or below"
    assert shares[2] == "y q0.9, 100% at or below"
    np.testing.assert_allclose(dots(figure.axes[1]), np.hstack([predicted[:, [1]], truth]))
    check_texts(figure)


def chances(names, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predicted = rng.dirichlet(np.ones(len(names)), count)
    return np.array([[rng.choice(len(names), p=row)] for row in predicted]), predicted


NAMES = {
    "two": ["no", "yes"],
    "long": ["Überaus langer Klassenname (unbekannt) " * 2, "короткий", "$x$ _y_", ""],
    "ten": [str(k) for k in range(10)],
    "many": [f"class {k}" for k in range(60)],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("draw", [confusion_figure, roc_figure, calibration_figure])
def test_figures_of_classes_have_room_for_their_names(draw, names):
    figure = draw(*chances(names), names, "accuracy 0.9, log-loss 0.1")
    assert figure.texts[-1].get_text() == "Test points: accuracy 0.9, log-loss 0.1"
    if draw is not confusion_figure:  # whose tick labels may overlap its own axes
        check_texts(figure)


def test_the_confusion_matrix_counts_true_rows_and_predicted_columns():
    truth = np.array([[0], [0], [1], [2], [2]])
    predicted = np.eye(3)[[0, 1, 1, 0, 2]]
    axes = confusion_figure(truth, predicted, ["a", "b", "c"], "").axes[0]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (0, 2): "1", (2, 2): "1"}
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.5, 0.5, 0], [0, 1, 0], [0.5, 0, 0.5]]
    )


def test_roc_curves_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = chances(["no", "yes"])
    scores = predicted[:, 1].round(1)  # with ties
    expected = metrics.roc_curve(truth[:, 0], scores, drop_intermediate=False)[:2]
    for found, known in zip(roc(truth[:, 0] == 1, scores), expected, strict=True):
        np.testing.assert_allclose(found, known)


def test_calibration_is_scikit_learns_of_the_second_of_two_classes():
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    truth, predicted = chances(["no", "yes"])
    figure = calibration_figure(truth, predicted, ["no", "yes"], "")
    share, mean = curve(truth[:, 0], predicted[:, 1], n_bins=6, strategy="quantile")
    line = figure.axes[0].containers[0][0]
    np.testing.assert_allclose(line.get_data(), [mean, share])
    assert figure.axes[0].get_xlabel() == "probability of yes"


def test_few_points_that_agree_are_not_certain():
    _, share, error = calibration(np.linspace(0.9, 1, 8), np.ones(8, dtype=bool))
    assert share.tolist() == [1, 1]
    assert (error > 0.1).all()


@pytest.mark.parametrize("task", [Regression, HuberRegression, Classification, QuantileRegression])
def test_every_figure_of_a_task_exists(task):
    assert TASK_FIGURES.keys() >= {*task.figures}
