"""Spline edges, compared with scipy's B-splines."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import BSpline
from scipy.special import expit
from torch import Tensor

from kan_exp.layers import KANInterpoLayer, KANSplineLayer

X_MIN, X_MAX = -1.3, 2.9
DIM_IN, DIM_OUT = 3, 4
DEGREES = [1, 2, 3, 4, 5]
BASES = {"none": lambda x: 0 * x, "linear": lambda x: x, "silu": lambda x: x * expit(x)}
# Each input's own first and last knot.
GRID = [[X_MIN, X_MAX], [-0.2, 0.1], [3.0, 11.5]]
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spline(num_intervals: int = 6, degree: int = 3, base: str = "none") -> KANSplineLayer:
    """A layer in float64 whose coefficients are noise, on a grid of its own for each input."""
    size = DIM_IN, DIM_OUT, num_intervals, degree
    layer = KANSplineLayer(*size, X_MIN, X_MAX, base, seeded(0)).double()
    layer.move_grid(torch.tensor(GRID, dtype=torch.float64))
    draw = seeded(1)
    with torch.no_grad():
        for part in layer.parameters():
            part.normal_(generator=draw)
    return layer


def scipys(layer: KANSplineLayer, i: int, j: int) -> BSpline:
    """The same edge, less its base, as scipy has it; it knows nothing beyond the grid."""
    low, high = GRID[i]
    p, n = layer.degree, layer.num_intervals
    knots = low + (high - low) / n * np.arange(-p, n + p + 1)
    return BSpline(knots, layer.values[i, :, j].detach().numpy(), p, extrapolate=True)


def rows(count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Irregular samples; 0 to 1 is each input's own grid."""
    unit = low + (high - low) * torch.rand(count, DIM_IN, generator=seeded(5), dtype=torch.float64)
    first, last = torch.tensor(GRID, dtype=torch.float64).unbind(1)
    return first + unit * (last - first)


def each_edge(layer: KANSplineLayer):
    return itertools.product(range(layer.dim_in), range(layer.dim_out))


# What an edge is


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("num_intervals", [1, 2, 7])
@pytest.mark.parametrize("degree", DEGREES)
def test_edges_on_the_grid_are_scipys(degree, num_intervals, base):
    layer, x = spline(num_intervals, degree, base), rows(60)
    edges = layer.edges(x).detach().numpy()
    total = np.zeros((60, DIM_OUT))
    for i, j in each_edge(layer):
        column = x[:, i].numpy()
        expected = scipys(layer, i, j)(column)
        if base != "none":
            expected = expected + layer.base_weight[i, j].item() * BASES[base](column)
        np.testing.assert_allclose(edges[:, i, j], expected, **TIGHT)
        total[:, j] += expected
    np.testing.assert_allclose(layer(x).detach(), total, **TIGHT)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("num_intervals", [1, 5])
@pytest.mark.parametrize("degree", DEGREES)
def test_beyond_the_grid_a_spline_goes_on_straight(degree, num_intervals, base):
    layer = spline(num_intervals, degree, base)
    for i, j in each_edge(layer):
        low, high = GRID[i]
        inner = scipys(layer, i, j)
        slope = inner.derivative()
        for end, sign in ((low, -1), (high, 1)):
            x = end + sign * (high - low) * np.array([1e-9, 0.03, 0.4, 2.0, 77.0])
            expected = inner(end) + slope(end) * (x - end)
            if base != "none":
                expected = expected + layer.base_weight[i, j].item() * BASES[base](x)
            found = layer.edge(i, j)(torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("whole", [True, False], ids=["forward", "edge"])
@pytest.mark.parametrize("degree", DEGREES)
def test_slopes_are_scipys_inside_and_outside(degree, whole):
    layer = spline(5, degree)
    x = rows(40, -0.7, 1.7).requires_grad_()
    y = layer(x)[:, 2] if whole else sum(layer.edge(i, 2)(x[:, i]) for i in range(DIM_IN))
    (found,) = torch.autograd.grad(y.sum(), x)
    for i, (low, high) in enumerate(GRID):
        inside = x[:, i].detach().numpy().clip(low, high)
        assert 3 < (inside != x[:, i].detach().numpy()).sum() < 37
        expected = scipys(layer, i, 2).derivative()(inside)
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("degree", DEGREES)
def test_a_spline_of_equal_coefficients_is_a_constant(degree):
    """The basis functions add up to 1, inside and outside."""
    layer = spline(4, degree)
    with torch.no_grad():
        layer.values.copy_(torch.tensor([2.0, -3.0, 0.5, 7.0]))
    edges = layer.edges(rows(50, -3, 4))
    expected = torch.tensor([2.0, -3.0, 0.5, 7.0], dtype=torch.float64).expand_as(edges)
    torch.testing.assert_close(edges, expected, **TIGHT)


@pytest.mark.parametrize("num_intervals", [1, 2, 9])
def test_of_degree_1_it_is_the_table(num_intervals):
    layer = spline(num_intervals, 1)
    table = KANInterpoLayer(DIM_IN, DIM_OUT, num_intervals + 1, generator=seeded(3)).double()
    table.move_grid(layer.grid)
    with torch.no_grad():
        table.values.copy_(layer.values)
    x = rows(50, -1, 2)
    torch.testing.assert_close(layer(x), table(x), **TIGHT)
    torch.testing.assert_close(layer.edges(x), table.edges(x), **TIGHT)
    torch.testing.assert_close(layer.roughness(), table.roughness(), **TIGHT)


@pytest.mark.parametrize("degree", DEGREES)
def test_a_sample_moves_only_the_coefficients_of_its_cell(degree):
    layer = spline(7, degree)
    low, high = layer.grid.unbind(1)
    x = torch.lerp(low, high, torch.tensor([3.4, 0.2, 6.9], dtype=torch.float64) / 7)
    layer(x)[0, 1].backward()
    moved = layer.values.grad[:, :, 1] != 0
    for i, cell in enumerate((3, 0, 6)):
        assert moved[i].nonzero().flatten().tolist() == list(range(cell, cell + degree + 1))
    assert not layer.values.grad[:, :, [0, 2, 3]].any()


def test_knots_are_evenly_spaced_from_the_first_to_the_last():
    layer = spline(6, 3)
    expected = [np.linspace(low, high, 7) for low, high in GRID]
    np.testing.assert_allclose(layer.knots, expected, rtol=1e-12)
    np.testing.assert_allclose(layer.grid, GRID, rtol=1e-12)
    assert (layer.num_intervals, layer.values.shape) == (6, (DIM_IN, 9, DIM_OUT))
    start = KANSplineLayer(2, 3, 6, 3, X_MIN, X_MAX, generator=seeded(0))
    np.testing.assert_allclose(start.knots, [np.linspace(X_MIN, X_MAX, 7)] * 2, rtol=1e-6)


# The start


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("num_intervals", [1, 8])
@pytest.mark.parametrize("degree", DEGREES)
def test_start_is_straight_lines_through_the_middle(degree, num_intervals, base):
    size = DIM_IN, DIM_OUT, num_intervals, degree
    layer = KANSplineLayer(*size, X_MIN, X_MAX, base, seeded(0)).double()
    middle = (X_MIN + X_MAX) / 2
    x = middle + torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None].expand(-1, DIM_IN)
    edges = layer.edges(x).detach().numpy()
    np.testing.assert_allclose(np.diff(edges, n=2, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(edges[12], 0, atol=1e-5)
    assert np.abs(edges[-1]).min() > 1e-3


@pytest.mark.parametrize(("num_intervals", "degree"), [(1, 5), (2, 2), (200, 3)])
def test_start_preserves_variance_at_any_number_of_knots(num_intervals, degree):
    x = torch.randn(256, 3, generator=seeded(2))
    ratios = []
    for seed in range(20):
        layer = KANSplineLayer(3, 32, num_intervals, degree, generator=seeded(seed))
        ratios.append((layer(x).var(0).mean() / x.var(0).mean()).item())
    assert 0.75 < np.mean(ratios) < 1.33


# More knots


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("degree", DEGREES)
def test_refining_changes_no_number(degree, factor):
    layer = spline(3, degree, "silu")
    x = torch.cat([rows(60, -1.5, 2.5), layer.knots.T])
    before, slope = layer.edges(x).detach(), layer.roughness()
    parameter, grid, knots = layer.values, layer.grid, layer.knots
    layer.refine(3 * factor)
    torch.testing.assert_close(layer.edges(x), before, **TIGHT)
    torch.testing.assert_close(layer(x), before.sum(1), **TIGHT)
    torch.testing.assert_close(layer.roughness(), slope, **TIGHT)
    assert layer.num_intervals == 3 * factor
    assert layer.values.shape == (DIM_IN, 3 * factor + degree, DIM_OUT)
    assert layer.values is parameter  # which an optimizer knows
    torch.testing.assert_close(layer.grid, grid, **TIGHT)
    torch.testing.assert_close(layer.knots[:, ::factor], knots, **TIGHT)
    # What it reads and learns from now on is the finer spline.
    for i, j in each_edge(layer):
        column = rows(20)[:, i]
        base = layer.base_weight[i, j].item() * BASES["silu"](column.numpy())
        expected = scipys(layer, i, j)(column.numpy()) + base
        np.testing.assert_allclose(layer.edge(i, j)(column).detach(), expected, **TIGHT)


def test_refining_in_steps_is_refining_at_once():
    stepwise, at_once = spline(2, 3), spline(2, 3)
    stepwise.refine(4)
    stepwise.refine(12)
    at_once.refine(12)
    torch.testing.assert_close(stepwise.values, at_once.values, **TIGHT)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (9, "has 6 intervals: refine needs a multiple of that, got 9."),
        (3, "has 6 intervals: refine needs a multiple of that, got 3."),
        (13, "has 6 intervals: refine needs a multiple of that, got 13."),
        (0, "needs num_intervals to be a whole number of at least 1, got 0."),
        (12.0, "needs num_intervals to be a whole number of at least 1, got 12.0."),
    ],
)
def test_refining_refuses_what_is_no_multiple(wanted, said):
    layer = spline(6, 3)
    before = layer.values.detach().clone()
    with pytest.raises(ValueError, match="KANSplineLayer") as caught:
        layer.refine(wanted)
    assert str(caught.value) == f"KANSplineLayer {said}"
    assert torch.equal(layer.values, before)
    assert layer.num_intervals == 6


# Penalties


@pytest.mark.parametrize(
    ("degree", "order"), [(p, k) for p in DEGREES for k in (1, 2, 3) if k <= p]
)
@pytest.mark.parametrize("num_intervals", [1, 5])
def test_roughness_is_scipys_derivative_squared_and_integrated(degree, num_intervals, order):
    layer = spline(num_intervals, degree)
    found = layer.roughness(order).detach().numpy()
    assert found.shape == (DIM_IN, DIM_OUT)
    for i, j in each_edge(layer):
        derivative = scipys(layer, i, j).derivative(order)
        knots = layer.knots[i].numpy()
        cells = [
            quad(lambda x, f=derivative: f(x) ** 2, *ends)[0] for ends in itertools.pairwise(knots)
        ]
        expected = sum(cells) / (knots[-1] - knots[0])
        assert found[i, j] == pytest.approx(expected, rel=1e-8)
    torch.testing.assert_close(layer.slopes(order).square().mean(0), layer.roughness(order))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("base", ["linear", "silu"])
def test_roughness_with_a_base_has_the_base_in_it(base, order):
    layer = spline(5, 3, base)
    found = layer.roughness(order).detach().numpy()
    for i, j in each_edge(layer):
        x = np.linspace(*layer.grid[i].tolist(), 4001)
        inner = scipys(layer, i, j).derivative(order)(x)
        s = expit(x)
        straight = [1.0, 0.0][order - 1] + 0 * x
        bent = [s * (1 + x * (1 - s)), s * (1 - s) * (2 + x * (1 - 2 * s))][order - 1]
        outer = layer.base_weight[i, j].item() * (straight if base == "linear" else bent)
        assert found[i, j] == pytest.approx(np.square(inner + outer).mean(), rel=0.05)


def test_roughness_of_an_order_above_the_degree_is_finite_and_falls_to_zero():
    layer = spline(3, 2)
    for order in (3, 4):
        assert (layer.roughness(order) > 0).all()
    for order in (5, 9):
        assert (layer.roughness(order) == 0).all()
    with pytest.raises(ValueError, match=r"needs order to be a whole number of at least 1, got 0"):
        layer.roughness(0)


# Bad values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_intervals": 0}, "num_intervals to be a whole number of at least 1, got 0."),
        ({"degree": 0}, "degree to be a whole number of 1 to 5, got 0."),
        ({"degree": 6}, "degree to be a whole number of 1 to 5, got 6."),
        ({"degree": 3.0}, "degree to be a whole number of 1 to 5, got 3.0."),
        ({"x_max": math.nan}, "x_max to be a finite number, got nan."),
        ({"x_min": 2.0}, "x_min < x_max, got 2.0 and 2.0."),
        ({"base": "tanh"}, "base to be one of none, linear, silu, got 'tanh'."),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANSplineLayer needs ") as caught:
        KANSplineLayer(2, 5, **options)
    assert str(caught.value) == f"KANSplineLayer needs {said}"


@pytest.mark.parametrize("base", ["none", "silu", "linear"])
def test_roughness_is_that_of_the_grid_whatever_values_are_observed(base):
    layer = spline(2, 3, base=base)
    before = layer.roughness(), layer.roughness(2)
    layer.observe(rows(5, 0.2, 0.4))
    torch.testing.assert_close((layer.roughness(), layer.roughness(2)), before)
