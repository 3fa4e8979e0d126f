"""A stack that would not fit is refused before it is made."""

from functools import partial

import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.layers import KANInterpoLayer, KANLayer
from kan_exp.training import memory
from kan_exp.training.replicas import ReplicaModule

CPU = torch.device("cpu")


@pytest.fixture
def make_module(make_data, make_model):
    def make(layer=KANInterpoLayer, count=1, **penalty) -> ReplicaModule:
        model = make_model(make_data(), layer=layer)
        adam = partial(torch.optim.Adam, lr=0.02)
        return ReplicaModule(model, [model.network] * count, 0, adam, None, penalty, {})

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
