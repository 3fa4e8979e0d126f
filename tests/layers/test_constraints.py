"""Coefficients that make edges monotone and convex."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from sklearn.isotonic import IsotonicRegression

from kan_exp.layers import KANInterpoLayer, KANSplineLayer
from kan_exp.layers.constraints import Constraint, constrain, constrained, layer_constraints

SIGNS = [pair for pair in itertools.product((-1, 0, 1), repeat=2) if any(pair)]


@pytest.mark.parametrize("degree", range(1, 6))
@pytest.mark.parametrize(("monotone", "convex"), SIGNS)
def test_coefficients_decide_the_shape_of_an_edge(degree, monotone, convex):
    generator = torch.Generator().manual_seed(0)
    edges = torch.randn(9 + degree, 40, generator=generator)
    found = constrained(edges, monotone, convex)
    assert torch.equal(found.float().double(), found) or not convex  # exact in float32, too
    values = found.float().numpy()
    assert not monotone or (monotone * np.diff(values, axis=0) >= 0).all()
    assert not convex or (convex * np.diff(values, n=2, axis=0) >= 0).all()
    # The curves, by SciPy: on a grid of 9 intervals.
    knots = np.arange(-degree, 10 + degree) / 9
    spline = BSpline(knots, found.numpy(), degree)
    curve = spline(np.linspace(0, 1, 400))
    rounding = 1e-12 * np.abs(curve).max()
    assert not monotone or (monotone * np.diff(curve, axis=0)).min() >= -rounding
    assert not convex or (convex * np.diff(curve, n=2, axis=0)).min() >= -rounding
    # Edges that obey already stay what they are.
    again = constrained(found, monotone, convex)
    torch.testing.assert_close(again, found, rtol=0, atol=1e-6)


def test_monotone_coefficients_are_the_nearest_in_the_maximum_norm():
    generator = torch.Generator().manual_seed(1)
    edges = torch.randn(12, 30, generator=generator).double()
    far = (constrained(edges, 1, 0) - edges).abs().amax(0)
    falls = torch.stack([(edges[i] - edges[j]) / 2 for i in range(12) for j in range(i, 12)]).amax(
        0
    )
    torch.testing.assert_close(far, falls)  # half of the largest fall: no sequence is nearer
    for column, own in zip(edges.T, far, strict=True):  # nor that of least squares
        fitted = IsotonicRegression().fit_transform(np.arange(12), column.numpy())
        assert own <= np.abs(fitted - column.numpy()).max() + 1e-12


def test_free_inputs_and_straight_edges():
    generator = torch.Generator().manual_seed(2)
    layer = KANInterpoLayer(3, 2, num_x=9, generator=generator)
    layer.values.data.normal_(generator=generator)
    straight = torch.zeros(3, 2, dtype=torch.bool)
    straight[1] = True
    layer.straighten(straight)
    layer.lines.data[0] = torch.tensor([[1.0, 1.0], [2.0, -3.0], [1.0, -1.0]])
    before = layer.values.clone()
    constrain(torch.nn.Sequential(layer), [Constraint((0, -1, 1), (0, 0, -1))])
    assert torch.equal(layer.values[0], before[0])
    assert layer.lines[0].tolist() == [[1, 1], [0, -3], [1, 0]]
    assert bool((layer.values[1].diff(dim=0) <= 0).all())


def test_layers_behind_the_first_increase_and_bend_alike():
    first, second, last = layer_constraints([3, 2, 2, 1], (0, -1, 0), (0, 1, 0))
    assert first == Constraint((0, -1, 0), (0, 1, 0))
    assert second == last == Constraint((1, 1), (1, 1))
    assert not any(one.pairs for one in layer_constraints([2, 2, 1], (0, 0), (0, 0)))


def test_finer_grids_keep_the_shape():
    layer = KANSplineLayer(2, 3, num_intervals=4, generator=torch.Generator().manual_seed(3))
    constraint = [Constraint((1, 0), (1, -1))]
    constrain(torch.nn.Sequential(layer), constraint)
    layer.refine(12)
    steps, bends = layer.values.diff(dim=1), layer.values.diff(n=2, dim=1)
    assert steps[0].min() >= -1e-6
    assert bends[0].min() >= -1e-6
    assert bends[1].max() <= 1e-6
