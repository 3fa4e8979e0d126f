"""The training is the plain loop that anyone would write, only in chunks, and says what breaks."""

from __future__ import annotations

import itertools
import logging
import math
import os
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import DivergedError, KanExpError
from kan_exp.layers import KANInterpoLayer, KANLayer, KANSplineLayer, LayerSpec, make_network
from kan_exp.models.model import KANModel
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.optimizers.checking import check_optimizer
from kan_exp.training.module import CHOSEN_BY, OBSERVED_POINTS, KANModule
from kan_exp.training.penalties import group_penalty
from tests.regression import TASK

KINDS = [KANInterpoLayer, KANLayer, KANSplineLayer]
ORDERS = {"roughness": 1, "curvature": 2, "jerk": 3}
PENALTIES = (*ORDERS, "smooth", "l1_edges", "l1_outputs")
ADAM = partial(torch.optim.Adam, lr=0.02, fused=True)


def module(model, optimizer=ADAM, scheduler=None, **penalty: float) -> KANModule:
    return KANModule(model, TASK, optimizer, scheduler, penalty, {"layer": "none"})


def plan(data, batch=16, steps=7, chunk=3, evaluations=1, seed=9):
    data.plan(batch, steps, chunk, evaluations, torch.Generator().manual_seed(seed))
    return data


def plain_batches(data, **planned):
    """The mini-batches one by one, over all passes."""
    plan(data, **{**planned, "chunk": 1})
    feed = data.train_dataloader()
    while chunks := list(feed):
        for chunk in chunks:
            yield chunk.x[0], chunk.y[0]


def plain_loop(model, optimizer, scheduler, batches, loss_of) -> list[float]:
    """Gradient descent as in any tutorial; the losses before each step."""
    optimizer = optimizer(model.parameters())
    scheduler = scheduler(optimizer) if scheduler else None
    losses = []
    for x, y in batches:
        seen = []

        def closure(x=x, y=y, seen=seen):
            optimizer.zero_grad()
            loss = loss_of(model.network, x, y)
            loss.backward()
            seen.append(loss.item())
            return loss.detach()

        optimizer.step(closure)
        losses.append(seen[0])
        if scheduler:
            scheduler.step()
    return losses


def mse(network, x, y):
    return ((network(x) - y) ** 2).mean()


def slow_penalty(name: str, network, x) -> torch.Tensor:
    """Each penalty as its definition reads, edge by edge."""
    total = torch.zeros(())
    for layer in network:
        edges = list(itertools.product(range(layer.dim_in), range(layer.dim_out)))
        if name == "l1_edges":
            values = [layer.edge(i, j)(x[:, i]).abs().mean() for i, j in edges]
            total = total + sum(values) / len(edges)
        elif name == "l1_outputs":
            total = total + layer(x).abs().mean()
        elif name == "smooth" and isinstance(layer, KANInterpoLayer):
            slopes = [
                (layer.values[i, k + 1, j] - layer.values[i, k, j]) / layer.spacing[i]
                for i, j in edges
                for k in range(layer.num_x - 1)
            ]
            total = total + sum(slope**2 for slope in slopes) ** 0.5
        elif name in ORDERS:
            means = []
            for i, j in edges:
                if isinstance(layer, KANInterpoLayer):
                    at = layer.knots[i]
                else:
                    at = torch.linspace(*layer.domain[i].tolist(), 129)
                derivative = layer.edge(i, j)(at)
                for _ in range(ORDERS[name]):
                    derivative = derivative.diff() / (at[1] - at[0])
                means.append(derivative.square().mean())
            total = total + sum(means) / len(edges)
        x = layer(x)
    return total


# Objective


@pytest.mark.parametrize("layer", KINDS)
@pytest.mark.parametrize(
    "names",
    [(), *itertools.combinations(PENALTIES, 1), ("roughness", "l1_edges"), PENALTIES],
    ids="+".join,
)
def test_objective_is_the_error_and_the_chosen_penalties(make_data, make_model, layer, names):
    model = make_model(make_data(), layer=layer)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # away from the start, whose edges are nearly lines
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    x, y = torch.randn(2, 20, 2, generator=generator)
    y = y[:, :1]
    if layer is not KANInterpoLayer and "smooth" in names:
        with pytest.raises(KanExpError, match="only interpolation layers have it"):
            module(model, smooth=0.7)
        names = tuple(name for name in names if name != "smooth")
    weights = dict.fromkeys(PENALTIES, 0.0) | dict.fromkeys(names, 0.7)
    loss, penalties = module(model, **weights).objective(x, y)
    pairs = zip(model.network(x)[:, 0].tolist(), y[:, 0].tolist(), strict=True)
    expected = sum((predicted - true) ** 2 for predicted, true in pairs) / 20
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert set(penalties) == set(names)
    for name in names:
        slow = slow_penalty(name, model.network, x).item()
        # Differences of differences lose digits in float32.
        tolerance = 1e-4 if layer is KANInterpoLayer else 10.0 ** (ORDERS.get(name, 0) - 3.5)
        assert penalties[name].item() == pytest.approx(slow, rel=tolerance, abs=1e-7)
        assert slow > 0


def test_roughness_and_curvature_of_a_known_network():
    """Parabolas and a straight line, whose derivatives anyone can write down."""
    specs = [
        LayerSpec(KANSplineLayer, {"num_intervals": 4, "degree": 2, "x_min": 0.0, "x_max": 4.0}),
        LayerSpec(KANInterpoLayer, {"num_x": 5, "x_min": -1.0, "x_max": 1.0}),
    ]
    network = make_network(specs, [1, 2, 1], torch.Generator().manual_seed(0))
    grid = torch.tensor([[0.0, 4.0]])
    network[0].place(grid, lambda x: torch.stack([x**2 / 2, 3 - 2 * x], dim=-1))
    network[1].place(torch.tensor([[-1.0, 1.0]] * 2), lambda x: 0.5 * x.unsqueeze(-1))
    scaling = Scaling(torch.zeros(1), torch.ones(1), torch.zeros(1), torch.ones(1))
    model = KANModel(network, scaling, Schema.of_numbers(["x"], ["y"]))
    x = torch.linspace(0, 4, 9)[:, None]
    _, penalties = module(model, roughness=1.0, curvature=1.0, jerk=1.0).objective(x, x)
    # Slopes: x on 0 to 4, whose mean square is 16 / 3, and -2; then 0.5. Bends: 1 and 0; then 0.
    assert penalties["jerk"].item() == pytest.approx(0, abs=1e-6)
    assert penalties["roughness"].item() == pytest.approx((16 / 3 + 4) / 2 + 0.25, rel=1e-4)
    assert penalties["curvature"].item() == pytest.approx((1 + 0) / 2, rel=1e-3)


def test_smooth_counts_the_tables_of_a_mixed_network(make_data):
    data = make_data()
    specs = [LayerSpec(KANSplineLayer, {}), LayerSpec(KANInterpoLayer, {"num_x": 7})]
    network = make_network(specs, [2, 3, 1], torch.Generator().manual_seed(0))
    model = KANModel(network, data.scaling, data.schema)
    _, penalties = module(model, smooth=1.0).objective(data.train.x, data.train.y)
    slow = slow_penalty("smooth", network, data.train.x).item()
    assert penalties["smooth"].item() == pytest.approx(slow, rel=1e-4)


def test_an_unknown_penalty_is_refused(make_data, make_model):
    with pytest.raises(
        KanExpError, match=r"^penalty\.init_noise_std: there is none\. There are: "
    ) as caught:
        module(make_model(make_data()), init_noise_std=0.1)
    assert all(name in str(caught.value) for name in PENALTIES)


def test_the_group_penalty_is_part_of_the_objective(make_data, make_model):
    model = make_model(make_data())
    _, penalties = module(model, group=0.1).objective(torch.zeros(2, 2), torch.zeros(2, 1))
    assert torch.equal(penalties["group"], group_penalty(model.network))
    with pytest.raises(KanExpError, match=r"^penalty\.group: only layer=interpo, and spline"):
        module(make_model(make_data(), layer=KANLayer), group=0.1)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("weight", [-1e-9, math.nan])
def test_a_penalty_below_zero_is_refused(make_data, make_model, name, weight):
    rule = rf"^penalty\.{name} must be at least 0, got {weight}\.$"
    with pytest.raises(KanExpError, match=rule):
        module(make_model(make_data()), **{name: weight})


# Training


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        (ADAM, None),
        (ADAM, partial(CosineAnnealingLR, T_max=7)),
        (ADAM, partial(OneCycleLR, max_lr=0.02, total_steps=7, pct_start=0.1)),
        (
            partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
            partial(StepLR, step_size=2, gamma=0.3),
        ),
        (partial(torch.optim.AdamW, lr=0.02, weight_decay=0.1), None),
    ],
    ids=["adam", "adam-cosine", "adam-onecycle", "sgd-step", "adamw"],
)
@pytest.mark.parametrize("batch", [16, None])
def test_training_is_the_plain_loop_bit_for_bit(
    make_data, make_model, make_trainer, optimizer, scheduler, batch
):
    data = make_data()
    trained, by_hand, start = make_model(data), make_model(data), make_model(data)
    losses = plain_loop(by_hand, optimizer, scheduler, plain_batches(data, batch=batch), mse)
    trainer = make_trainer(7)
    run = module(trained, optimizer, scheduler)
    trainer.fit(run, datamodule=plan(data, batch=batch))
    for name, weight in by_hand.network.named_parameters():
        assert torch.equal(trained.network.get_parameter(name), weight), name
        assert not torch.equal(start.network.get_parameter(name), weight), name
    # The history has one point for each chunk, at the optimizer step that ended it.
    assert trainer.global_step == 7
    steps, means = zip(*run.train_history, strict=True)
    assert steps == (3, 6, 7)
    expected = [np.mean(losses[0:3]), np.mean(losses[3:6]), losses[6]]
    np.testing.assert_allclose(means, expected, rtol=1e-5)


@pytest.mark.parametrize(("layer", "roughness"), [(KANInterpoLayer, 0.0), (KANLayer, 0.1)])
def test_looking_more_often_does_not_change_the_training(
    make_data, make_model, make_trainer, layer, roughness, monkeypatch
):
    monkeypatch.setattr("kan_exp.training.module.OBSERVE_EVERY", 5)
    data = make_data()
    often, once = make_model(data, layer=layer), make_model(data, layer=layer)
    for model, chunk, evaluations in ((often, 2, 4), (once, 12, 1)):
        run = module(model, roughness=roughness)
        make_trainer(12).fit(run, datamodule=plan(data, 16, 12, chunk, evaluations))
    for left, right in zip(often.parameters(), once.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    "penalty", [{name: 0.05} for name in PENALTIES] + [{"smooth": 0.01, "l1_edges": 0.1}], ids=str
)
def test_training_descends_on_error_plus_weighted_penalties(
    make_data, make_model, make_trainer, penalty
):
    data = make_data()
    trained, by_hand, free = (make_model(data) for _ in range(3))

    def loss_of(network, x, y):
        return mse(network, x, y) + sum(
            weight * slow_penalty(name, network, x) for name, weight in penalty.items()
        )

    optimizer = partial(torch.optim.SGD, lr=0.05)
    plain_loop(by_hand, optimizer, None, plain_batches(data, steps=4), loss_of)
    plain_loop(free, optimizer, None, plain_batches(data, steps=4), mse)
    make_trainer(4).fit(module(trained, optimizer, **penalty), datamodule=plan(data, steps=4))
    moved = 0.0
    for name, weight in by_hand.network.named_parameters():
        found = trained.network.get_parameter(name)
        torch.testing.assert_close(found, weight, rtol=1e-4, atol=1e-6)
        moved += (found - free.network.get_parameter(name)).abs().sum().item()
    assert moved > 1e-3


def said(caplog) -> list[str]:
    """What the program itself logged."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("kan_exp")]


def test_without_a_compiler_training_goes_on(
    make_data, make_model, make_trainer, monkeypatch, caplog
):
    def broken(*_):
        raise RuntimeError("no g++ here\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    caplog.set_level(logging.INFO, logger="kan_exp")
    data = make_data()
    asked, plain = make_model(data), make_model(data)
    run = KANModule(asked, TASK, ADAM, None, {}, {}, compile_network=True)
    make_trainer(7).fit(run, datamodule=plan(data))
    make_trainer(7).fit(module(plain), datamodule=plan(data))
    for left, right in zip(asked.parameters(), plain.parameters(), strict=True):
        assert torch.equal(left, right)
    assert said(caplog) == ["compile: no compiler works here (no g++ here): training without."]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler")
def test_compiled_training_is_the_same(make_data, make_model, make_trainer, caplog):
    caplog.set_level(logging.INFO, logger="kan_exp")
    data = make_data()
    compiled, plain = make_model(data), make_model(data)
    sgd = partial(torch.optim.SGD, lr=0.05)
    run = KANModule(compiled, TASK, sgd, None, {"roughness": 0.01}, {}, compile_network=True)
    make_trainer(7).fit(run, datamodule=plan(data))
    make_trainer(7).fit(module(plain, sgd, roughness=0.01), datamodule=plan(data))
    for left, right in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)
    assert said(caplog) == []


def test_validation_is_in_units_of_the_training_loss(make_data, make_model, make_trainer):
    data = make_data(num_train=OBSERVED_POINTS + 50)
    model = make_model(data)
    trainer = make_trainer(6)
    run = module(model)
    trainer.fit(run, datamodule=plan(data, batch=16, steps=6, chunk=2, evaluations=3))
    assert [step for step, _ in run.val_history] == [2, 4, 6]
    error = model.predict(data.val.x).double().numpy() - data.val.y.double().numpy()
    spread = data.train.y.double().numpy().std()
    assert run.val_history[-1][1] == pytest.approx(np.mean((error / spread) ** 2), rel=1e-4)
    logged = trainer.callback_metrics
    assert float(logged[CHOSEN_BY]) == pytest.approx(math.sqrt(np.mean(error**2)), rel=1e-4)
    # Checkpoints hold the range that each edge was trained on.
    seen = model.standardize(data.train.x[:OBSERVED_POINTS])
    expected = torch.stack([seen.amin(0), seen.amax(0)], 1)
    assert torch.equal(model.network[0].domain, expected)


def test_lbfgs_takes_one_global_step_for_each_of_its_own(make_data, make_model, make_trainer):
    data = make_data()
    trained, by_hand = make_model(data), make_model(data)
    optimizer = partial(torch.optim.LBFGS, max_iter=5, line_search_fn="strong_wolfe")
    planned = {"batch": None, "steps": 5, "chunk": 2}
    losses = plain_loop(by_hand, optimizer, None, plain_batches(data, **planned), mse)
    trainer = make_trainer(5)
    run = module(trained, optimizer)
    trainer.fit(run, datamodule=plan(data, **planned))
    assert trainer.global_step == 5
    for left, right in zip(trained.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(left, right)
    assert [step for step, _ in run.train_history] == [2, 4, 5]
    # Line searches evaluate more often; a step's loss is the one that it began with.
    expected = [np.mean(losses[:2]), np.mean(losses[2:4]), losses[4]]
    np.testing.assert_allclose([loss for _, loss in run.train_history], expected, rtol=1e-5)


# What breaks


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "words"),
    [
        (partial(torch.optim.Adam, lr=-1.0), None, ["optimizer: ", "-1.0", "optimizer.lr"]),
        (
            partial(torch.optim.SGD, lr=0.1, nesterov=True),
            None,
            ["optimizer: ", "momentum", "optimizer.lr, optimizer.nesterov"],
        ),
        (partial(torch.optim.Adam, learning=1), None, ["optimizer: ", "'learning'"]),
        (ADAM, partial(StepLR, step=3), ["scheduler: ", "'step'"]),
        (
            ADAM,
            partial(OneCycleLR, max_lr=1, total_steps=-3),
            ["scheduler: ", "-3", "scheduler.total_steps"],
        ),
        (
            partial(LevenbergMarquardt, damping=0),
            None,
            ["optimizer: ", "damping above 0", "optimizer.damping"],
        ),
        (partial(LevenbergMarquardt, speed=1), None, ["optimizer: ", "'speed'"]),
    ],
)
def test_bad_options_name_their_group_in_one_line(optimizer, scheduler, words):
    with pytest.raises(KanExpError) as caught:
        check_optimizer(optimizer, scheduler)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(words[0])
    for word in words[1:]:
        assert word in message


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_divergence_is_told_with_the_step_at_which_it_came(
    make_data, make_model, make_trainer, chunk
):
    data = make_data()
    optimizer = partial(torch.optim.SGD, lr=2.0)
    planned = {"steps": 300, "chunk": chunk}
    losses = plain_loop(make_model(data), optimizer, None, plain_batches(data, **planned), mse)
    broken = 1 + next(step for step, loss in enumerate(losses) if not math.isfinite(loss))
    assert 3 < broken < 300
    with pytest.raises(DivergedError) as caught:
        make_trainer(300).fit(module(make_model(data), optimizer), datamodule=plan(data, **planned))
    message = str(caught.value)
    assert message.isprintable()
    assert f"at step {broken}:" in message
    assert "lower optimizer.lr (at that step 2)" in message


def test_a_validation_that_is_no_number_is_divergence(make_data, make_model, make_trainer):
    data = make_data()
    data.val.y[3] = math.inf
    with pytest.raises(DivergedError, match=r"validation loss became .* at step 4:"):
        make_trainer(4).fit(module(make_model(data)), datamodule=plan(data, steps=4))
