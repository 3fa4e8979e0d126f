"""The rules of layers' options, which are known before torch: they are those of the classes."""

import inspect

import pytest
import torch

import kan_exp.layers
from kan_exp.layers import EdgeLayer, LayerSpec, linear, make_network, mlp
from kan_exp.layers.rules import KINDS, OneOf

GIVEN = {"dim_in", "dim_out", "generator"}
OPTIONS = {
    "KANLayer": {"fcn_hidden": 5, "fcn_n_sin": 2, "activation": "silu", "table_points": 0},
    "KANInterpoLayer": {"num_x": 9, "x_min": -1.0, "x_max": 2.0, "outside": "hold"},
    "KANSplineLayer": {
        **{"num_intervals": 6, "degree": 2},
        **{"x_min": -1.0, "x_max": 2.0, "base": "silu"},
    },
    "KANChebyshevLayer": {"degree": 4, "x_min": -1.0, "x_max": 2.0},
    "KANFourierLayer": {"num_frequencies": 3, "x_min": -1.0, "x_max": 2.0},
    "KANRationalLayer": {"degree": 3, "x_min": -1.0, "x_max": 2.0},
    "KANRBFLayer": {"num_centers": 7, "x_min": -1.0, "x_max": 2.0, "base": "linear"},
    "KANLinearLayer": {"activation": "tanh"},
}


def test_every_kind_has_rules_for_exactly_its_options():
    exported = [getattr(kan_exp.layers, name) for name in kan_exp.layers.__all__]
    kinds = [one for one in exported if isinstance(one, type) and issubclass(one, EdgeLayer)]
    concrete = {kind.__name__: kind for kind in kinds if not inspect.isabstract(kind)}
    del concrete["KANNamedLayer"]  # that of a formula, which no configuration chooses
    assert concrete.keys() == KINDS.keys() == OPTIONS.keys()
    for name, kind in concrete.items():
        assert KINDS[name].options.keys() == set(inspect.signature(kind).parameters) - GIVEN


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dims", [(1, 1), (3, 2)])
def test_the_count_of_parameters_is_the_layers_own(name, dims):
    options = OPTIONS[name]
    layer = getattr(kan_exp.layers, name)(*dims, **options, generator=torch.Generator())
    assert KINDS[name].count(options, *dims) == sum(part.numel() for part in layer.parameters())
    assert KINDS[name].count_intervals(options) == getattr(layer, "num_intervals", None)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.grid])
def test_the_options_of_another_grid_have_its_cells(name):
    options = KINDS[name].with_intervals(OPTIONS[name], 12)
    kind = getattr(kan_exp.layers, name)
    (layer,) = make_network(LayerSpec(kind, options), [2, 3])
    assert layer.num_intervals == 12
    assert kind.with_intervals(OPTIONS[name], 12) == options


def test_the_words_for_activations_are_those_that_the_layers_know():
    for name, module in (("KANLayer", mlp), ("KANLinearLayer", linear)):
        rule = KINDS[name].options["activation"]
        assert isinstance(rule, OneOf)
        assert set(rule.known) == set(module.ACTIVATIONS)


def test_each_exported_name_is_what_its_module_defines():
    """No name of a function is also that of a module, which would take its place."""
    for name in kan_exp.layers.__all__:
        assert not inspect.ismodule(getattr(kan_exp.layers, name)), name
        assert name in dir(kan_exp.layers)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = kan_exp.layers.Nonsense


@pytest.mark.parametrize("value", [2**31, 10**20, 1e30, True, 0, -1])
def test_counts_that_torch_cannot_take_are_refused(value):
    for name, option in (("KANLayer", "fcn_hidden"), ("KANFourierLayer", "num_frequencies")):
        with pytest.raises(ValueError, match=f"{name} needs {option} to be a whole number of "):
            KINDS[name].check(name, **{option: value})
