"""Table edges, compared with numpy.interp, a plain loop and the `mlp-kan` package."""

from __future__ import annotations

import itertools
import math

import mlp_kan
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kan_exp.layers import KANInterpoLayer, KANLayer, smooth_penalty
from kan_exp.layers.kernels import native_sum

X_MIN, X_MAX = -1.3, 2.9
DIM_IN, DIM_OUT = 3, 5
OUTSIDE = ("linear", "hold", "zero")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(num_x: int, outside: str = "linear", dims=(DIM_IN, DIM_OUT), seed=0) -> KANInterpoLayer:
    """A layer in float64 whose values are noise, so that no two knots or edges are alike."""
    layer = KANInterpoLayer(*dims, num_x, X_MIN, X_MAX, outside, seeded(seed)).double()
    # Its ends are rounded to float32 when it is made; here they get all their digits.
    layer.first_knot.fill_(X_MIN)
    layer.spacing.fill_((X_MAX - X_MIN) / (num_x - 1))
    with torch.no_grad():
        layer.values.normal_(generator=seeded(seed + 1))
    return layer


def points(num_x: int, low: float = X_MIN, high: float = X_MAX, rows: int = 41) -> Tensor:
    """Irregular rows in the range, with the knots that lie in it among them."""
    x = low + (high - low) * torch.rand(rows, DIM_IN, generator=seeded(7), dtype=torch.float64)
    knots = torch.from_numpy(np.linspace(X_MIN, X_MAX, num_x)[:rows])
    x[: len(knots), 1] = knots
    return x


def edge_by_hand(x: float, values: np.ndarray, outside: str) -> float:
    """One edge at one point, from the definition."""
    knots = np.linspace(X_MIN, X_MAX, len(values))
    spacing = knots[1] - knots[0]
    if X_MIN <= x <= X_MAX:
        return float(np.interp(x, knots, values))
    last, inner, distance = (0, 1, X_MIN - x) if x < X_MIN else (-1, -2, x - X_MAX)
    if outside == "hold":
        return values[last]
    if outside == "zero":
        return values[last] * max(0.0, 1 - distance / spacing)
    return values[last] + (values[last] - values[inner]) / spacing * distance


def twin(layer: KANInterpoLayer) -> mlp_kan.KANInterpoLayer:
    """The `mlp-kan` layer with the same weights."""
    other = mlp_kan.KANInterpoLayer(layer.dim_in, layer.dim_out, layer.num_x, X_MIN, X_MAX).double()
    with torch.no_grad():
        other.X.copy_(torch.linspace(X_MIN, X_MAX, layer.num_x, dtype=torch.float64))
        other.Y.copy_(layer.values.permute(0, 2, 1))
    return other


@pytest.fixture(autouse=True)
def _leave_the_global_generator_alone():
    # mlp-kan draws its start from it.
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


# What an edge is


@pytest.mark.parametrize("num_x", [2, 3, 17, 64])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_edges_inside_the_grid_are_numpys(outside, num_x):
    layer, x = table(num_x, outside), points(num_x)
    edges = layer.edges(x).detach().numpy()
    knots = np.linspace(X_MIN, X_MAX, num_x)
    for i, j in itertools.product(range(DIM_IN), range(DIM_OUT)):
        values = layer.values[i, :, j].detach().numpy()
        expected = np.interp(x[:, i].numpy(), knots, values)
        np.testing.assert_allclose(edges[:, i, j], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("num_x", [2, 3, 17])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_edges_outside_the_grid_are_as_defined(outside, num_x):
    layer, x = table(num_x, outside), points(num_x, X_MIN - 6, X_MAX + 6)
    spacing = (X_MAX - X_MIN) / (num_x - 1)
    x[-4:, 0] = torch.tensor([X_MIN - 0.4 * spacing, X_MAX + 0.7 * spacing, X_MIN - 99, X_MAX + 99])
    edges = layer.edges(x).detach().numpy()
    assert ((x < X_MIN).sum(0) > 3).all()
    assert ((x > X_MAX).sum(0) > 3).all()
    for n, i, j in np.ndindex(*edges.shape):
        values = layer.values[i, :, j].detach().numpy()
        expected = edge_by_hand(x[n, i].item(), values, outside)
        assert edges[n, i, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_x", [2, 5, 64, 4096])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_ends_of_the_grid_give_the_first_and_last_value(outside, num_x, dtype):
    layer = table(num_x, outside).to(dtype)
    x = torch.tensor([[X_MIN] * DIM_IN, [X_MAX] * DIM_IN], dtype=dtype)
    tolerance = 2e-3 if dtype == torch.float32 else 1e-9  # the rounding of x, in cells
    torch.testing.assert_close(
        layer.edges(x), layer.values[:, [0, -1]].transpose(0, 1), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("whole", [True, False], ids=["forward", "edge"])
def test_slope_at_the_ends(whole):
    slopes = {}
    for outside in OUTSIDE:
        layer = table(9, outside, dims=(1, 1))
        x = torch.tensor([X_MIN - 0.01, X_MAX + 0.01], dtype=torch.float64, requires_grad=True)
        y = layer(x[:, None]) if whole else layer.edge(0, 0)(x)
        slopes[outside] = torch.autograd.grad(y.sum(), x)[0].tolist()
    values = layer.values.flatten().tolist()
    spacing = (X_MAX - X_MIN) / 8
    first, last = (values[1] - values[0]) / spacing, (values[-1] - values[-2]) / spacing
    assert slopes["linear"] == pytest.approx([first, last])
    assert slopes["hold"] == [0, 0]
    assert slopes["zero"] == pytest.approx([values[0] / spacing, -values[-1] / spacing])


def test_a_sample_moves_only_the_two_knots_beside_it():
    layer = table(9)
    spacing = (X_MAX - X_MIN) / 8
    x = torch.tensor([[X_MIN + 4.25 * spacing, X_MAX, X_MIN]], dtype=torch.float64)
    layer(x)[0, 3].backward()
    expected = torch.zeros(DIM_IN, 9, DIM_OUT, dtype=torch.float64)
    expected[0, 4, 3], expected[0, 5, 3], expected[1, 8, 3], expected[2, 0, 3] = 0.75, 0.25, 1, 1
    torch.testing.assert_close(layer.values.grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_x", [2, 7, 64])
def test_knots_are_evenly_spaced(num_x):
    layer = table(num_x)
    start = KANInterpoLayer(DIM_IN, DIM_OUT, num_x, X_MIN, X_MAX, generator=seeded(0))
    expected = [np.linspace(X_MIN, X_MAX, num_x)] * DIM_IN
    np.testing.assert_allclose(layer.knots, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(start.knots, expected, rtol=1e-6, atol=1e-6)
    for one in (layer, start):
        assert (one.num_x, one.num_intervals) == (num_x, num_x - 1)
        assert one.spacing.tolist() == pytest.approx([(X_MAX - X_MIN) / (num_x - 1)] * DIM_IN)
        np.testing.assert_allclose(one.grid, [[X_MIN, X_MAX]] * DIM_IN, rtol=1e-6)
        np.testing.assert_allclose(one.domain, [[X_MIN, X_MAX]] * DIM_IN, rtol=1e-6)
    assert layer.knots.dtype == torch.float64
    assert layer.float().knots.dtype == torch.float32


# The seed's own package


@pytest.mark.parametrize("num_x", [2, 9, 64])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_same_weights_give_what_mlp_kan_gives(outside, num_x):
    layer, beyond = table(num_x, outside), 5 if outside == "zero" else 0
    x = points(num_x, X_MIN - beyond, X_MAX + beyond)
    other = twin(layer)
    torch.testing.assert_close(layer(x), other(x), rtol=1e-10, atol=1e-10)
    for i, j in ((0, 4), (2, 1)):
        expected = other.take_function(i, j)(x[:, :1])
        torch.testing.assert_close(
            layer.take_function(i, j)(x[:, :1]), expected, rtol=1e-10, atol=1e-10
        )


def test_same_weights_give_what_mlp_kan_gives_in_float32():
    layer = table(64, "zero").float()
    x = points(64, X_MIN - 1, X_MAX + 1).float()
    torch.testing.assert_close(layer(x), twin(layer).float()(x), rtol=1e-4, atol=1e-4)


def test_smooth_penalty_is_mlp_kans():
    layers = [table(9, dims=(2, 5)), table(33, dims=(5, 3), seed=4)]
    twins = [twin(layer) for layer in layers]
    ours = smooth_penalty(nn.Sequential(*layers))
    assert ours.item() == pytest.approx(mlp_kan.smooth_penalty(nn.Sequential(*twins)).item())
    for layer, other in zip(layers, twins, strict=True):
        assert smooth_penalty(layer).item() == pytest.approx(mlp_kan.smooth_penalty(other).item())
    ours.backward()
    mlp_kan.smooth_penalty(nn.Sequential(*twins)).backward()
    for layer, other in zip(layers, twins, strict=True):
        torch.testing.assert_close(layer.values.grad, other.Y.grad.permute(0, 2, 1))


def test_smooth_penalty_passes_over_what_is_no_table():
    layer = table(9)
    mixed = nn.Sequential(layer, nn.Sequential(KANLayer(5, 2, generator=seeded(0)), nn.Tanh()))
    assert torch.equal(smooth_penalty(mixed), smooth_penalty(layer))
    assert smooth_penalty(mixed[1]) == 0
    assert smooth_penalty(nn.Tanh()) == 0


@pytest.mark.parametrize("outside", OUTSIDE)
def test_the_examples_of_mlp_kan_run_as_they_stand(outside):
    network = nn.Sequential(
        KANInterpoLayer(2, 5, outside=outside), KANInterpoLayer(5, 1, outside=outside)
    )
    y = network(torch.randn(16, 2, generator=seeded(1)))
    assert y.shape == (16, 1)
    (y.square().mean() + 1e-3 * smooth_penalty(network)).backward()
    assert all(part.grad.abs().max() > 0 for part in network.parameters())


# The start


@pytest.mark.parametrize("num_x", [2, 16, 256, 4096])
def test_start_preserves_variance_at_any_number_of_knots(num_x):
    draw = seeded(2)
    for dim_in, dim_out in ((1, 64), (2, 33), (128, 8)):
        normal = torch.randn(256, dim_in, generator=draw)
        uniform = (2 * torch.rand(256, dim_in, generator=draw) - 1) * math.sqrt(3)
        for x in (normal, uniform):
            ratios = []
            for seed in range(math.ceil(256 / dim_out)):
                y = KANInterpoLayer(dim_in, dim_out, num_x, generator=seeded(seed))(x)
                ratios.append((y.var(0).mean() / x.var(0).mean()).item())
            assert 0.75 < np.mean(ratios) < 1.33


def test_start_is_straight_lines_through_the_middle():
    layer = KANInterpoLayer(3, 5, 17, X_MIN, X_MAX, generator=seeded(0))
    values = layer.values.detach().numpy()
    np.testing.assert_allclose(np.diff(values, n=2, axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(values[:, 8], 0, atol=1e-6)
    assert np.abs(values[:, 0]).min() > 1e-3


# Penalties


@pytest.mark.parametrize("num_x", [2, 3, 64, 1000])
def test_roughness_of_straight_lines_is_their_squared_slope(num_x):
    layer = table(num_x, dims=(2, 3))
    slope = torch.tensor([[0.5, -2.0, 0.0], [1.25, 3.0, -0.1]], dtype=torch.float64)
    offset = torch.tensor([[7.0], [-3.0]], dtype=torch.float64)
    knots = torch.from_numpy(np.linspace(X_MIN, X_MAX, num_x))
    with torch.no_grad():
        layer.values.copy_(slope[:, None] * knots[None, :, None] + offset[:, None])
    expected = np.square([[0.5, -2.0, 0.0], [1.25, 3.0, -0.1]])
    np.testing.assert_allclose(layer.roughness().detach(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.roughness(2).detach(), 0, atol=1e-9)


def test_roughness_of_a_zigzag():
    layer = table(5, dims=(1, 2))
    zigzag = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        layer.values.copy_(torch.stack([zigzag, 0 * zigzag], dim=1)[None])
    spacing = (X_MAX - X_MIN) / 4
    assert layer.roughness().tolist() == [pytest.approx([spacing**-2, 0])]
    # Lines have no second derivative; the change of slope from cell to cell stands in for it.
    assert layer.roughness(2).tolist() == [pytest.approx([(2 / spacing**2) ** 2, 0])]
    assert layer.roughness(5).tolist() == [[0, 0]]


# What it costs


class Work(TorchDispatchMode):
    """Counts the elements that operations write, leaving out views of `table`."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table, self.written = table.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() != self.table:
            self.written += result.numel()
        return result


def cost(layer: KANInterpoLayer, rows: int) -> tuple[int, int]:
    """Elements that one forward pass computes, and that it keeps for the backward pass."""
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() != layer.values.untyped_storage().data_ptr():
            kept.append(tensor.numel())
        return tensor

    x = points(2, rows=rows)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, Work(layer.values) as work:
        layer(x)
    return work.written, sum(kept)


# Small tables may be read as a whole, which is faster; larger ones may not.
@pytest.mark.parametrize(("rows", "knots"), [(41, (4096, 9000)), (2500, (64, 4096))])
@pytest.mark.parametrize("outside", ["linear", "hold"])
def test_cost_does_not_depend_on_the_number_of_knots(outside, rows, knots, monkeypatch):
    monkeypatch.setattr(native_sum, "takes", lambda x: False)  # whose work is not seen here
    few, many = (cost(table(num_x, outside), rows) for num_x in knots)
    assert few == many
    assert min(few) > 0


# Bad values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_x": 1}, "num_x to be a whole number of at least 2, got 1."),
        ({"num_x": 0}, "num_x to be a whole number of at least 2, got 0."),
        ({"num_x": 64.0}, "num_x to be a whole number of at least 2, got 64.0."),
        ({"x_min": 2.0}, "x_min < x_max, got 2.0 and 2.0."),
        ({"x_min": 3, "x_max": -3}, "x_min < x_max, got 3 and -3."),
        ({"outside": "Linear"}, "outside to be one of linear, hold, zero, got 'Linear'."),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANInterpoLayer needs ") as caught:
        KANInterpoLayer(2, 5, **options)
    assert str(caught.value) == f"KANInterpoLayer needs {said}"
