"""Edges that are small networks, compared with a plain loop and the `mlp-kan` package."""

from __future__ import annotations

import copy
import math

import mlp_kan
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from kan_exp.layers import KANLayer
from kan_exp.layers.mlp import ACTIVATIONS, SMALL
from tests.standin import standin

DIM_IN, DIM_OUT, ROWS = 3, 5, 11
SHAPES = [(32, 3), (8, 0), (7, 2), (1, 1), (1, 0), (2, 5)]  # fcn_hidden, fcn_n_sin
BY_HAND = {
    "silu": lambda z: z / (1 + math.exp(-z)),
    "gelu": lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    "relu": lambda z: max(z, 0.0),
    "softplus": lambda z: math.log(1 + math.exp(z)),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(fcn_hidden: int = 4, fcn_n_sin: int = 2, activation="silu", dims=(DIM_IN, DIM_OUT)):
    """A layer in float64 whose parameters are noise, so that no two units or edges are alike."""
    layer = KANLayer(*dims, fcn_hidden, fcn_n_sin, activation, seeded(0)).double()
    draw = seeded(sum(dims))
    with torch.no_grad():
        for part in layer.parameters():
            part.normal_(generator=draw)
    return layer


def points(dim_in: int = DIM_IN, rows: int = ROWS) -> Tensor:
    return 2 * torch.randn(rows, dim_in, generator=seeded(3), dtype=torch.float64)


def twin(layer: KANLayer) -> mlp_kan.KANLayer:
    """The `mlp-kan` layer with the same weights."""
    other = mlp_kan.KANLayer(layer.dim_in, layer.dim_out, layer.fcn_hidden, layer.fcn_n_sin)
    other = other.to(layer.hidden_weight)
    with torch.no_grad():
        other.W1.copy_(layer.hidden_weight)
        other.W2.copy_(layer.output_weight[:, :, None])
        other.B1.copy_(layer.hidden_bias)
        other.B2.copy_(layer.output_bias[:, :, None])
    return other


def edge_by_hand(layer: KANLayer, i: int, j: int, x: float) -> float:
    """One edge at one point, from the definition."""
    waves = [2.0**k * x for k in range(layer.fcn_n_sin)]
    features = [x, *map(math.sin, waves), *map(math.cos, waves)]
    value = layer.output_bias[i, j].item()
    for h in range(layer.fcn_hidden):
        weights = layer.hidden_weight[i, j, h].tolist()
        z = sum(w * f for w, f in zip(weights, features, strict=True))
        z += layer.hidden_bias[i, j, h].item()
        value += layer.output_weight[i, j, h].item() * BY_HAND[layer.activation](z)
    return value


@pytest.fixture(autouse=True)
def _leave_the_global_generator_alone():
    # mlp-kan draws its start from it.
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


# What an edge is


@pytest.mark.parametrize("activation", BY_HAND)
@pytest.mark.parametrize(("fcn_hidden", "fcn_n_sin"), [(4, 2), (3, 0), (1, 1)])
def test_edges_are_as_defined(fcn_hidden, fcn_n_sin, activation):
    layer, x = noisy(fcn_hidden, fcn_n_sin, activation), points(rows=4)
    edges = layer.edges(x).detach().numpy()
    for n, i, j in np.ndindex(*edges.shape):
        expected = edge_by_hand(layer, i, j, x[n, i].item())
        assert edges[n, i, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_split_the_identity(name):
    z = torch.linspace(-9, 9, 37, dtype=torch.float64)
    act = ACTIVATIONS[name]
    torch.testing.assert_close(act(z) - act(-z), z, rtol=1e-9, atol=1e-7)


def test_every_activation_has_an_oracle():
    assert set(BY_HAND) == set(ACTIVATIONS)


# The seed's own package


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)], ids=str
)
@pytest.mark.parametrize(("fcn_hidden", "fcn_n_sin"), SHAPES)
def test_same_weights_give_what_mlp_kan_gives(fcn_hidden, fcn_n_sin, dtype, tolerance):
    layer, x = noisy(fcn_hidden, fcn_n_sin).to(dtype), points().to(dtype)
    torch.testing.assert_close(layer(x), twin(layer)(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("fcn_hidden", "fcn_n_sin"), SHAPES)
def test_take_function_is_mlp_kans(fcn_hidden, fcn_n_sin):
    layer, x = noisy(fcn_hidden, fcn_n_sin), points(1)
    other = twin(layer)
    for i, j in ((0, 4), (2, 0), (1, 3)):
        expected = other.take_function(i, j)(x)
        assert expected.shape == (ROWS, 1)
        torch.testing.assert_close(layer.take_function(i, j)(x), expected, rtol=1e-12, atol=1e-12)


def test_gradients_are_mlp_kans():
    layer, x = noisy(7, 3), points()
    other = twin(layer)
    layer(x).square().sum().backward()
    other(x).square().sum().backward()
    for ours, theirs in (
        (layer.hidden_weight, other.W1.grad),
        (layer.output_weight, other.W2.grad.squeeze(2)),
        (layer.hidden_bias, other.B1.grad),
        (layer.output_bias, other.B2.grad.squeeze(2)),
    ):
        torch.testing.assert_close(ours.grad, theirs, rtol=1e-9, atol=1e-9)


def test_the_example_of_mlp_kan_runs_as_it_stands():
    network = nn.Sequential(KANLayer(2, 5), KANLayer(5, 1)).double()
    x = points(2, rows=16)
    y = network(x)
    assert y.shape == (16, 1)
    torch.testing.assert_close(y, nn.Sequential(*map(twin, network))(x), rtol=1e-10, atol=1e-10)


# Large sums, in blocks that fit into the cache


def plain(layer: KANLayer, x: Tensor) -> Tensor:
    """The same outputs from the definition."""
    return layer.edges(x).sum(1)


@pytest.fixture(params=["small blocks", "one block", "as it comes", "as on a GPU"])
def blocked(request, monkeypatch):
    """A layer and samples for which the sum goes in blocks, some of them not whole."""
    if request.param == "as it comes":
        layer, x = noisy(32, 3, dims=(3, 40)), points(rows=401)
        assert len(x) * layer.numbers_per_sample > SMALL
        return layer, x
    monkeypatch.setattr("kan_exp.layers.mlp.SMALL", 0)
    if request.param == "as on a GPU":
        monkeypatch.setattr("kan_exp.layers.mlp.GPU_BLOCK", 400)
        monkeypatch.setattr("kan_exp.layers.mlp._has_cache", lambda features: False)
    monkeypatch.setattr(
        "kan_exp.layers.mlp.BLOCK", 400 if request.param == "small blocks" else 2**20
    )
    return noisy(4, 2), points(rows=51)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_a_large_sum_holds_no_large_tensor():
    """Hidden activations, as many as edges times samples, are never there all at once."""
    layer, x = noisy(32, 3, dims=(3, 40)).float(), points(rows=1001).float()
    with Largest() as largest:
        layer(x).sum().backward()
    assert largest.numbers < len(x) * layer.numbers_per_sample / 5
    with Largest() as largest:
        plain(layer, x).sum().backward()
    assert largest.numbers >= len(x) * layer.numbers_per_sample


def test_other_devices_sum_large_blocks_to_the_values_of_the_cpu(device, monkeypatch):
    device = standin() if device.type == "cpu" else device
    monkeypatch.setattr("kan_exp.layers.mlp.SMALL", 0)
    monkeypatch.setattr("kan_exp.layers.mlp.GPU_BLOCK", 400)
    layer, x = noisy(4, 2), points(rows=51)
    moved, there = copy.deepcopy(layer).to(device), x.to(device)
    moved(there).square().sum().backward()
    plain(layer, x).square().sum().backward()
    torch.testing.assert_close(moved(there).detach().cpu(), plain(layer, x), rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(moved.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad, rtol=1e-9, atol=1e-9)


def test_blocks_give_the_values_of_the_definition(blocked):
    layer, x = blocked
    torch.testing.assert_close(layer(x), plain(layer, x), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain(layer, x), rtol=1e-10, atol=1e-10)
    for rows in (0, 1, 2, 16, 17):
        torch.testing.assert_close(layer(x[:rows]), plain(layer, x[:rows]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", BY_HAND)
def test_blocks_give_the_gradients_of_the_definition(blocked, activation):
    layer, x = blocked
    layer.activation = activation
    x.requires_grad_()
    weight = torch.randn(len(x), layer.dim_out, generator=seeded(4), dtype=torch.float64)
    parts = x, *layer.parameters()
    found = torch.autograd.grad(layer(x), parts, weight)
    for ours, theirs in zip(
        found, torch.autograd.grad(plain(layer, x), parts, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_blocks_in_float32(blocked):
    layer, x = blocked[0].float(), blocked[1].float().requires_grad_()
    parts = x, *layer.parameters()
    found, expected = layer(x), plain(layer, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    pairs = zip(
        torch.autograd.grad(found.sum(), parts),  # of an expanded gradient, too
        torch.autograd.grad(expected.sum(), parts),
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours.dtype == torch.float32
        scale = theirs.abs().max()
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wanted", ["x", "hidden_weight", "output_weight"])
def test_blocks_give_one_gradient_without_the_others(blocked, wanted):
    layer, x = blocked
    layer.requires_grad_(False)
    part = x if wanted == "x" else layer.get_parameter(wanted)
    part.requires_grad_()
    (found,) = torch.autograd.grad(layer(x).square().sum(), part)
    (expected,) = torch.autograd.grad(plain(layer, x).square().sum(), part)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-8)
    assert not layer.requires_grad_(False)(x.detach()).requires_grad


@pytest.mark.parametrize("activation", ["silu", "softplus"])
def test_blocks_give_the_second_derivatives_of_the_definition(blocked, activation):
    layer, x = blocked
    layer.activation = activation
    parts = x.requires_grad_(), *layer.parameters()
    found = []
    for function in (layer, lambda x: plain(layer, x)):
        (slope,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.sin().sum(), parts))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


def test_blocks_leave_transforms_to_the_definition(blocked):
    layer, x = blocked
    x = x[:9]
    parts, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())

    def call(sample: Tensor) -> Tensor:
        return functional_call(layer, (parts, buffers), (sample[None],))[0]

    jacobian = vmap(jacrev(call))(x)
    for j in (0, layer.dim_out - 1):
        sample = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(plain(layer, sample)[:, j].sum(), sample)
        torch.testing.assert_close(jacobian[:, j], expected, rtol=1e-9, atol=1e-9)


def test_blocks_keep_nan_in_its_row(blocked):
    layer, x = blocked
    whole = layer(x)
    broken = x.clone()
    broken[7, 1] = math.nan
    others = [row for row in range(len(x)) if row != 7]
    found = layer(broken)
    assert found[7].isnan().all()
    torch.testing.assert_close(found[others], whole[others], rtol=1e-10, atol=1e-10)


# The start


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fcn_hidden", [2, 5, 32])
def test_start_without_waves_is_straight_lines(fcn_hidden, activation):
    layer = KANLayer(DIM_IN, DIM_OUT, fcn_hidden, 0, activation, seeded(0)).double()
    x = torch.linspace(-3, 3, 31, dtype=torch.float64)[:, None].expand(-1, DIM_IN)
    edges = layer.edges(x).detach().numpy()
    # gelu and softplus are torch's own, exact to about 1e-7.
    np.testing.assert_allclose(np.diff(edges, n=2, axis=0), 0, atol=1e-6)
    assert (np.abs(edges[-1] - edges[0]) > 1e-3).all()


@pytest.mark.parametrize(("fcn_hidden", "fcn_n_sin"), SHAPES)
def test_start_is_smoother_than_its_highest_wave(fcn_hidden, fcn_n_sin):
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    bends, slopes = [], []
    for seed in range(40):
        layer = KANLayer(1, 4, fcn_hidden, fcn_n_sin, generator=seeded(seed)).double()
        values = layer.edges(x[:, None]).detach().numpy()[:, 0]
        slope = np.diff(values, axis=0) / 0.01
        slopes.append(np.square(slope).mean())
        bends.append(np.square(np.diff(slope, axis=0) / 0.01).mean())
    assert np.mean(bends) < 4 * np.mean(slopes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("fcn_hidden", "fcn_n_sin"), [(2, 0), (3, 3), (32, 3), (64, 6)])
def test_start_preserves_variance(fcn_hidden, fcn_n_sin, activation):
    draw = seeded(4)
    for dim_in, dim_out in ((1, 32), (16, 3)):
        normal = torch.randn(128, dim_in, generator=draw)
        uniform = (2 * torch.rand(128, dim_in, generator=draw) - 1) * math.sqrt(3)
        for x in (normal, uniform):
            ratios = []
            for seed in range(math.ceil(256 / dim_out)):
                options = (fcn_hidden, fcn_n_sin, activation, seeded(seed))
                with torch.no_grad():
                    y = KANLayer(dim_in, dim_out, *options)(x)
                ratios.append((y.var(0).mean() / x.var(0).mean()).item())
            assert 0.5 < np.mean(ratios) < 2


# Training through a table


def looked_up(layer: KANLayer, x: Tensor, points: int) -> Tensor:
    """The sum of edges read off straight lines, by numpy."""
    total = np.zeros((len(x), layer.dim_out))
    for i in range(layer.dim_in):
        column = x[:, i].detach().numpy()
        places = np.linspace(column.min(), column.max(), points)
        for j in range(layer.dim_out):
            values = layer.edge(i, j)(torch.from_numpy(places)).detach().numpy()
            total[:, j] += np.interp(column, places, values)
    return torch.from_numpy(total)


def with_table(points: int) -> KANLayer:
    layer = KANLayer(DIM_IN, DIM_OUT, 4, 2, table_points=points).double()
    layer.load_state_dict(noisy().state_dict())
    return layer


def test_large_batches_are_looked_up():
    x = points(rows=80)
    layer = with_table(20)
    torch.testing.assert_close(layer(x), looked_up(layer, x, 20))
    assert (layer(x) - layer.edges(x).sum(1)).abs().max() > 1e-3  # or nothing was looked up
    torch.testing.assert_close(layer(x[:20]), layer.edges(x[:20]).sum(1))


def test_what_is_evaluated_does_not_depend_on_its_batch():
    x = points(rows=80)
    layer = with_table(20).eval()
    torch.testing.assert_close(layer(x), layer.edges(x).sum(1))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.testing.assert_close(program.module()(x[:30]), layer(x[:30]))


def test_gradients_flow_through_the_table():
    """Those of the weights and of the samples come near the edges' own as points come near."""
    x = points(rows=3000).requires_grad_()
    weight = torch.randn(3000, DIM_OUT, generator=seeded(5), dtype=torch.float64)
    plain = noisy()
    expected = torch.autograd.grad(plain(x), [x, *plain.parameters()], weight)
    errors = []
    for points_ in (250, 1000):
        layer = with_table(points_)
        found = torch.autograd.grad(layer(x), [x, *layer.parameters()], weight)
        pairs = zip(found, expected, strict=True)
        errors.append([((a - b).norm() / b.norm()).item() for a, b in pairs])
    coarse, fine = (np.array(each) for each in errors)
    assert (fine < [0.05, *[2e-3] * 4]).all()  # slopes err as the distance of points,
    assert fine[0] < coarse[0] / 3
    assert (fine[1:4] < coarse[1:4] / 10).all()  # all else as its square


def test_a_sample_that_is_no_number_spoils_only_its_own_row():
    x = points(rows=80)
    layer = with_table(20)
    whole = layer(x)
    x[3, 1] = math.nan
    found = layer(x)
    assert found[3].isnan().all()
    assert found[4:].isfinite().all()
    torch.testing.assert_close(found[4:], whole[4:], rtol=1, atol=1)  # another range, perhaps


def test_equal_samples_have_a_table_too():
    layer = with_table(20)
    x = points(rows=1).expand(50, -1)
    torch.testing.assert_close(layer(x), layer.edges(x).sum(1))


def test_a_table_needs_two_points():
    with pytest.raises(
        ValueError, match="table_points to be 0 or a whole number of at least 2, got 1"
    ):
        KANLayer(2, 5, table_points=1)


# Bad values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fcn_hidden": 0}, "fcn_hidden to be a whole number of at least 1, got 0."),
        ({"fcn_n_sin": -1}, "fcn_n_sin to be a whole number of at least 0, got -1."),
        ({"fcn_n_sin": 3.0}, "fcn_n_sin to be a whole number of at least 0, got 3.0."),
        (
            {"activation": "tanh"},
            "activation to be one of silu, gelu, relu, softplus, got 'tanh'.",
        ),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=r"^KANLayer needs ") as caught:
        KANLayer(2, 5, **options)
    assert str(caught.value) == f"KANLayer needs {said}"
