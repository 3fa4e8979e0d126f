"""Shares of a mini-batch add up to the whole of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from kan_exp.data import Split
from kan_exp.layers import KANInterpoLayer, KANLayer, LayerSpec, make_network
from kan_exp.models.model import KANModel
from kan_exp.training.module import KANModule
from kan_exp.training.penalties import ON_EDGES, ON_LAYERS
from kan_exp.training.shared import SharedModule
from tests.regression import TASK

WEIGHTS = {name: 0.1 * (1 + at) for at, name in enumerate([*ON_LAYERS, *ON_EDGES])}
SIZES = (4, 3, 4)  # of a batch that cannot be divided evenly


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


class Others:
    """Stands for the trainer of one rank; what the other ranks give is added to what it gives."""

    def __init__(self) -> None:
        self.strategy = self
        self.should_stop = False
        self.given: list[torch.Tensor] = []

    def reduce(self, given: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        self.given.append(given.clone())
        return torch.stack(self.given).sum(0)


def backward(module: KANModule) -> KANModule:
    module.manual_backward = lambda total: total.backward()  # type: ignore[method-assign]
    return module


def evaluated(module: KANModule, x, y):
    module.zero_grad()
    total, loss, penalties = module.evaluate(x, y)
    gradients = [weight.grad.clone() for weight in module.parameters() if weight.requires_grad]
    return [total, loss, *(penalties[name] for name in WEIGHTS), *gradients]


@pytest.fixture
def batch():
    x, y = torch.randn(2, sum(SIZES), 2, generator=torch.Generator().manual_seed(5))
    return x, y[:, :1]


def test_the_sum_over_ranks_is_what_one_process_finds(make_data, make_model, batch, monkeypatch):
    data = make_data()
    alone = backward(KANModule(make_model(data), TASK, sgd, None, WEIGHTS, {}))
    shared = backward(
        SharedModule(make_model(data), TASK, sgd, None, WEIGHTS, {}, count=len(SIZES))
    )
    others = Others()
    monkeypatch.setattr(SharedModule, "trainer", others)
    shared._batch = sum(SIZES)
    assert any(isinstance(layer, KANInterpoLayer) for layer in shared.model.network)
    for x, y in zip(*(part.split(SIZES) for part in batch), strict=True):
        found = evaluated(shared, x, y)
    for one, several in zip(evaluated(alone, *batch), found, strict=True):
        torch.testing.assert_close(several, one)


@pytest.mark.parametrize("count", [2, 3, 11])
def test_every_row_is_one_ranks(make_data, make_model, batch, monkeypatch, count):
    shares = []
    monkeypatch.setattr(KANModule, "training_step", lambda _, chunk, index: shares.append(chunk))
    module = SharedModule(make_model(make_data()), TASK, sgd, None, {}, {}, count=count)
    chunk = Split(*(torch.stack([part, part + 1]) for part in batch))  # two steps
    for rank in range(count):
        monkeypatch.setattr(SharedModule, "global_rank", rank)
        module.training_step(chunk, 0)
    assert min(share.x.shape[1] for share in shares) > 0
    assert torch.equal(torch.cat([share.x for share in shares], dim=1), chunk.x)
    assert torch.equal(torch.cat([share.y for share in shares], dim=1), chunk.y)


def test_ranks_stop_at_the_step_after_rank_0_was_asked(make_data, make_model, batch, monkeypatch):
    asked, told = (
        backward(SharedModule(make_model(make_data()), TASK, sgd, None, {}, {}, count=2))
        for _ in range(2)
    )
    others = Others()
    monkeypatch.setattr(SharedModule, "trainer", others)
    asked.ask_to_stop()
    assert not others.should_stop  # it would be alone with that
    asked._batch = told._batch = 2 * len(batch[0])
    asked.evaluate(*batch)
    others.should_stop = False
    told.evaluate(*batch)
    assert others.should_stop


# Layers whose samples depend on each other


class Meeting:
    """Stands for the strategy of processes that are threads: reductions wait for all of them."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.given: dict[int, torch.Tensor] = {}

    def of(self, rank: int) -> SimpleNamespace:
        def reduce(given: torch.Tensor, reduce_op: str) -> torch.Tensor:
            self.given[rank] = given.clone()
            self.barrier.wait()
            every = torch.stack([self.given[other] for other in sorted(self.given)])
            self.barrier.wait()
            return {"sum": every.sum(0), "max": every.amax(0)}[reduce_op]

        return SimpleNamespace(strategy=SimpleNamespace(reduce=reduce), should_stop=False)


def looked_up(data, kind=KANModule, **options):
    """A module whose second layer, too, is trained through a table."""
    spec = LayerSpec(KANLayer, {"fcn_hidden": 4, "table_points": 6})
    network = make_network(spec, (2, 3, 1), torch.Generator().manual_seed(1)).double()
    model = KANModel(network, data.scaling, data.schema)
    return backward(kind(model, TASK, sgd, None, {}, {}, **options))


@pytest.mark.parametrize("rows", [7, 11, 60], ids="{} rows".format)
def test_a_table_is_that_of_the_whole_batch(make_data, monkeypatch, rows):
    """Also where a share alone would be too small for one."""
    data, count = make_data(), 3
    generator = torch.Generator().manual_seed(5)
    batch = Split(*torch.randn(2, rows, 2, generator=generator, dtype=torch.float64))
    batch = Split(batch.x, batch.y[:, :1])

    def evaluate(module, chunk, _):
        total, loss, _ = module.evaluate(chunk.x[0], chunk.y[0])
        module.result = [total, loss, *(weight.grad.clone() for weight in module.parameters())]

    monkeypatch.setattr(KANModule, "training_step", evaluate)
    chunk = batch.map(lambda part: part[None])
    alone = looked_up(data)
    alone.training_step(chunk, 0)
    meeting, mine = Meeting(count), threading.local()
    monkeypatch.setattr(SharedModule, "trainer", property(lambda _: mine.trainer))
    monkeypatch.setattr(SharedModule, "global_rank", property(lambda _: mine.rank))
    modules = [looked_up(data, SharedModule, count=count) for _ in range(count)]

    def work(rank: int) -> None:
        mine.rank, mine.trainer = rank, meeting.of(rank)
        modules[rank].training_step(chunk, 0)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))
    for module in modules:
        for one, several in zip(alone.result, module.result, strict=True):
            torch.testing.assert_close(several, one)
        assert all(layer.whole_batch is None for layer in module.model.edge_layers)
