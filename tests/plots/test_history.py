"""The loss over the steps, for every run that can be: long, short, perfect or empty."""

from __future__ import annotations

import pytest

from kan_exp.plots import history_figure
from tests.plots.drawn import check_texts

TRAIN = [(50, 0.9), (100, 0.02), (137, 0.001)]
VAL = [(100, 0.03), (137, 0.002)]


def labelled(figure) -> dict:
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_both_losses_and_the_kept_step_are_drawn():
    figure = history_figure(TRAIN, VAL, 1234)
    lines = labelled(figure)
    assert list(zip(*lines["training"].get_data(), strict=True)) == TRAIN
    assert list(zip(*lines["validation"].get_data(), strict=True)) == VAL
    assert list(lines["best, step 1,234"].get_xdata()) == [1234, 1234]
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "step"
    assert [text.get_text() for text in axes.get_legend().texts] == list(lines)
    check_texts(figure)


@pytest.mark.parametrize(
    ("train", "val", "best", "labels"),
    [
        ([], [], None, []),
        (TRAIN, [], None, ["training"]),
        ([], VAL, None, ["validation"]),
        ([], [], 0, ["best, step 0"]),
        (TRAIN[:1], VAL[:1], 100, ["training", "validation", "best, step 100"]),
    ],
)
def test_what_is_missing_is_left_out(train, val, best, labels):
    figure = history_figure(train, val, best)
    assert list(labelled(figure)) == labels
    assert (figure.axes[0].get_legend() is None) == (not labels)
    check_texts(figure)


@pytest.mark.parametrize(
    ("train", "scale"),
    [([(1, 0.0), (2, 0.0)], "linear"), ([(1, 0.5), (2, 0.0)], "log"), ([(1, 1e-30)], "log")],
)
def test_a_perfect_fit_can_be_drawn(train, scale):
    figure = history_figure(train, [(2, 0.0)], 2)
    assert figure.axes[0].get_yscale() == scale
    check_texts(figure)
