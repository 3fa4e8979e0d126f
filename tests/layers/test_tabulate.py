"""Tables that stand in for other edges, and whether they are as close as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from kan_exp.layers import (
    EdgeLayer,
    KANInterpoLayer,
    KANLayer,
    KANRBFLayer,
    KANSplineLayer,
    LayerSpec,
    Tabulated,
    make_network,
    tabulate,
)

DIM_IN, DIM_OUT = 3, 4
DEGREES = [1, 3]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bent(kind: type[EdgeLayer] = KANLayer, **options) -> EdgeLayer:
    """A layer in float64 with wavy edges, trained on a range of its own for each input."""
    layer = kind(DIM_IN, DIM_OUT, **options, generator=seeded(0)).double()
    draw = seeded(1)
    with torch.no_grad():
        for part in layer.parameters():
            part += 0.3 * torch.randn(part.shape, generator=draw, dtype=part.dtype)
    layer.observe(samples(2000))
    return layer


def samples(count: int, seed: int = 2) -> Tensor:
    unit = torch.rand(count, DIM_IN, generator=seeded(seed), dtype=torch.float64)
    low = torch.tensor([-1.5, 0.2, -3.0], dtype=torch.float64)
    return low + unit * torch.tensor([3.5, 0.4, 5.0], dtype=torch.float64)


def inside(layer: EdgeLayer, count: int = 20_000) -> Tensor:
    """Many points of the layer's domain, other ones than those at which it was measured."""
    low, high = layer.domain.unbind(1)
    unit = torch.rand(count, DIM_IN, generator=seeded(5), dtype=torch.float64)
    unit[0], unit[1] = 0, 1
    return low + unit * (high - low)


def differences(layer: EdgeLayer, table: EdgeLayer) -> np.ndarray:
    """Largest difference of every edge."""
    x = inside(layer)
    with torch.no_grad():
        return (table.edges(x) - layer.edges(x)).abs().amax(0).numpy()


# How close it is


@pytest.mark.parametrize("num_points", [16, 200])
@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("kind", [KANLayer, KANRBFLayer])
def test_the_error_is_the_largest_difference_of_an_edge(kind, degree, num_points):
    layer = bent(kind)
    found = tabulate(layer, num_points, degree)
    assert isinstance(found, Tabulated)
    largest = differences(layer, found.layer)
    assert largest.max() > 1e-8
    assert found.error == pytest.approx(largest.max(), rel=0.05)


@pytest.mark.parametrize("num_points", [16, 200])
@pytest.mark.parametrize("degree", DEGREES)
def test_no_output_is_farther_than_the_bound(degree, num_points):
    layer = bent()
    found = tabulate(layer, num_points, degree)
    x = inside(layer)
    with torch.no_grad():
        largest = (found.layer(x) - layer(x)).abs().max().item()
    assert 0.2 * found.bound < largest < 1.02 * found.bound
    expected = differences(layer, found.layer).sum(0).max()
    assert found.bound == pytest.approx(expected, rel=0.05)
    assert found.error < found.bound < DIM_IN * found.error * 1.01


@pytest.mark.parametrize(("degree", "order"), [(1, 2), (3, 4)])
def test_the_error_falls_with_the_number_of_points(degree, order):
    layer = bent()
    errors = [tabulate(layer, n + degree, degree).error for n in (50, 100, 200)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(rates, order, atol=0.5)


@pytest.mark.parametrize("degree", DEGREES)
def test_a_table_of_a_table_is_the_same(degree):
    layer = bent(KANSplineLayer, degree=degree, num_intervals=10)
    layer.fit_domain(layer.domain.T)
    found = tabulate(layer, 10 + degree, degree)
    assert found.error < 1e-9
    torch.testing.assert_close(found.layer.values, layer.values, rtol=1e-8, atol=1e-8)


# What it is


@pytest.mark.parametrize("degree", DEGREES)
def test_it_is_a_layer_on_the_range_of_the_training(degree):
    layer = bent()
    table = tabulate(layer, 40, degree).layer
    assert type(table) is (KANInterpoLayer if degree == 1 else KANSplineLayer)
    assert (table.dim_in, table.dim_out) == (DIM_IN, DIM_OUT)
    assert table.values.shape == (DIM_IN, 40, DIM_OUT)
    assert table.values.dtype == torch.float64
    torch.testing.assert_close(table.grid, layer.domain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(table.domain, layer.domain, rtol=1e-12, atol=1e-12)
    assert not torch.equal(layer.domain[0], layer.domain[1])


@pytest.mark.parametrize("degree", DEGREES)
def test_beyond_the_range_it_is_linear(degree):
    layer = bent()
    table = tabulate(layer, 40, degree).layer
    low, high = layer.domain.unbind(1)
    for end, away in ((low, low - high), (high, high - low)):
        steps = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)[:, None]
        edges = table.edges(end + steps * away).detach().numpy()
        rise = edges[1] - edges[0]
        np.testing.assert_allclose(edges[2] - edges[0], 2 * rise, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(edges[3] - edges[0], 5 * rise, rtol=1e-8, atol=1e-8)
        assert np.abs(rise).min() > 1e-6


@pytest.mark.parametrize("degree", DEGREES)
def test_it_has_as_many_digits_as_the_layer(degree):
    layer = bent().float()
    found = tabulate(layer, 200, degree)
    assert found.layer.values.dtype == torch.float32
    x = inside(layer).float()
    with torch.no_grad():
        largest = (found.layer(x) - layer(x)).abs().max().item()
    assert largest < 1.05 * found.bound + 1e-5


def test_the_layer_stays_as_it_is_and_the_global_generator_too():
    layer, state = bent(), torch.get_rng_state()
    before = {name: part.clone() for name, part in layer.state_dict().items()}
    found = tabulate(layer)
    assert torch.equal(torch.get_rng_state(), state)
    for name, part in layer.state_dict().items():
        assert torch.equal(part, before[name])
    assert found.layer.values.shape == (DIM_IN, 256, DIM_OUT)
    assert found.layer.values.requires_grad  # it can be trained further
    assert all(part.requires_grad for part in layer.parameters())


@pytest.mark.parametrize("degree", DEGREES)
def test_an_input_that_never_varied_has_a_table_too(degree):
    layer, x = bent(), samples(50)
    x[:, 1] = 0.3
    layer.observe(x)
    found = tabulate(layer, 60, degree)
    assert np.isfinite([found.error, found.bound]).all()
    with torch.no_grad():
        same = (found.layer(x) - layer(x)).abs().max().item()
    assert same < 1.02 * found.bound
    assert same < 0.1
    assert (found.layer.spacing > 0).all()


@pytest.mark.parametrize("degree", DEGREES)
def test_a_network_can_be_tabulated_layer_by_layer(degree):
    specs = [LayerSpec(KANLayer, {"fcn_hidden": 5})] * 2
    network = make_network(specs, [3, 4, 1], seeded(0)).double()
    hidden = x = samples(500)
    for layer in network:
        layer.observe(hidden)
        hidden = layer(hidden)
    tables = torch.nn.Sequential(*(tabulate(layer, 300, degree).layer for layer in network))
    spread = network(x).std()
    assert (tables(x) - network(x)).abs().max() < 1e-3 * spread


# Bad values


@pytest.mark.parametrize(
    ("num_points", "degree", "said"),
    [
        (256, 2, "tabulate needs degree to be 1 or 3, got 2."),
        (256, "3", "tabulate needs degree to be 1 or 3, got '3'."),
        (1, 1, "tabulate needs at least 2 points, got 1."),
        (5, 3, "tabulate needs at least 6 points, got 5."),
        (-7, 3, "tabulate needs at least 6 points, got -7."),
    ],
)
def test_bad_options_are_named(num_points, degree, said):
    with pytest.raises(ValueError, match=r"^tabulate needs ") as caught:
        tabulate(bent(), num_points, degree)
    assert str(caught.value) == said
