"""Batches that take every point in turn, and scales that do not lose digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kan_exp.data import SampledData, Split
from kan_exp.data.base import ChunkLoader, WholeSplit
from kan_exp.data.points import Scaling, measure_scaling
from kan_exp.errors import KanExpError
from kan_exp.targets import Target


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(points: int) -> Split:
    """Points x = 0, 1, 2, ... and y = 100 + x."""
    x = torch.arange(float(points))[:, None]
    return Split(x, 100 + x)


def loader(points=10, batch=3, total=11, chunk=4, interval=6, seed=5) -> ChunkLoader:
    return ChunkLoader(numbered(points), batch, total, chunk, interval, seeded(seed))


def passes(feed: ChunkLoader, most: int = 100) -> list[list[Split]]:
    """Passes until one is empty."""
    found = []
    for _ in range(most):
        chunks = list(feed)
        if not chunks:
            return found
        found.append(chunks)
    raise AssertionError("the loader never ends")


def batches(feed: ChunkLoader) -> list[list[float]]:
    """Which points each step takes, over all passes."""
    return [step[:, 0].tolist() for chunks in passes(feed) for c in chunks for step in c.x]


def test_chunks_have_the_promised_shapes_and_spend_exactly_all_steps():
    found = passes(loader(total=11, chunk=4, interval=6))
    # 11 steps in passes of 6: 4 + 2, then 4 + 1.
    assert [[tuple(chunk.x.shape) for chunk in chunks] for chunks in found] == [
        [(4, 3, 1), (2, 3, 1)],
        [(4, 3, 1), (1, 3, 1)],
    ]
    assert all(chunk.y.shape == chunk.x.shape for chunks in found for chunk in chunks)


def test_inputs_and_outputs_stay_together():
    for chunks in passes(loader()):
        for chunk in chunks:
            assert torch.equal(chunk.y, chunk.x + 100)


@pytest.mark.parametrize(("points", "batch"), [(10, 3), (10, 5), (7, 4), (7, 1), (5, 4)])
@pytest.mark.parametrize(("chunk", "interval"), [(1, 1), (4, 6), (50, 7)])
def test_every_point_is_drawn_before_any_is_drawn_again(points, batch, chunk, interval):
    steps = 23
    found = [
        point for step in batches(loader(points, batch, steps, chunk, interval)) for point in step
    ]
    assert len(found) == steps * batch
    for start in range(0, len(found), points):
        round_ = found[start : start + points]
        assert len(set(round_)) == len(round_)
    rounds = {tuple(found[start : start + points]) for start in range(0, len(found), points)}
    assert len(rounds) > 2  # a new order each time


@pytest.mark.parametrize("batch", [None, 10, 11, 1000])
def test_a_batch_as_large_as_the_data_takes_all_points_at_every_step(batch):
    found = batches(loader(10, batch, total=5, chunk=2, interval=3))
    assert [sorted(step) for step in found] == [list(range(10))] * 5


def test_the_seed_alone_decides_the_order():
    assert batches(loader(seed=1)) == batches(loader(seed=1))
    assert batches(loader(seed=1)) != batches(loader(seed=2))
    state = torch.get_rng_state()
    batches(loader())
    assert torch.equal(torch.get_rng_state(), state)


def test_chunks_and_passes_do_not_change_the_mini_batches():
    expected = batches(loader(total=20, chunk=1, interval=20))
    assert batches(loader(total=20, chunk=7, interval=20)) == expected
    assert batches(loader(total=20, chunk=50, interval=6)) == expected


@pytest.mark.parametrize("batch", [3, None])
def test_each_replica_sees_what_it_would_see_alone(batch):
    seeds = [seeded(seed) for seed in (1, 2, 3)]
    stacked = passes(ChunkLoader(numbered(10), batch, 11, 4, 6, *seeds))
    for replica in range(3):
        alone = passes(loader(batch=batch, seed=replica + 1))
        for chunks, expected in zip(stacked, alone, strict=True):
            for chunk, own in zip(chunks, expected, strict=True):
                assert torch.equal(chunk.x[:, replica], own.x)
                assert torch.equal(chunk.y[:, replica], own.y)


def sampled(num_train: int = 30) -> SampledData:
    return SampledData(Target("x + 3*y"), num_train, 5, 5, seed=0)


@pytest.mark.parametrize("batch", [0, -1])
def test_plan_refuses_a_batch_of_nothing(batch):
    with pytest.raises(KanExpError, match=rf"^batch_size must be at least 1 .*got {batch}\.$"):
        sampled().plan(batch, 10, 5, 2, seeded())


def test_plan_feeds_standardized_points_in_as_many_passes_as_evaluations():
    data = sampled()
    data.plan(None, 12, 3, 4, seeded())
    found = passes(data.train_dataloader())
    assert [sum(len(chunk.x) for chunk in chunks) for chunks in found] == [3, 3, 3, 3]
    x, y = (part.double().numpy() for part in data.train[:2])
    fed = found[0][0]
    np.testing.assert_allclose(fed.x[1], x * np.sqrt(3), rtol=1e-6)  # [-1, 1] has deviation 1/√3
    np.testing.assert_allclose(fed.y[1], (y - y.mean()) / y.std(), atol=1e-6)


def test_more_evaluations_than_steps_are_as_many_as_steps():
    data = sampled()
    data.plan(4, 3, 50, 10, seeded())
    assert [len(chunks) for chunks in passes(data.train_dataloader())] == [1, 1, 1]


def test_validation_is_one_batch_in_the_users_units():
    data = sampled()
    loader = data.val_dataloader()
    assert isinstance(loader, WholeSplit)
    assert len(loader) == 1
    (only,) = loader
    assert torch.equal(only.x, data.val.x)
    assert torch.equal(only.y, data.val.y)


def test_timestamps_keep_their_digits_when_standardized():
    # Seconds since 1970: neighbouring float32 numbers are 128 apart there.
    stamps = 1.7e9 + np.arange(50.0)[:, None] ** 1.5
    values = 5e8 + np.cos(np.arange(50.0))[:, None]
    split = Split(torch.from_numpy(stamps), torch.from_numpy(values))
    found = measure_scaling(split).standardize(split)
    assert found.x.dtype == found.y.dtype == torch.float32
    np.testing.assert_allclose(found.x, (stamps - stamps.mean()) / stamps.std(), atol=1e-5)
    np.testing.assert_allclose(found.y, (values - values.mean()) / values.std(), atol=1e-5)


def test_scaling_measures_each_column():
    x = np.random.default_rng(0).normal([3, -50], [0.1, 20], (40, 2))
    y = x[:, :1] ** 2
    found = measure_scaling(Split(torch.from_numpy(x), torch.from_numpy(y)))
    for got, expected in zip(found, (x.mean(0), x.std(0), y.mean(0), y.std(0)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_constant_output_keeps_its_size():
    split = Split(torch.tensor([[1.0], [2.0]]), torch.tensor([[7.0], [7.0]]))
    scaling = measure_scaling(split)
    assert scaling.y_std.tolist() == [1.0]
    assert isinstance(scaling, Scaling)
    assert scaling.standardize(split).y.tolist() == [[0.0], [0.0]]
