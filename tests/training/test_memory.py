"""A stack that would not fit is refused before it is made."""

import weakref
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kan_exp.errors import KanExpError
from kan_exp.layers import (
    KANChebyshevLayer,
    KANInterpoLayer,
    KANLayer,
    KANLinearLayer,
    KANRBFLayer,
    LayerSpec,
    make_network,
)
from kan_exp.models.model import KANModel
from kan_exp.training import memory
from kan_exp.training.replicas import ReplicaModule
from tests.regression import TASK

CPU = torch.device("cpu")


@pytest.fixture
def make_module(make_data, make_model):
    def make(layer=KANInterpoLayer, count=1, **penalty) -> ReplicaModule:
        model = make_model(make_data(), layer=layer)
        adam = partial(torch.optim.Adam, lr=0.02)
        return ReplicaModule(model, TASK, [model.network] * count, 0, adam, None, penalty, {})

    return make


def test_the_number_that_fits_is_told_and_fits(make_module, monkeypatch):
    module = make_module()
    sizes = memory.Sizes(steps=50, batch=32, points=1000)
    each = memory.replica_bytes(module, sizes)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 7.5 * each)
    memory.check_memory(module, 7, sizes, CPU)
    with pytest.raises(KanExpError, match=r"^replicas=8 needs about .*: set replicas=7\.$"):
        memory.check_memory(module, 8, sizes, CPU)


@pytest.mark.parametrize("layer", [KANInterpoLayer, KANLayer])
def test_what_a_replica_needs_grows_with_its_points(make_module, layer):
    module = make_module(layer, roughness=1e-3)
    few, many = (memory.replica_bytes(module, memory.Sizes(1, n, 9999)) for n in (320, 3200))
    numbers = sum(each.numbers_per_sample for each in module.model.edge_layers)
    assert many - few > 4 * 2880 * numbers  # float32 numbers that at least one pass holds


def test_free_memory_is_no_more_than_there_is():
    import os

    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.free_bytes(CPU) <= whole


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that exist at a time, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self._see(tensor.untyped_storage())
        return found

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.peak = max(self.peak, sum(self.live.values()))
            weakref.finalize(storage, self.live.pop, key)


# Each is led by another part of the estimate. Sizes: steps of a chunk, batch, points.
NEEDS = {
    "weights": (KANInterpoLayer, {"num_x": 4000}, memory.Sizes(2, 8, 64), {}),
    "weights, penalised": (
        KANInterpoLayer,
        {"num_x": 4000},
        memory.Sizes(2, 8, 64),
        {"roughness": 1e-3},
    ),
    "pass": (KANLayer, {"fcn_hidden": 8}, memory.Sizes(2, 512, 1024), {}),
    "pass, penalised": (KANRBFLayer, {}, memory.Sizes(2, 512, 1024), {"l1_edges": 1e-3}),
    "all points": (KANLayer, {"fcn_hidden": 8}, memory.Sizes(2, 512, 512), {}),
    "observation": (KANChebyshevLayer, {"degree": 100}, memory.Sizes(2, 4, 1024), {}),
    "points": (KANLinearLayer, {}, memory.Sizes(30, 256, 2048), {}),
}


@pytest.mark.parametrize("need", NEEDS.values(), ids=NEEDS)
def test_what_a_replica_needs_is_what_a_training_takes(make_data, make_trainer, need):
    """At least that, so that a stack fits, and not so much more that it is refused for nothing."""
    kind, options, sizes, penalty = need
    data = make_data(sizes.points)

    def make(count: int) -> ReplicaModule:
        seeds = [torch.Generator().manual_seed(seed) for seed in range(count)]
        networks = [make_network(LayerSpec(kind, options), (2, 3, 1), seed) for seed in seeds]
        model = KANModel(networks[0], data.scaling, data.schema)
        adam = partial(torch.optim.Adam, lr=1e-3)
        data.plan(sizes.batch, 2 * sizes.steps, sizes.steps, 1, *seeds)
        return ReplicaModule(model, TASK, networks, 0, adam, None, penalty, {})

    def taken(count: int) -> int:
        with PeakMemory() as memory:
            make_trainer(2 * sizes.steps).fit(make(count), datamodule=data)
        return memory.peak

    each = (taken(6) - taken(2)) / 4
    assert each <= memory.replica_bytes(make(1), sizes) <= 4 * each
