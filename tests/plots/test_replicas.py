"""The replicas' band and strip show the numbers that went in."""

import numpy as np
import pytest

from kan_exp.plots import replicas_figure
from tests.plots.drawn import check_texts

NAN = np.nan
TRAIN = [(10, np.array([5.0, 1.0, 2.0, 3.0, 4.0])), (20, np.array([0.5, 0.1, NAN, 0.3, NAN]))]
VAL = [(20, np.array([0.6, 0.2, NAN, 0.4, NAN]))]
ERRORS = np.array([0.5, 0.1, 9.0, 0.3, NAN])
DIVERGED = np.array([False, False, True, False, True])


def test_the_band_is_of_the_replicas_that_still_train():
    figure = replicas_figure(TRAIN, VAL, ERRORS, DIVERGED, kept=1, seed=7, error="test MAE")
    left, right = figure.axes
    training = next(line for line in left.lines if line.get_label() == "training")
    assert list(training.get_xdata()) == [10, 20]
    assert list(training.get_ydata()) == pytest.approx([3.0, 0.3])
    whole, quartiles = (band.get_paths()[0].vertices[:, 1] for band in left.collections[:2])
    assert (whole.min(), whole.max()) == pytest.approx((0.1, 5.0))
    assert (quartiles.min(), quartiles.max()) == pytest.approx((0.2, 4.0))
    fine, diverged, kept = (points.get_offsets()[:, 1] for points in right.collections)
    assert list(fine) == [0.5, 0.1, 0.3]
    assert diverged[0] == 9.0
    assert list(kept) == [0.1]
    check_texts(figure)
    legend = {text.get_text() for text in right.get_legend().texts}
    assert legend == {"diverged", "median 0.3", "seed 8, kept"}


def test_nothing_but_diverged_replicas_and_no_history_are_drawn():
    errors, diverged = np.array([NAN, 2.0]), np.array([True, True])
    figure = replicas_figure([], [], errors, diverged, kept=0, seed=0, error="test MAE")
    check_texts(figure)
