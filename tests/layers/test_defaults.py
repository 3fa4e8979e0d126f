"""Defaults of layers made in Python."""

from __future__ import annotations

import inspect

import mlp_kan
import pytest
import torch

from kan_exp import layers
from kan_exp.config import choice

RANGED = ["Chebyshev", "Fourier", "Interpo", "RBF", "Rational", "Spline", "Wavelet"]


@pytest.mark.parametrize("name", RANGED)
def test_without_options_edges_start_on_two_deviations(name):
    layer = getattr(layers, f"KAN{name}Layer")(2, 3)
    assert torch.equal(layer.domain, torch.tensor([[-2.0, 2.0]] * 2))
    given = getattr(layers, f"KAN{name}Layer")(2, 3, x_min=-1.0, x_max=4.0)
    assert torch.equal(given.domain, torch.tensor([[-1.0, 4.0]] * 2))


@pytest.mark.parametrize("kind", ["chebyshev", "fourier", "linear", "rational", "rbf", "spline"])
def test_defaults_are_those_of_the_configs(kind):
    component = choice("layer", kind)
    signature = inspect.signature(getattr(layers, component.target.rpartition(".")[2]))
    assert {name: signature.parameters[name].default for name in component.options} == (
        component.options
    )


@pytest.mark.parametrize("name", ["KANLayer", "KANInterpoLayer"])
def test_defaults_are_those_of_the_layers_they_replace(name):
    theirs = inspect.signature(getattr(mlp_kan, name)).parameters
    ours = inspect.signature(getattr(layers, name)).parameters
    assert {name: ours[name].default for name in theirs} == {
        name: option.default for name, option in theirs.items()
    }
