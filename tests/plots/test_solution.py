"""Pictures of solutions of differential equations."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
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


def test_errors_are_drawn_at_the_points_of_a_table():
    (fields,) = frames(2, 1)
    points, values = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[1.0, 2.0]])
    errors = np.array([[0.1, 0.01]])
    drawn = solution_figure(replace(fields, table=(points, values, errors)), "")
    (dots,) = [one for one in drawn.axes[1].collections if len(one.get_offsets()) == 2]
    np.testing.assert_allclose(dots.get_offsets(), points.T)
    np.testing.assert_allclose(dots.get_array(), [0.1, 0.01])
