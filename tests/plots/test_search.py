"""The figures of a search show the numbers that went in."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kan_exp.plots import importance_figure, parallel_figure, search_history_figure
from kan_exp.plots.search import Axis
from kan_exp.plots.style import TRUE, pixels
from tests.plots.drawn import check_texts


def test_the_best_so_far_falls_and_takes_no_notice_of_what_was_cut_or_failed():
    errors = [3.0, None, 0.5, 2.0, 1.0]
    figure = search_history_figure(errors, [False, False, True, False, False], "error")
    (axes,) = figure.axes
    assert list(axes.lines[0].get_ydata()) == [3.0, 3.0, 3.0, 2.0, 1.0]
    whole, cut, failed = (dots.get_offsets() for dots in axes.collections)
    assert whole.tolist() == [[0, 3.0], [3, 2.0], [4, 1.0]]
    assert cut.tolist() == [[2, 0.5]]
    assert failed[:, 0].tolist() == [1]
    labels = {text.get_text() for text in axes.get_legend().texts}
    assert labels == {"trial", "pruned", "best so far", "failed"}
    check_texts(figure)
    orange = np.abs(pixels(figure)[::-1] / 255 - to_rgb(TRUE)).sum(-1) < 0.1
    column = int(axes.transData.transform((1, 1))[0])  # of the failed trial
    rows = np.flatnonzero(orange[:, column - 2 : column + 3].any(1))
    assert np.ptp(rows[rows < axes.bbox.y0 + 0.1 * axes.bbox.height]) < 15  # a short mark
    assert rows.max() < axes.bbox.y1


def test_the_most_important_is_on_top():
    figure = importance_figure({"a": 0.2, "layer.num_intervals (layer=spline)": 0.8}, 9)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.2, 0.8]
    assert axes.get_yticklabels()[1].get_text() == "layer.num_intervals\n(layer=spline)"
    assert "from 9 whole trials" in axes.get_title()
    check_texts(figure)


def test_every_trial_is_a_line_and_the_best_is_marked():
    axes = [
        Axis("layer", ["spline", "mlp", "spline", "mlp"]),
        Axis("layer.num_x (layer=mlp)", [None, "129", None, "17"]),
        Axis("optimizer.lr", [1e-4, 1e-2, 1.0, 1e-3], log=True),
    ]
    errors = [1.0, 0.01, None, 0.1]
    figure = parallel_figure(axes, errors, "error")
    (place,) = figure.axes
    ours = [line for line in place.collections[0].get_segments() if len(line) == 4]
    assert len(ours) == 3
    worst, middle, best = (line[:, 1] for line in ours)
    assert worst.tolist() == pytest.approx([0.75, -0.1, 0.0, 1.0])
    assert middle.tolist() == pytest.approx([0.25, 0.25, 0.5, 0.5])
    assert best.tolist() == pytest.approx([0.25, 0.75, 1.0, 0.0])
    (marked,) = (line for line in place.lines if line.get_color() == TRUE)
    assert marked.get_ydata().tolist() == best.tolist()
    check_texts(figure)


@pytest.mark.parametrize("errors", [[None, None], [0.5, np.nan], [0.0, 0.0]])
def test_searches_that_found_nothing_much_are_drawn(errors):
    axes = [Axis("x", [1.0, 1.0], log=True), Axis("y", [None, None])]
    check_texts(parallel_figure(axes, errors, "error"))
    check_texts(search_history_figure(errors, [False, False], "error"))


@pytest.mark.parametrize("values", [[None, 32.0], [32.0, None]])
def test_an_option_with_one_value_is_labelled_by_it_whichever_trial_has_it(values):
    figure = parallel_figure([Axis("x", values)], [1.0, 2.0], "error")
    check_texts(figure)
    assert "32" in [text.get_text() for text in figure.axes[0].texts]
