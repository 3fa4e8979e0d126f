"""From coarse grids to fine ones: the stages, the starts, the grids that follow the values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.layers import KANInterpoLayer, KANLayer, KANSplineLayer, LayerSpec
from kan_exp.training.stages import Stage, make_stages
from kan_exp.training.starts import follow, make_starts, penalty_matrix

SPLINE = LayerSpec(KANSplineLayer, {"num_intervals": 8})
BOUNDS = torch.tensor([[-1.5, 1.5], [-1.0, 2.0]], dtype=torch.float64)


def points(count: int = 50) -> torch.Tensor:
    unit = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return BOUNDS[:, 0] + unit * (BOUNDS[:, 1] - BOUNDS[:, 0])


def starts(spec: LayerSpec = SPLINE, num_candidates: int = 3, cells: int | None = 4, seed: int = 5):
    return make_starts(
        [spec] * 2, [2, 3, 1], Stage(cells, num_candidates, 1), seed, 0.3, points(), BOUNDS
    )


@pytest.mark.parametrize(
    ("grids", "num_candidates", "steps", "said"),
    [
        ([], [1], [1], "grids needs numbers of at least 1, got []"),
        ([4, 6], [2, 1], [1, 1], "a multiple of the one before, got [4, 6]"),
        ([4, 8], [1, 2], [1, 1], "num_candidates must not rise, got [1, 2]"),
        ([4, 0], [2, 1], [1, 1], "grids needs numbers of at least 1, got [4, 0]"),
        (None, [2, 0], [1, 1], "num_candidates needs numbers of at least 1, got [2, 0]"),
        (None, [2, 1], [], "steps needs numbers of at least 1, got []"),
    ],
)
def test_stages_that_cannot_be_are_refused(grids, num_candidates, steps, said):
    with pytest.raises(KanExpError) as caught:
        make_stages([8], grids, num_candidates, steps)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("cells", "grids"),
    [
        (64, [4, 8, 16, 32, 64]),
        (7, [7]),
        (1, [1]),
        (63, [7, 21, 63]),
        (255, [17, 85, 255]),
    ],
)
def test_grids_lead_to_the_layers_own(cells, grids):
    stages = make_stages([cells, cells], None, [9, 3], [5])
    assert [stage.num_intervals for stage in stages] == grids
    assert [stage.num_candidates for stage in stages] == [9, 3, 3, 3, 3][: len(grids)]
    assert {stage.steps for stage in stages} == {5}


def test_layers_of_different_sizes_need_grids_of_the_users():
    with pytest.raises(KanExpError, match="8 and 63 intervals"):
        make_stages([8, 63], None, [1], [1])
    assert make_stages([8, 63], [4, 8], [1], [1])[-1].num_intervals == 8


def test_layers_without_grids_leave_the_sizes():
    assert make_stages([None], None, [3, 1], [5, 7]) == [Stage(None, 3, 5), Stage(None, 1, 7)]


def test_a_seed_decides_all_starts_and_another_seed_shares_none():
    x = points()
    found, again, others = (torch.stack([one(x) for one in starts(seed=s)]) for s in (5, 5, 6))
    assert torch.equal(found, again)
    every = torch.cat([found, others]).flatten(1)
    assert torch.pdist(every).min() > 0.1
    (network, *_) = starts()
    assert {part.dtype for part in network.parameters()} == {torch.float64}
    assert [layer.num_intervals for layer in network] == [4, 4]


def test_the_first_grid_is_the_datas_and_hidden_ones_hold_their_values():
    for network in starts():
        torch.testing.assert_close(network[0].grid, BOUNDS)
        hidden = network[0](points()).detach()
        low, high = network[1].grid.unbind(1)
        assert (low <= hidden.amin(0)).all()
        assert (high >= hidden.amax(0)).all()
        assert (high - low <= 1.3 * (hidden.amax(0) - hidden.amin(0))).all()


def test_layers_without_grids_are_left_as_they_are():
    (network,) = starts(LayerSpec(KANLayer, {"fcn_hidden": 4}), num_candidates=1, cells=None)
    assert not follow([network], points())


@torch.no_grad()
def test_a_grid_follows_the_values_that_left_it_and_the_function_stays():
    (network,) = starts(num_candidates=1, cells=16)
    x = points()
    before = network(x)
    assert not follow([network], x)  # it fits already
    network[0].values.mul_(3)
    network[1].values.div_(3)
    moved = network(x)
    assert follow([network], x)
    hidden = network[0](x)
    assert (network[1].grid[:, 0] <= hidden.amin(0)).all()
    assert (network[1].grid[:, 1] >= hidden.amax(0)).all()
    assert (network(x) - moved).abs().max() < 0.5 * before.std()


@pytest.mark.parametrize("kind", [KANInterpoLayer, KANSplineLayer])
def test_the_penalty_matrix_is_the_mean_squared_derivative(kind):
    (network,) = starts(LayerSpec(kind, {}), num_candidates=1, cells=6)
    weights = {1: 0.3, 2: 0.02, 3: 0.001}
    parameters = torch.cat([part.detach().flatten() for part in network.parameters()])
    found = parameters @ penalty_matrix(network, weights) @ parameters
    expected = sum(
        weight * layer.roughness(order).mean().item()
        for layer in network
        for order, weight in weights.items()
    )
    np.testing.assert_allclose(found.item(), expected, rtol=1e-9)


def test_grids_of_any_number_of_cells_are_found_at_once():
    def grids(cells):
        return [stage.num_intervals for stage in make_stages([cells], None, [1], [1])]

    def plainly(cells):
        sizes, factor = [cells], 2
        while factor <= sizes[0] // 4:
            if sizes[0] % factor:
                factor += 1
            else:
                sizes.insert(0, sizes[0] // factor)
        return sizes

    for cells in (*range(1, 300), 1009 * 1013, 4 * 1_000_003):
        assert grids(cells) == plainly(cells)
    assert grids(2**89 - 1) == [2**89 - 1]  # a prime, of which all smaller numbers took ages
