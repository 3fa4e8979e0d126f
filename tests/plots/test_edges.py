"""The figure of a layer: every edge, its truth where known, and titles that one can read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kan_exp.models.views import LayerView
from kan_exp.plots import LayerFigure
from kan_exp.plots.edges import MAX_EDGES
from kan_exp.plots.panel import Panel
from kan_exp.plots.style import LEARNED, TRUE, pixels
from kan_exp.tasks.numbers import near_one
from tests.plots.drawn import check_texts


def layer(
    inputs: int = 2, outputs: int = 3, seed: int = 0, truth: bool = False, points: int = 60
) -> LayerView:
    """A layer of waves, each with its own frequency and height."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(1, 4, (inputs, outputs))
    height = rng.uniform(0.1, 3, (inputs, outputs))
    x = rng.uniform(-1, 2, (points, inputs))
    curve_x = np.linspace(-1.2, 2.2, 50)[:, None].repeat(inputs, 1)

    def waves(at: np.ndarray) -> np.ndarray:
        return height * np.sin(frequency * at[:, :, None])

    return LayerView(
        number=1,
        input_names=["x", "y", "z"][:inputs] if inputs <= 3 else [f"x{i}" for i in range(inputs)],
        output_names=[f"h{j + 1}" for j in range(outputs)],
        x=x,
        y=waves(x),
        curve_x=curve_x,
        curve_y=waves(curve_x),
        domain=np.array([[-1.0, 2.0]] * inputs),
        truth=np.exp(x) + rng.normal(0, 0.1, x.shape) if truth else None,
    )


def panels(figure: LayerFigure) -> dict[str, Panel]:
    """The diagrams by the name of their edge."""
    return {panel.title.split("   ")[0]: panel for panel in figure.panels}


def labels(figure: LayerFigure) -> list[str]:
    return figure.legend


# Figure


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(1, 1), (2, 3), (3, 1), (1, 3), (7, 1), (1, 7), (2, 13), (6, 6)]
)
def test_every_edge_has_a_diagram_with_its_name_and_curve(inputs, outputs):
    view = layer(inputs, outputs)
    figure = LayerFigure(view)
    assert len(figure.panels) == inputs * outputs
    shown = panels(figure)
    for i, start in enumerate(view.input_names):
        for j, end in enumerate(view.output_names):
            panel = shown[f"{start} → {end}"]
            curve = panel.curve
            np.testing.assert_array_equal(curve[:, 0], view.curve_x[:, i])
            np.testing.assert_array_equal(curve[:, 1], view.curve_y[:, i, j])
            low, high = panel.y_limits
            assert low < curve[:, 1].min()
            assert curve[:, 1].max() < high
            assert panel.x_limits == (curve[0, 0], curve[-1, 0])
    assert figure.title == "Layer 1"


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 3), (7, 1), (6, 6)])
def test_curves_lie_where_the_scale_says(inputs, outputs):
    figure = LayerFigure(layer(inputs, outputs))
    image = pixels(figure.figure)[::-1] / 255  # from below
    boxes = []
    for panel in figure.panels:
        low, high = np.transpose([panel.x_limits, panel.y_limits])
        left, bottom, width, height = panel.box.bounds
        places = (panel.curve - low) / (high - low) * [width, height] + [left, bottom]
        x, y = places[5:-5].astype(int).T
        assert np.abs(image[y, x] - to_rgb(LEARNED)).mean() < 0.1
        blue = np.abs(image - to_rgb(LEARNED)).sum(-1) < 0.1
        boxes.append(blue[int(bottom) : int(bottom + height), int(left) : int(left + width)].sum())
    legend = 25 * 5  # pixels at most
    assert 0 <= blue.sum() - sum(boxes) < legend  # no curve leaves its box


def test_too_many_edges_show_the_strongest_and_say_so():
    view = layer(5, 9)
    figure = LayerFigure(view)
    height = {(i, j): np.std(view.y[:, i, j].tolist()) for i in range(5) for j in range(9)}
    weakest_shown = sorted(height.values(), reverse=True)[MAX_EDGES - 1]
    expected = {f"x{i} → h{j + 1}" for (i, j), h in height.items() if h >= weakest_shown}
    assert len(expected) == MAX_EDGES == 36
    assert set(panels(figure)) == expected
    assert len(figure.panels) == 36
    assert figure.title == "Layer 1, the 36 strongest of 45 edges"


def test_datas_range_and_density_are_drawn():
    view = layer(1, 1)
    (panel,) = LayerFigure(view).panels
    assert panel.domain == tuple(view.domain[0])
    counts, bins = np.histogram(view.x, bins=30)
    np.testing.assert_allclose(panel.bins, bins)
    np.testing.assert_array_equal(panel.counts, counts)


def test_update_shows_another_state_in_the_same_figure():
    before, after = layer(seed=0, truth=True), layer(seed=1, truth=True)
    drawn = LayerFigure(before)
    figure = drawn.figure
    drawn.update(after)
    assert drawn.figure is figure
    fresh, old = panels(LayerFigure(after)), panels(LayerFigure(before))
    for name, panel in panels(drawn).items():
        for curve in ("curve", "truth"):
            now = getattr(panel, curve)
            np.testing.assert_array_equal(now, getattr(fresh[name], curve))
            assert not np.array_equal(now, getattr(old[name], curve))
        assert panel.title == fresh[name].title
        assert panel.y_limits == fresh[name].y_limits
    assert (pixels(figure) == pixels(LayerFigure(after).figure)).all()


# Truth


def test_agreement_is_the_squared_correlation():
    view = layer(3, 2, truth=True)
    for i in range(3):
        for j in range(2):
            r2, fitted = view.agreement(i, j)
            expected = np.corrcoef(view.y[:, i, j], view.truth[:, i])[0, 1] ** 2
            assert r2 == pytest.approx(expected, rel=1e-9)
            slope, start = np.polyfit(view.truth[:, i], view.y[:, i, j], 1)
            np.testing.assert_allclose(fitted, start + slope * view.truth[:, i], atol=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1, 1000), (-0.01, 3), (1e6, -5)])
def test_agreement_does_not_see_scale_and_shift(scale, shift):
    view = layer(truth=True)
    r2, fitted = view.agreement(1, 2)
    r2_of_moved_truth, same = replace(view, truth=scale * view.truth + shift).agreement(1, 2)
    assert r2_of_moved_truth == pytest.approx(r2, abs=1e-9)
    np.testing.assert_allclose(same, fitted, atol=1e-7)  # the truth is drawn on the edge's scale
    r2_of_moved_edge, moved = replace(view, y=scale * view.y + shift).agreement(1, 2)
    assert r2_of_moved_edge == pytest.approx(r2, abs=1e-9)
    np.testing.assert_allclose(moved, scale * fitted + shift, rtol=1e-9, atol=1e-7)
    exact, _ = replace(view, y=(scale * view.truth + shift)[:, :, None]).agreement(1, 0)
    assert exact == pytest.approx(1)


def test_constants_agree_with_nothing():
    view = layer(truth=True)
    r2, fitted = replace(view, y=np.full_like(view.y, 4.0)).agreement(0, 0)
    assert r2 == 0
    np.testing.assert_array_equal(fitted, np.full(60, 4.0))
    # Any edge is a constant at its best scale and shift: that would say nothing.
    assert replace(view, truth=np.zeros_like(view.truth)).agreement(0, 0) is None


def test_without_truth_nothing_is_claimed():
    view = layer(truth=False)
    assert view.agreement(0, 0) is None
    figure = LayerFigure(view)
    for panel in figure.panels:
        assert panel.truth is None
        assert "R²" not in panel.title
    assert not any("true" in label for label in labels(figure))
    orange = np.abs(pixels(figure.figure) / 255 - to_rgb(TRUE)).sum(-1) < 0.1
    assert not orange.any()


def test_the_truth_drawn_is_the_fitted_one_and_its_r2_is_in_the_title():
    view = layer(truth=True)
    figure = LayerFigure(view)
    for i, start in enumerate(view.input_names):
        for j, end in enumerate(view.output_names):
            panel = panels(figure)[f"{start} → {end}"]
            slope, shift = np.polyfit(view.truth[:, i], view.y[:, i, j], 1)
            order = np.argsort(view.x[:, i])
            drawn = panel.truth
            np.testing.assert_array_equal(drawn[:, 0], view.x[order, i])
            np.testing.assert_allclose(drawn[:, 1], shift + slope * view.truth[order, i], atol=1e-9)
            r2 = np.corrcoef(view.y[:, i, j], view.truth[:, i])[0, 1] ** 2
            assert panel.title == f"{start} → {end}   R² {near_one(r2)}"
    assert "true, best scale and shift" in labels(figure)


# Drawn without a warning, which the tests would raise


def test_flat_edges_and_inputs_that_never_vary_can_be_drawn():
    view = layer(2, 2, truth=True)
    view.x[:, 0], view.curve_x[:, 0] = 3.0, 3.0
    flat = replace(view, y=np.full_like(view.y, 1e6), curve_y=np.full_like(view.curve_y, 1e6))
    for state in (flat, replace(flat, y=0 * view.y, curve_y=0 * view.curve_y)):
        figure = LayerFigure(state)
        check_texts(figure.figure)
        for panel in figure.panels:
            assert panel.y_limits[0] < panel.y_limits[1]
            assert panel.x_limits[0] < panel.x_limits[1]


def test_titles_of_different_edges_differ():
    start, end = "x" * 60, "z" * 60
    view = replace(layer(3, 1), input_names=[f"{start}A{end}", f"{start}B{end}", "b"])
    figure = LayerFigure(view)
    titles = [panel.title for panel in figure.panels]
    assert [title[-4:] for title in titles] == [" (1)", " (2)", "→ h1"]
    assert len({*titles}) == 3
    check_texts(figure.figure)
    figure.update(view)
    assert [panel.title for panel in figure.panels] == titles


@pytest.mark.parametrize("part", ["x", "curve_y"])
def test_values_that_are_not_finite_are_reported(part):
    view = layer()
    broken = getattr(view, part).copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="values that are not finite"):
        LayerFigure(replace(view, **{part: broken}))
