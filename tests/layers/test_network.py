"""Stacking layers into a network, and finding a layer's class without running anyone's code."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

import kan_exp.layers
from kan_exp.errors import KanExpError
from kan_exp.layers import (
    BasisLayer,
    EdgeLayer,
    GridLayer,
    KANInterpoLayer,
    KANLayer,
    KANLinearLayer,
    KANRBFLayer,
    KANSplineLayer,
    LayerSpec,
    find_layer,
    layer_path,
    make_network,
)

KINDS = [
    LayerSpec(KANInterpoLayer, {"num_x": 9}),
    LayerSpec(KANLayer, {"fcn_hidden": 3}),
    LayerSpec(KANSplineLayer, {"num_intervals": 4, "degree": 2}),
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def refusal(call) -> str:
    """The message of a refused call, which is one line."""
    with pytest.raises(KanExpError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 300
    return message


# Building


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind.__name__)
def test_one_layer_for_each_pair_of_widths(spec):
    network = make_network(spec, [3, 5, 2, 1], seeded(0))
    assert type(network) is nn.Sequential
    assert [type(part) for part in network] == [spec.kind] * 3
    assert [(part.dim_in, part.dim_out) for part in network] == [(3, 5), (5, 2), (2, 1)]
    x = torch.randn(7, 3, generator=seeded(1))
    by_hand = network[2](network[1](network[0](x)))
    assert by_hand.shape == (7, 1)
    assert torch.equal(network(x), by_hand)


def test_options_reach_every_layer():
    options = {"num_x": 9, "x_min": -3, "x_max": 1.5, "outside": "hold"}
    for part in make_network(LayerSpec(KANInterpoLayer, options), [2, 3, 1], seeded(0)):
        assert (part.num_x, part.outside) == (9, "hold")
        assert part.grid.tolist() == [[-3, 1.5]] * part.dim_in
    options = {"fcn_hidden": 6, "fcn_n_sin": 1, "activation": "relu"}
    for part in make_network(LayerSpec(KANLayer, options), [2, 3, 1], seeded(0)):
        assert (part.fcn_hidden, part.fcn_n_sin, part.activation) == (6, 1, "relu")


def test_each_layer_can_be_of_a_kind_of_its_own():
    specs = [*KINDS, LayerSpec(KANRBFLayer, {}), LayerSpec(KANInterpoLayer, {"num_x": 33})]
    network = make_network(specs, [2, 4, 3, 5, 2, 1], seeded(0))
    assert [type(part) for part in network] == [spec.kind for spec in specs]
    assert [(part.dim_in, part.dim_out) for part in network] == [
        (2, 4),
        (4, 3),
        (3, 5),
        (5, 2),
        (2, 1),
    ]
    assert (network[0].num_x, network[4].num_x, network[1].fcn_hidden) == (9, 33, 3)
    assert (network[2].num_intervals, network[2].degree) == (4, 2)
    assert network(torch.randn(7, 2, generator=seeded(1))).shape == (7, 1)
    # One generator goes through them all, in order.
    draw = seeded(0)
    for part, spec in zip(network, specs, strict=True):
        alone = spec.kind(part.dim_in, part.dim_out, **spec.options, generator=draw)
        for weight, expected in zip(part.parameters(), alone.parameters(), strict=True):
            assert torch.equal(weight, expected)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_many_or_too_few_kinds_are_refused_in_one_line(count):
    message = refusal(lambda: make_network([KINDS[0]] * count, [2, 5, 1]))
    assert message.startswith(f"layers names {count} kind")
    assert "dims=[2,5,1] has 2 layers" in message


def test_only_the_first_linear_layer_takes_its_inputs_as_they_are():
    spec = LayerSpec(KANLinearLayer, {"activation": "tanh"})
    assert [part.activation for part in make_network(spec, [2, 3, 3, 1], seeded(0))] == [
        "none",
        "tanh",
        "tanh",
    ]
    mixed = make_network([KINDS[0], spec], [2, 3, 1], seeded(0))
    assert mixed[1].activation == "tanh"
    assert spec.options == {"activation": "tanh"}  # which is the caller's


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind.__name__)
def test_generator_decides_the_start(spec):
    global_state = torch.get_rng_state()
    x = torch.randn(7, 4, generator=seeded(1))
    first, again, other = (make_network(spec, [4, 4, 4], seeded(s)) for s in (3, 3, 5))
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))
    assert not torch.equal(first[0](x), first[1](x))
    assert torch.equal(first[0](x), spec.kind(4, 4, **spec.options, generator=seeded(3))(x))
    assert torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize(
    ("layer", "options", "said"),
    [
        (KANInterpoLayer, {"num_xs": 9}, "layer.num_xs: KANInterpoLayer has no such option."),
        (KANInterpoLayer, {"num_xs": 9}, "Did you mean 'num_x'?"),
        (KANLayer, {"fcn_hiden": 9}, "Did you mean 'fcn_hidden'?"),
        (KANLayer, {"activaton": "silu"}, "Did you mean 'activation'?"),
        (KANLayer, {"zzz": 9}, "It has: fcn_hidden, fcn_n_sin, activation, table_points."),
        (KANLayer, {"dim_in": 9}, "layer.dim_in: KANLayer has no such option."),
        (KANLayer, {"generator": None}, "layer.generator: KANLayer has no such option."),
        (KANInterpoLayer, {"num_x": 1}, "num_x"),
        (KANInterpoLayer, {"num_x": "64"}, "got '64'"),
        (KANInterpoLayer, {"num_x": None}, "got None"),
        (KANInterpoLayer, {"x_min": "low"}, "x_min to be a finite number, got 'low'"),
        (KANInterpoLayer, {"x_max": None}, "x_max to be a finite number, got None"),
        (KANInterpoLayer, {"x_max": float("inf")}, "x_max to be a finite number, got inf"),
        (KANInterpoLayer, {"x_min": 5.0}, "x_min < x_max, got 5.0 and 2.0"),
        (KANInterpoLayer, {"outside": "wrap"}, "linear, hold, zero, got 'wrap'"),
        (KANLayer, {"fcn_hidden": 0}, "got 0"),
        (KANLayer, {"activation": "tanh"}, "silu, gelu, relu, softplus, got 'tanh'"),
    ],
)
def test_bad_options_are_refused_in_one_line(layer, options, said):
    message = refusal(lambda: make_network(LayerSpec(layer, options), [2, 5, 1]))
    assert message.startswith("layer")
    assert said in message
    # It is refused at any place.
    assert refusal(lambda: make_network([KINDS[0], LayerSpec(layer, options)], [2, 5, 1]))


@pytest.mark.parametrize("dims", [[0, 1], [2, -5, 1], [2, 5, 0], [2, 2.5, 1], [2, "5", 1]])
def test_bad_widths_are_refused_in_one_line(dims):
    message = refusal(lambda: make_network(LayerSpec(KANLayer, {}), dims))
    assert "whole number of at least 1" in message


# Finding


ABSTRACT = (BasisLayer, EdgeLayer, GridLayer)


def test_layers_are_found_by_their_path():
    assert find_layer("kan_exp.layers.KANLayer") is KANLayer
    assert find_layer("kan_exp.layers.KANInterpoLayer") is KANInterpoLayer
    assert find_layer(f"{KANLayer.__module__}.KANLayer") is KANLayer


def test_every_exported_layer_is_found():
    exported = [getattr(kan_exp.layers, name) for name in kan_exp.layers.__all__]
    kinds = [item for item in exported if isinstance(item, type) and issubclass(item, EdgeLayer)]
    assert len(kinds) >= 10
    for kind in kinds:
        path = f"kan_exp.layers.{kind.__name__}"
        if kind in ABSTRACT:
            assert repr(path) in refusal(lambda path=path: find_layer(path))
            continue
        assert find_layer(path) is kind
        assert layer_path(kind) == path


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.exec",
        "subprocess.Popen",
        "nonexistent.module.Layer",
        "turtledemo.clock.Layer",  # it exists, and nothing has imported it
        "kan_exp.layers.make_network",
        "kan_exp.layers.Nonsense",
        "kan_exp.layers",
        "torch.nn.Linear",
        "KANLayer",
        "kan_exp.layers.KANLayer.",
        ".KANLayer",
        ".",
        "",
    ],
)
def test_what_is_no_layer_is_refused_and_nothing_is_imported(path):
    before = set(sys.modules)
    assert repr(path) in refusal(lambda: find_layer(path))
    new = set(sys.modules) - before  # an unknown name is looked for in all files of the package
    assert all(name.startswith("kan_exp.layers.") for name in new)


LAYER_FILE = """
from pathlib import Path
from kan_exp.layers import KANLayer
Path(__file__).with_name("it_ran").touch()
class TheirLayer(KANLayer): ...
"""


def test_a_users_layer_is_found_once_they_have_imported_it(tmp_path, monkeypatch):
    (tmp_path / "their_layers_xyz.py").write_text(LAYER_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal(lambda: find_layer("their_layers_xyz.TheirLayer"))
    assert "modules=[their_layers_xyz]" in message
    assert not (tmp_path / "it_ran").exists()

    module = importlib.import_module("their_layers_xyz")
    assert find_layer("their_layers_xyz.TheirLayer") is module.TheirLayer
    assert layer_path(module.TheirLayer) == "their_layers_xyz.TheirLayer"
    del sys.modules["their_layers_xyz"]


def test_a_module_that_loads_its_parts_lazily_is_not_asked_to(monkeypatch):
    asked = []
    lazy = ModuleType("lazy_xyz")
    lazy.__getattr__ = lambda name: asked.append(name) or KANLayer
    monkeypatch.setitem(sys.modules, "lazy_xyz", lazy)
    refusal(lambda: find_layer("lazy_xyz.Layer"))
    assert asked == []


def test_the_last_units_of_each_layer_multiply():
    network = make_network(LayerSpec(KANSplineLayer, {}), [2, 3, 2, 1], multiply=[2, 0, 1])
    words = [layer.node_operation for layer in network]
    assert words == [("sum", "product", "product"), ("sum", "sum"), ("product",)]
    assert network[1].sums_all_edges
