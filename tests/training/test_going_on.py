"""What least squares do between steps: whom they keep, what penalties weigh, where they stop."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kan_exp.data import Split
from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.layers import KANInterpoLayer, KANSplineLayer, LayerSpec
from kan_exp.models.model import KANModel
from kan_exp.optimizers import LevenbergMarquardt, State
from kan_exp.training.least_squares import LeastSquaresModule
from kan_exp.training.stages import Stage, make_stages
from kan_exp.training.starts import make_starts
from tests.regression import TASK

X = torch.rand(40, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
BOUNDS = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
UNIT = Scaling(torch.zeros(2), torch.ones(2), torch.zeros(1), torch.full((1,), 3.0))


def networks(count: int, kind=KANSplineLayer, cells: int = 8) -> list[nn.Sequential]:
    specs = [LayerSpec(kind, {})] * 2
    return make_starts(specs, [2, 1, 1], Stage(cells, count, 1), 0, 0.3, X, BOUNDS)


def module(starts, stages, y, penalty_decay=0.0, **penalty: float) -> LeastSquaresModule:
    return LeastSquaresModule(
        KANModel(starts[0], UNIT, Schema.of_numbers("ab", "f")),
        TASK,
        starts,
        stages,
        Split(X, y),
        LevenbergMarquardt,
        penalty,
        penalty_decay,
        {},
        follow_every=5,
        max_rise=2.0,
    )


def settled(made: LeastSquaresModule, starts) -> LevenbergMarquardt:
    """Brings a module to the end of its first stage without any step."""
    engine = LevenbergMarquardt(starts)
    errors = torch.arange(len(starts), dtype=torch.float64)  # on training the first is best
    engine.replicas = State(errors, errors, errors, torch.zeros(len(starts), dtype=torch.long))
    made._steps_in_stage = made.stages[0].steps
    return engine


@torch.no_grad()
def test_networks_that_are_right_on_validation_go_on():
    starts = networks(3)
    y = starts[2](X)
    made = module(starts, [Stage(8, 3, 1), Stage(16, 1, 1)], y)
    engine = settled(made, starts)
    made._choose(engine)
    assert made.model.network is starts[2]
    made._move_on(engine)
    assert engine.modules == [starts[2]]
    assert starts[2][0].num_intervals == 16
    torch.testing.assert_close(starts[2](X), y)


@torch.no_grad()
def test_a_stage_that_raises_the_validation_error_ends_the_training():
    starts = networks(2)
    y = starts[0](X) + 0.01
    made = module(starts, [Stage(8, 2, 1), Stage(16, 1, 5)], y)
    engine = settled(made, starts)
    assert not made._overfits(engine)  # nothing came before
    made._move_on(engine)
    made._steps_in_stage = 5
    assert not made._overfits(engine)
    starts[0][1].values.add_(0.03)  # twice as far off as before
    assert made._overfits(engine)


@pytest.mark.parametrize(("kind", "penalty_decay"), [(KANSplineLayer, 5.0), (KANInterpoLayer, 0.0)])
def test_the_weight_of_a_penalty_follows_the_grid(kind, penalty_decay):
    (network,) = networks(1, kind, cells=8)
    made = module([network], [Stage(8, 1, 1)], X[:, :1], penalty_decay, jerk=2.0)
    for cells in (8, 16):
        for layer in network:
            layer.refine(cells)
        parameters = torch.cat([part.detach().flatten() for part in network.parameters()])
        found = parameters @ made._quadratic(network) @ parameters
        jerk = sum(layer.roughness(3).mean() for layer in network).detach()
        torch.testing.assert_close(found, 2.0 * (4 / cells) ** penalty_decay * jerk)


def test_a_grid_that_moved_has_another_penalty():
    (network,) = networks(1)
    made = module([network], [Stage(8, 1, 1)], X[:, :1], jerk=1.0)
    before = made._quadratic(network)
    assert made._quadratic(network) is before
    network[1].move_grid(2 * network[1].grid)
    fresh = module([copy.deepcopy(network)], [Stage(8, 1, 1)], X[:, :1], jerk=1.0)
    moved = made._quadratic(network)
    assert not torch.allclose(moved, before)
    torch.testing.assert_close(moved, fresh._quadratic(fresh.model.network))


def test_first_stages_see_the_points_that_they_are_given():
    made = module(networks(1), [Stage(8, 1, 1, 10), Stage(8, 1, 1)], X[:, :1])
    points = Split(X, X[:, :1], X[:, 0])
    assert [len(part) for part in made._seen(points)] == [10, 10, 10]
    made._stage = 1
    assert len(made._seen(points).x) == 40


def test_the_last_stage_sees_all_points():
    stages = make_stages([None], None, [3, 1], [6, 6], points=[300, 300])
    assert [stage.points for stage in stages] == [300, None]


@torch.no_grad()
def test_a_stage_that_sees_some_of_the_points_does_not_end_the_training():
    starts = networks(1)
    y = starts[0](X) + 0.01
    for points, ends in ((10, False), (None, True)):
        stages = [Stage(8, 1, 1), Stage(8, 1, 5, points), Stage(8, 1, 5)]
        made = module(starts, stages, y)
        made._stage, made._steps_in_stage, made._least = 1, 5, 1e-6
        assert made._overfits(LevenbergMarquardt(starts)) is ends


def test_the_recipe_is_told_in_one_line():
    made = module(networks(2), [Stage(8, 2, 5), Stage(16, 1, 3)], X[:, :1])
    expected = "least squares from 2 starts; intervals 8, 16; networks 2, 1; steps 5, 3"
    assert made.summary == expected


@torch.no_grad()
@pytest.mark.parametrize(("at_end", "least"), [(False, 1 / 2), (True, 1 / 1.001)])
def test_a_rise_is_borne_up_to_a_limit_which_is_lower_at_the_end_of_a_stage(at_end, least):
    starts = networks(1)
    made = module(starts, [Stage(8, 1, 1), Stage(8, 1, 5 if at_end else 99)], starts[0](X) + 0.01)
    engine = LevenbergMarquardt(starts)
    made._stage, made._steps_in_stage = 1, 5
    error = float(made._validate(engine).min())
    made._least = least * error * 1.0001
    assert not made._overfits(engine)
    made._least = least * error * 0.9999
    assert made._overfits(engine)


@pytest.mark.parametrize("kind", [KANInterpoLayer, KANSplineLayer])
def test_hidden_grids_follow_their_values_while_training(kind, make_data, make_trainer):
    data = make_data()
    scaling = data.scaling
    x = scaling.standardize(data.train).x.double()
    bounds = ((data.bounds.double().T - scaling.x_mean) / scaling.x_std).T
    stage = Stage(8, 1, 11)
    starts = make_starts([LayerSpec(kind, {})] * 2, [2, 2, 1], stage, 0, 0.3, x, bounds)
    (network,) = starts
    before = network[1].grid.clone()
    model = KANModel(network, scaling, data.schema)
    validation = scaling.standardize(data.val)
    description = {"layers": [{"kind": "any", "options": {}}] * 2}
    made = LeastSquaresModule(
        model,
        TASK,
        starts,
        [stage],
        validation,
        LevenbergMarquardt,
        {"jerk": 1e-6},
        0.0,
        description,
        follow_every=5,
        max_rise=2.0,
    )
    data.plan(None, 11, 11, 1, torch.Generator())
    make_trainer(11).fit(made, datamodule=data)
    hidden = network[0](x).detach()
    low, high = network[1].grid.unbind(1)
    assert not torch.equal(network[1].grid, before)
    room = 0.1 * (high - low)  # for the step since it followed
    assert (low - room <= hidden.amin(0)).all()
    assert (high + room >= hidden.amax(0)).all()


def test_a_stage_lasts_as_long_as_its_steps_and_the_last_is_the_last():
    starts = networks(1)
    made = module(starts, [Stage(8, 1, 5), Stage(16, 1, 5)], starts[0](X).detach())
    engine = LevenbergMarquardt(starts)
    for steps, stage, cells in ((4, 0, 8), (5, 1, 16), (5, 1, 16)):
        made._steps_in_stage = steps
        made._move_on(engine)
        assert (made._stage, starts[0][0].num_intervals) == (stage, cells)
