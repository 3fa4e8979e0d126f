"""Every replica of a stacked run is the run of its seed, and none disturbs another."""

from __future__ import annotations

import logging
import math
from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

import kan_exp
from kan_exp.errors import DivergedError, KanExpError
from kan_exp.layers import LayerSpec, find_layer, make_network, stack_networks
from kan_exp.models.loading import describe_model
from kan_exp.models.model import KANModel
from kan_exp.training.callbacks import BestNetwork, RunCheckpoint
from kan_exp.training.module import KANModule
from kan_exp.training.replicas import ReplicaModule, observe, spread
from tests.regression import TASK

KINDS = {
    "KANInterpoLayer": {"num_x": 7, "x_min": -1.5, "x_max": 1.0},
    "KANSplineLayer": {"num_intervals": 4, "base": "silu"},
    "KANLayer": {"fcn_hidden": 4},
    "KANChebyshevLayer": {"degree": 4},
    "KANFourierLayer": {"num_frequencies": 2},
    "KANRBFLayer": {"num_centers": 4},
    "KANRationalLayer": {"degree": 3},
    "KANLinearLayer": {},
}
ADAM = partial(torch.optim.Adam, lr=0.02, fused=True)
DIMS = (2, 3, 1)
SEED = 5
STEPS = 30


def specs(*kinds: str) -> list[LayerSpec]:
    names = kinds * (len(DIMS) - 1) if len(kinds) == 1 else kinds
    return [LayerSpec(find_layer(f"kan_exp.layers.{name}"), KINDS[name]) for name in names]


def networks(layers, count: int):
    generators = [torch.Generator().manual_seed(SEED + k) for k in range(count)]
    return [make_network(layers, DIMS, generator) for generator in generators]


def model_of(network, data) -> KANModel:
    return KANModel(network, data.scaling, data.schema)


def train_alone(layers, data, trainer, replica, optimizer, scheduler, batch, penalty):
    """The run of one seed, as it is without replicas."""
    seed = SEED + replica
    network = make_network(layers, DIMS, torch.Generator().manual_seed(seed))
    module = KANModule(model_of(network, data), TASK, optimizer, scheduler, penalty, {})
    data.plan(batch, STEPS, 4, 2, torch.Generator().manual_seed(seed))
    trainer.fit(module, datamodule=data)
    return module


def train_stack(layers, data, trainer, count, optimizer, scheduler, batch, penalty, starts=None):
    starts = networks(layers, count) if starts is None else starts
    first = make_network(layers, DIMS, torch.Generator())
    module = ReplicaModule(
        model_of(first, data), TASK, starts, SEED, optimizer, scheduler, penalty, {}
    )
    seeds = [torch.Generator().manual_seed(SEED + k) for k in range(count)]
    data.plan(batch, STEPS, 4, 2, *seeds)
    trainer.fit(module, datamodule=data)
    return module


CASES = {
    **{name: (specs(name), ADAM, None, 16, {"roughness": 1e-3}) for name in KINDS},
    "mixed": (specs("KANSplineLayer", "KANLayer"), ADAM, None, 16, {}),
    "zero outside": (
        [LayerSpec(find_layer("kan_exp.layers.KANInterpoLayer"), {"num_x": 7, "outside": "zero"})]
        * 2,
        ADAM,
        None,
        16,
        {},
    ),
    "all points": (specs("KANInterpoLayer"), ADAM, None, None, {}),
    "sgd": (
        specs("KANInterpoLayer"),
        partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
        partial(CosineAnnealingLR, T_max=STEPS),
        16,
        {"smooth": 1e-2},
    ),
    "adamw": (
        specs("KANInterpoLayer"),
        partial(torch.optim.AdamW, lr=0.02),
        None,
        16,
        {"jerk": 1e-5},
    ),
    "l1": (specs("KANInterpoLayer"), ADAM, None, 16, {"l1_edges": 1e-2, "curvature": 1e-4}),
    "l1 of outputs": (specs("KANSplineLayer"), ADAM, None, 16, {"l1_outputs": 1e-2}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_replica_is_the_run_of_its_seed(case, make_data, make_trainer):
    layers, optimizer, scheduler, batch, penalty = case
    data = make_data()
    options = optimizer, scheduler, batch, penalty
    stack = train_stack(layers, data, make_trainer(STEPS), 3, *options)
    for replica in (0, 2):
        alone = train_alone(layers, data, make_trainer(STEPS), replica, *options)
        for name, part in alone.model.network.state_dict().items():
            found = stack.stack.state_dict()[name][replica]
            torch.testing.assert_close(found, part, rtol=2e-4, atol=2e-5)
        steps, losses = zip(*alone.val_history, strict=True)
        assert [step for step, _ in stack.val_losses] == list(steps)
        found = [float(values[replica]) for _, values in stack.val_losses]
        assert found == pytest.approx(losses, rel=1e-3)
        found = [float(values[replica]) for _, values in stack.train_losses]
        assert found == pytest.approx([loss for _, loss in alone.train_history], rel=1e-3)


SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


def explosive(count: int, which: tuple[int, ...]):
    """Starts of which some are so steep that gradient descent overshoots further every step."""
    starts = networks(specs("KANInterpoLayer"), count)
    with torch.no_grad():
        for replica in which:
            for weight in starts[replica].parameters():
                weight.mul_(10)
    return starts


def test_a_diverging_replica_is_frozen_and_spoils_nothing(make_data, make_trainer, caplog):
    data, layers = make_data(), specs("KANInterpoLayer")
    options = SGD, None, 16, {"roughness": 1e-3}
    with caplog.at_level(logging.INFO):
        starts = explosive(3, which=(1,))
        stack = train_stack(layers, data, make_trainer(STEPS), 3, *options, starts)
    ((replica, step),) = stack.diverged.items()
    assert replica == 1
    assert f"replica 1 (seed {SEED + 1}) diverged at step {step}" in caplog.text
    for state in stack.optimizers().optimizer.state.values():
        assert all(part.isfinite().all() for part in state.values() if part is not None)
    # The same by hand: the last weights that gave a finite loss are where it stays.
    (network,) = explosive(2, which=(1,))[1:]
    data.plan(16, STEPS, 4, 2, torch.Generator().manual_seed(SEED + 1))
    points = [points[:2] for chunk in data.train_dataloader() for points in chunk.unbind()]
    network.to(points[0][0].device)
    optimizer = SGD(network.parameters())
    for count, (x, y) in enumerate(points, 1):  # noqa: B007
        optimizer.zero_grad()
        loss = (network(x) - y).square().mean()
        if not loss.isfinite():
            break
        frozen = {name: part.cpu().clone() for name, part in network.state_dict().items()}
        rough = sum(layer.roughness().mean() for layer in network)
        (loss + 1e-3 * rough).backward()
        optimizer.step()
    assert 1 < count == step
    for name in ("0.values", "1.values"):
        torch.testing.assert_close(
            stack.stack.state_dict()[name][1], frozen[name], rtol=1e-2, atol=0
        )
    for other in (0, 2):
        alone = train_alone(layers, data, make_trainer(STEPS), other, *options)
        for name, part in alone.model.network.state_dict().items():
            found = stack.stack.state_dict()[name][other]
            torch.testing.assert_close(found, part, rtol=2e-4, atol=2e-5)


def test_a_run_of_which_all_replicas_diverge_ends(make_data, make_trainer):
    options = SGD, None, 16, {}
    starts = explosive(2, which=(0, 1))
    with pytest.raises(DivergedError, match=r"all 2 replicas diverged.* at step \d+: lower optim"):
        train_stack(specs("KANInterpoLayer"), make_data(), make_trainer(STEPS), 2, *options, starts)


def test_every_replica_comes_back_as_it_was_best(make_data, make_trainer, tmp_path):
    data, layers = make_data(), specs("KANSplineLayer")
    best = BestNetwork()
    folder = RunCheckpoint(tmp_path / "checkpoints", 0, best)
    trainer = make_trainer(STEPS, callbacks=[best, folder], enable_checkpointing=True)
    starts = networks(layers, 3)
    module = ReplicaModule(
        model_of(make_network(layers, DIMS, torch.Generator()), data),
        TASK,
        starts,
        SEED,
        partial(torch.optim.Adam, lr=0.3),  # so large that the last state is not the best
        None,
        {},
        describe_model(layers, DIMS, data, TASK),
    )
    data.plan(16, STEPS, 2, 10, *(torch.Generator().manual_seed(k) for k in range(3)))
    trainer.fit(module, datamodule=data)
    assert (module.best_steps < STEPS).any()
    errors = [
        TASK.score(kan_exp.load(tmp_path, k).predict(data.val.x), data.val.y)["rmse"]
        for k in range(3)
    ]
    assert errors == pytest.approx(module.best_errors.tolist(), rel=1e-6)
    lowest = [min(float(v[k]) for _, v in module.val_losses) ** 0.5 for k in range(3)]
    assert errors == pytest.approx([low * data.scaling.y_std.item() for low in lowest], rel=1e-5)
    best = TASK.score(kan_exp.load(tmp_path).predict(data.val.x), data.val.y)["rmse"]
    assert best == pytest.approx(min(errors), rel=1e-6)
    for replica in (-1, 3):
        with pytest.raises(KanExpError, match=rf"has replicas 0 to 2, got {replica}\.$"):
            kan_exp.load(tmp_path, replica)


@pytest.mark.parametrize("penalty", [{}, {"l1_edges": 0.1, "l1_outputs": 0.2, "curvature": 0.01}])
def test_masks_and_product_nodes_count_in_each_replica(make_data, penalty):
    data, layers = make_data(), specs("KANSplineLayer")
    starts = networks(layers, 3)
    for seed, network in enumerate(starts):
        network[0].set_mask(torch.rand(2, 3, generator=torch.Generator().manual_seed(seed)) > 0.4)
        network[0].node_operation = ["sum", "product", "product"]
    split = data.scaling.standardize(data.train)
    module = ReplicaModule(model_of(starts[0], data), TASK, starts, SEED, SGD, None, penalty, {})
    loss, penalties = module.objective(*split.map(lambda part: part.expand(3, -1, -1)))
    for replica, network in enumerate(starts):
        alone = KANModule(model_of(network, data), TASK, SGD, None, penalty, {})
        expected, others = alone.objective(*split)
        torch.testing.assert_close(loss[replica], expected)
        assert penalties.keys() == others.keys() == penalty.keys()
        for name, value in others.items():
            torch.testing.assert_close(penalties[name][replica], value)


def test_domains_follow_each_replica(make_data):
    data, layers = make_data(), specs("KANLayer")
    alone = [model_of(network, data) for network in networks(layers, 3)]
    stack = stack_networks([model.network for model in alone])
    observe(stack, alone[0].standardize(data.train.x))
    for replica, model in enumerate(alone):
        model.observe(data.train.x)
        for depth, layer in enumerate(model.network):
            found = stack[depth].domain[replica]
            torch.testing.assert_close(found, layer.domain)


def test_the_spread_of_the_values_that_are_numbers():
    values = torch.tensor([5.0, math.nan, 1.0, 3.0, 2.0, 4.0])
    assert spread("loss", values) == {
        "loss/best": 1.0,
        "loss/lower_quartile": 2.0,
        "loss/median": 3.0,
        "loss/upper_quartile": 4.0,
        "loss/worst": 5.0,
    }
