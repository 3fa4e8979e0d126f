"""Pictures of solutions of differential equations."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from matplotlib.text import Text
from PIL import Image

from kan_exp.board.summaries import figure
from kan_exp.plots import Fields, conditions_figure, moving_picture, solution_figure


def frames(sides, count=3):
    axes = tuple(np.linspace(0, 1, 5 + k) for k in range(sides))
    grid = np.add.outer(*axes) if sides == 2 else axes[0]
    return [
        Fields(("x", "y")[:sides], axes, ("u",), (k * grid)[None], grid, None, where=f"t={k}")
        for k in range(count)
    ]


def test_a_moving_picture_has_a_frame_for_each_time():
    for sides in (1, 2):
        made = moving_picture(frames(sides))
        picture = Image.open(io.BytesIO(made))
        assert picture.n_frames == 3
        seen = []
        for number in range(3):
            picture.seek(number)
            seen.append(np.asarray(picture.convert("RGB")))
        assert all((one[0, 0] == 255).all() for one in seen)
        assert (seen[0] != seen[2]).any()
        image = figure("tag", made).value[0].image  # as TensorBoard shows it
        assert (image.width, image.height) == picture.size


def test_relations_are_said_to_be_met_or_not():
    sizes = [np.array([1e-6, 1e-5]), np.array([0.0, 0.2])]
    drawn = conditions_figure(["inside", "t=0"], sizes, [1e-6, 0.1], 1e-3)
    said = [text.get_text() for text in drawn.axes[0].texts]
    assert said == ["met (1.0e-06)", "not met (1.0e-01)"]
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["inside", "t=0"]


def test_long_names_fit_above_below_and_beside_panels():
    long = "a_name_that_is_longer_than_any_panel_is_wide_and_goes_on_and_on"
    (fields,) = frames(2, 1)
    fields = replace(fields, names=(long, long), outputs=(long,), where=f"{long}=0.5, " * 3)
    for draw in (
        lambda: solution_figure(fields, long),
        lambda: conditions_figure([long, f"{long}=1"], [np.array([1.0, 2.0])] * 2, [1, 1], 1e-3),
    ):
        drawn = draw()
        drawn.canvas.draw()
        texts = [one for one in drawn.findobj(Text) if one.get_text()]
        assert any("…" in one.get_text() for one in texts)
        for text in texts:
            box = text.get_window_extent()
            assert -2 <= box.x0 <= box.x1 <= drawn.bbox.width + 2


def test_scales_suit_the_values_and_their_labels_are_plain():
    (fields,) = frames(2, 1)
    values = np.linspace(299, 301, 30).reshape(1, 5, 6)
    drawn = solution_figure(replace(fields, solution=values, residual=values[0]), "")
    drawn.canvas.draw()
    assert drawn.axes[0].collections[0].get_clim() == (299, 301)  # not two hues around 0
    labels = [one.get_text() for axes in drawn.axes for one in axes.yaxis.get_ticklabels("both")]
    assert not any("$" in one for one in labels)
    drawn = solution_figure(replace(fields, solution=values - 300), "")
    assert drawn.axes[0].collections[0].get_clim() == (-1, 1)


def test_errors_are_drawn_at_the_points_of_a_table():
    (fields,) = frames(2, 1)
    points, values = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[1.0, 2.0]])
    errors = np.array([[0.1, 0.01]])
    drawn = solution_figure(replace(fields, table=(points, values, errors)), "")
    (dots,) = [one for one in drawn.axes[1].collections if len(one.get_offsets()) == 2]
    np.testing.assert_allclose(dots.get_offsets(), points.T)
    np.testing.assert_allclose(dots.get_array(), [0.1, 0.01])
