"""Replicas that diverge: which are named, and that they stay where they were."""

from __future__ import annotations

import logging
from functools import partial

import torch
from lightning.pytorch import Callback

from kan_exp.layers import make_network
from kan_exp.training.replicas import ReplicaModule
from tests.regression import TASK
from tests.training.test_replicas import SGD, explosive, model_of, specs


def train(data, trainer, starts, optimizer, chunk: int) -> ReplicaModule:
    layers = specs("KANInterpoLayer")
    first = make_network(layers, (2, 3, 1), torch.Generator())
    run = ReplicaModule(model_of(first, data), TASK, starts, 5, optimizer, None, {}, {})
    data.plan(16, 30, chunk, 1, *(torch.Generator().manual_seed(k) for k in range(len(starts))))
    trainer.fit(run, datamodule=data)
    return run


def test_of_many_diverging_replicas_three_are_named_and_the_others_listed(
    make_data, make_trainer, caplog
):
    starts = explosive(6, which=(0, 1, 3, 4, 5))
    with caplog.at_level(logging.INFO):
        run = train(make_data(), make_trainer(30), starts, SGD, chunk=30)
    order = list(run.diverged)
    assert sorted(order) == [0, 1, 3, 4, 5]
    lines = [record.getMessage() for record in caplog.records if "diverged" in record.getMessage()]
    assert lines[:3] == [
        f"replica {k} (seed {5 + k}) diverged at step {run.diverged[k]}" for k in order[:3]
    ]
    (rest,) = lines[3:]
    assert rest.startswith("2 more replicas diverged by step 30")
    assert all(str(k) in rest.partition(":")[2] for k in order[3:])


class Weights(Callback):
    """Keeps the weights of all replicas after every step."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, module, *_) -> None:
        self.kept.append(torch.cat([part.flatten(1) for part in module.trained()], 1).clone())


def test_weight_decay_and_momentum_do_not_move_a_diverged_replica(make_data, make_trainer):
    decaying = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.1)
    weights, starts = Weights(), explosive(3, which=(1,))
    run = train(make_data(), make_trainer(30, callbacks=[weights]), starts, decaying, chunk=1)
    ((replica, step),) = run.diverged.items()
    assert (replica, len(weights.kept)) == (1, 30)
    assert step < 25
    # The step that gave a loss that is no number is taken back.
    after = torch.stack(weights.kept[step - 1 :]).detach()
    assert after[:, 1].isfinite().all()
    assert (after[:, 1] == after[0, 1]).all()
    assert (after[1:, 0] != after[:-1, 0]).any(1).all()
