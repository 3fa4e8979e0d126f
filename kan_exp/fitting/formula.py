"""Formulas as networks: `kan_exp.formula_network`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError
from kan_exp.fitting.model import SAMPLE, FittedModel
from kan_exp.layers import KANNamedLayer, LayerSpec, layer_path, make_network
from kan_exp.layers.nodes import PRODUCT, SUM
from kan_exp.layers.walk import layers_of
from kan_exp.symbolic import network
from kan_exp.symbolic.expression import Array, Expression
from kan_exp.symbolic.functions import expression_of
from kan_exp.targets.formula import Formula

DRAWN = 10_000  # points at which the ranges of hidden units are observed
RANGE = (-1.0, 1.0)  # of an input, where none is given


def formula_network(
    formula: str | Expression,
    ranges: Mapping[str, Sequence[float]] | None = None,
    target: str = "f",
) -> FittedModel:
    """Makes a network of a formula: `formula_network("exp(sin(pi*x) + y**2)", {"x": (0, 1), ...})`.

    Each edge is a known function of one variable, nodes are sums and products, and missing edges
    are masked; see `kan_exp.layers.KANNamedLayer`. It computes in float64. The free constants of an
    `Expression` are parameters; the numbers in a text are exact.

    Args:
        formula: As text, which is not executed, or as a tree.
        ranges: Smallest and largest value of each input by its name, where plots and exports look
            at the network; those of the names in a text are -1 to 1 if not given.
        target: Name of the output.

    Raises:
        KanExpError: The text is no formula, or a range has no two finite numbers in order.
    """
    if isinstance(formula, str):
        text = Formula(formula, None if ranges is None else list(ranges))
        ranges = ranges or dict.fromkeys(text.inputs, RANGE)
        formula = expression_of(text)
    names = list(ranges or {})
    pairs = [tuple(map(float, pair)) for pair in (ranges or {}).values()]
    for name, pair in zip(names, pairs, strict=True):
        if len(pair) != 2 or not all(map(math.isfinite, pair)) or pair[0] > pair[1]:
            raise KanExpError(f"ranges: {name} needs its smallest and largest value, got {pair}.")
    layers = network.layers_of(formula, len(names))
    specs = [LayerSpec(KANNamedLayer, {"functions": layer.functions}) for layer in layers]
    dims = [len(names), *(layer.width for layer in layers)]
    made = make_network(specs, dims).double()
    for layer, plan in zip(layers_of(made), layers, strict=True):
        assert isinstance(layer, KANNamedLayer)
        layer.node_operation = [PRODUCT if product else SUM for product in plan.products]
        layer.set_numbers(torch.tensor(plan.numbers, dtype=torch.float64))
    return _model(made, formula, names, np.array(pairs), target)


def _model(
    made: nn.Sequential, formula: Expression, names: list[str], ranges: Array, target: str
) -> FittedModel:
    schema = Schema.of_numbers(names, [target])
    none, one = (torch.full((len(names),), value, dtype=torch.float64) for value in (0, 1))
    scaling = Scaling(none, one, none[:1].clone(), one[:1].clone())
    model = FittedModel(made, scaling, names, target, output_names=[target], schema=schema)
    model.description = {
        "layers": [
            {"kind": layer_path(type(layer)), "options": {"functions": _plain(layer)}}
            for layer in layers_of(made)
        ],
        "dims": [len(names), *(layer.dim_out for layer in layers_of(made))],
        "schema": schema.describe(),
        "activation": "identity",
        "outputs": [target],
        "bounds": ranges.tolist(),
    }
    low, high = ranges.T
    drawn = np.random.default_rng(0).uniform(low, high, (DRAWN, len(names)))
    known = np.isfinite(formula(drawn))
    points = torch.from_numpy(drawn[known] if known.any() else drawn)
    model.observe(points)
    model.sample, model.residuals = points[:SAMPLE], None
    return model.eval()


def _plain(layer: nn.Module) -> list[list[int | str]]:
    assert isinstance(layer, KANNamedLayer)
    return [list(row) for row in layer.functions]
