"""A row of weight k counts as k equal rows, whatever trains on it."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.data.base import ChunkLoader
from kan_exp.data.points import measure_scaling
from kan_exp.data.schema import Column, Schema
from kan_exp.layers import KANSplineLayer
from kan_exp.models.residuals import smearing
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks
from kan_exp.optimizers.smoothing import Smoothing, State
from kan_exp.tasks import Regression
from kan_exp.tasks.losses import CrossEntropy, Huber, Loss, Squared
from kan_exp.training.module import KANModule
from kan_exp.training.replicas import ReplicaModule
from kan_exp.training.score import linear_predictions, score_networks

COUNTS = torch.tensor([1, 0, 3, 2, 5, 1, 0, 2, 4, 1] * 4)
SGD = functools.partial(torch.optim.SGD, lr=0.1)
TASK = Regression(["rmse"], "rmse")


def normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def weighted() -> Split:
    return Split(normal(40, 2, seed=1), normal(40, 1, seed=2), COUNTS.double())


def repeated() -> Split:
    x, y, _ = weighted()
    return Split(x.repeat_interleave(COUNTS, 0), y.repeat_interleave(COUNTS, 0))


def of_mean_one(split: Split) -> Split:
    assert split.weight is not None
    return split._replace(weight=split.weight / split.weight.mean())


def network(out: int, seed: int = 3) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    return nn.Sequential(KANSplineLayer(2, out, 4, generator=generator)).double()


def test_scaling_and_the_linear_model():
    for found, expected in zip(
        measure_scaling(weighted()), measure_scaling(repeated()), strict=True
    ):
        torch.testing.assert_close(found, expected)
    test = Split(normal(5, 2, seed=4), normal(5, 1, seed=5))
    found, expected = (linear_predictions(train, test) for train in (weighted(), repeated()))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("penalty", [{}, {"roughness": 0.1}], ids=["layers", "penalized"])
def test_gradients(make_data, make_model, penalty):
    def gradients(split: Split) -> list[Tensor]:
        model = make_model(make_data()).double()
        model.network.zero_grad()
        module = KANModule(model, TASK, SGD, None, penalty, {})
        module.manual_backward = lambda total: total.backward()  # type: ignore[method-assign]
        _, loss, _ = module.evaluate(*split)
        return [loss, *(part.grad for part in model.network.parameters())]

    for found, expected in zip(
        gradients(of_mean_one(weighted())), gradients(repeated()), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("penalty", [{}, {"l1_edges": 0.1}], ids=["layers", "edges"])
def test_losses_of_replicas(make_data, make_model, penalty):
    data = make_data()
    networks = [make_model(data, seed=seed).network for seed in (1, 2)]
    module = ReplicaModule(make_model(data), TASK, networks, 1, SGD, None, penalty, {})
    split = of_mean_one(weighted()).map(Tensor.float).expand(2)
    loss, _ = module.objective(*split)
    for replica, one in enumerate(networks):
        model = make_model(data)
        model.network = one
        alone = KANModule(model, TASK, SGD, None, {}, {})
        expected, _ = alone.objective(*repeated().map(Tensor.float))
        torch.testing.assert_close(loss[replica], expected)


@pytest.mark.parametrize(
    ("loss", "memory"),
    [(Squared(), 1e9), (Huber(0.5), 1e9), (CrossEntropy(), 1e9), (Huber(0.5), 900.0)],
    ids=["squared", "huber", "cross_entropy", "conjugate gradients"],
)
def test_least_squares(loss: Loss, memory: float):
    def trained(split: Split) -> list[Tensor]:
        x, y, weight = split
        out = 3 if isinstance(loss, CrossEntropy) else 1
        y = (y[:, 0] > 0).long() + (y[:, 0] > 1).long() if out == 3 else y
        module = network(out)
        optimizer = LevenbergMarquardt(
            module, loss=loss, memory=memory, cg_tolerance=1e-10, cg_steps=200
        )
        losses = [optimizer.step(lambda: (x, y, weight)) for _ in range(2)]
        return [*losses, *module.parameters()]

    for found, expected in zip(trained(of_mean_one(weighted())), trained(repeated()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_smoothing():
    def searched(split: Split) -> list[Tensor]:
        basis = NaturalBasis.of(weighted().x, 4, 5)
        networks = SmoothNetworks(Shape(2, 1, 0, 6, 5, 5), split.x, basis)
        problem = Smoothing(networks, split.y, Squared(), split.weight)
        q = split.x.new_zeros(1, sum(networks.shape.sizes))
        state = State.of(q, problem.start_weights(1), 1e-8)
        state, criteria = problem.step(state, None, 5)
        return [*state, *criteria]

    kept = COUNTS > 0
    ones = weighted()._replace(weight=kept.double())
    for found, expected in zip(
        searched(ones), searched(ones.rows(kept.nonzero()[:, 0])), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_means_of_exponentials():
    schema = Schema((), (Column("y", scale="log"), Column("z")))
    found = smearing(normal(40, 2, seed=1), schema, COUNTS.double())
    repeated = normal(40, 2, seed=1).repeat_interleave(COUNTS, 0)
    assert found == pytest.approx(smearing(repeated, schema))
    # Only the logarithm's: the mean of the other output is that of its predictions.
    assert found == pytest.approx([repeated[:, 0].double().exp().mean().log().item(), 0.0])


def test_metrics_and_their_standard_errors():
    predicted, (_, truth, weight) = normal(40, 1, seed=7), weighted()
    again = predicted.repeat_interleave(COUNTS, 0)
    _, repeated_truth, _ = repeated()
    task = Regression(["rmse", "mae", "r2"], "rmse")
    found, expected = task.score(predicted, truth, weight=weight), task.score(again, repeated_truth)
    assert [found[name] for name in ("rmse", "mae")] == pytest.approx(
        [expected[name] for name in ("rmse", "mae")], rel=1e-12
    )
    mean, std = torch.zeros(1).double(), torch.ones(1).double()
    for name in ("validation_loss", "selection_error"):
        values = [
            getattr(task, name)(predicted, truth, mean, std, weight),
            getattr(task, name)(again, repeated_truth, mean, std),
        ]
        assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-12)
    (scores,) = score_networks(task, [predicted], truth, weight)
    (plain,) = score_networks(task, [predicted], truth)
    # The standard error of weighted points is larger than that of as many equal ones.
    assert plain["test_rmse_se"] < scores["test_rmse_se"] < 2 * plain["test_rmse_se"]
    ones = torch.full_like(weight, 3.0)
    (same,) = score_networks(task, [predicted], truth, ones)
    assert same == pytest.approx(plain, rel=1e-12)


def test_mini_batches_keep_weights_with_their_rows():
    x = torch.arange(10.0)[:, None]
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    loader = ChunkLoader(Split(x, x, x[:, 0] + 100), 3, 7, 2, 7, *generators)
    chunks = list(loader)
    assert chunks[0].weight is not None
    assert chunks[0].weight.shape == (2, 2, 3)
    assert all(torch.equal(chunk.x[..., 0] + 100, chunk.weight) for chunk in chunks)


def test_metrics_of_each_output():
    truth, predicted = normal(40, 2, seed=6), normal(40, 2, seed=7)
    task = Regression(["rmse", "mae"], "rmse")
    found = task.details(predicted, truth, ["a", "b"], COUNTS.double())
    repeat = [part.repeat_interleave(COUNTS, 0) for part in (predicted, truth)]
    expected = task.details(*repeat, ["a", "b"])
    for name in ("a", "b"):
        assert found[name] == pytest.approx(expected[name])
