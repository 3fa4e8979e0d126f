"""Every replica of a stacked run is the run of its seed, and none disturbs another."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from kan_exp.layers import LayerSpec, find_layer, make_network
from kan_exp.training.model import KANModel
from kan_exp.training.module import KANModule
from kan_exp.training.replicas import ReplicaModule

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
    return KANModel(network, data.scaling, data.features, data.target_name)


def train_alone(layers, data, trainer, replica, optimizer, scheduler, batch, penalty):
    """The run of one seed, as it is without replicas."""
    seed = SEED + replica
    network = make_network(layers, DIMS, torch.Generator().manual_seed(seed))
    module = KANModule(model_of(network, data), optimizer, scheduler, penalty, {})
    data.plan(batch, STEPS, 4, 2, torch.Generator().manual_seed(seed))
    trainer.fit(module, datamodule=data)
    return module


def train_stack(layers, data, trainer, count, optimizer, scheduler, batch, penalty, starts=None):
    starts = networks(layers, count) if starts is None else starts
    first = make_network(layers, DIMS, torch.Generator())
    module = ReplicaModule(model_of(first, data), starts, SEED, optimizer, scheduler, penalty, {})
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
    "adamw": (specs("KANLayer"), partial(torch.optim.AdamW, lr=0.02), None, 16, {"jerk": 1e-5}),
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
            torch.testing.assert_close(
                found, part, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: n + m
            )
        steps, losses = zip(*alone.val_history, strict=True)
        assert [step for step, _ in stack.val_errors] == list(steps)
        found = [float(values[replica]) for _, values in stack.val_errors]
        assert found == pytest.approx(losses, rel=1e-3)
        found = [float(values[replica]) for _, values in stack.train_errors]
        assert found == pytest.approx([loss for _, loss in alone.train_history], rel=1e-3)
