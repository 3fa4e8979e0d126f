"""Formulas as networks: `kan_exp.formula_network`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kan_exp.data.columns import free_name
from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError, listing
from kan_exp.fitting.model import SAMPLE, FittedModel
from kan_exp.layers import KANNamedLayer, LayerSpec, layer_path, make_network
from kan_exp.layers.nodes import PRODUCT, SUM
from kan_exp.layers.walk import layers_of
from kan_exp.symbolic import network
from kan_exp.symbolic.expression import Array, Expression
from kan_exp.symbolic.functions import expression_of
from kan_exp.symbolic.notation import identifiers
from kan_exp.targets.formula import Formula, is_word

NAMES = re.compile(r"`([^`]+)`|((?<![\w.])[^\W\d]\w*)")  # in backticks, and others
DRAWN = 10_000  # points at which the ranges of hidden units are observed
RANGE = (-1.0, 1.0)  # of an input, where none is given


def formula_network(
    formula: str | Expression,
    ranges: Mapping[str, Sequence[float]] | None = None,
    target: str = "f",
) -> FittedModel:
    """Makes a network that is a formula.

    Each edge is a known function of one variable, nodes are sums and products, and missing edges
    are masked; see `kan_exp.layers.KANNamedLayer`. It computes in float64. The free constants of an
    `Expression` are parameters; the numbers in a text are exact.

    Args:
        formula: As text, which is not executed, or as a tree. Names that are no words of ASCII
            letters may be in backticks, as `Explanation.formula` has them.
        ranges: Smallest and largest value of each input by its name, where plots and exports look
            at the network; those of the names in a text are -1 to 1 if not given.
        target: Name of the output.

    Raises:
        KanExpError: The text is no formula, or a range has no two finite numbers in order.

    Example:
        >>> import kan_exp
        >>> network = kan_exp.formula_network("exp(sin(pi*x) + y**2)", {"x": (0, 1), "y": (-1, 1)})
        >>> network.predict([[0.0, 0.0], [1.0, 0.0]]).flatten().round(decimals=6).tolist()
        [1.0, 1.0]
    """
    if not isinstance(ranges, Mapping | None):
        raise KanExpError(f"ranges must be a mapping, such as {{'x': (-1, 1)}}, got {ranges!r}.")
    if not isinstance(formula, Expression):
        formula, inputs = _read(formula, ranges)
        ranges = ranges or dict.fromkeys(inputs, RANGE)
    target, names = str(target), [*map(str, ranges or ())]
    pairs = [_pair(name, pair) for name, pair in (ranges or {}).items()]
    if len(names) <= max(formula.inputs, default=0):
        got = listing(names) if names else "none"
        raise KanExpError(f"ranges must have every input of the formula, got {got}.")
    layers = network.layers_of(formula, len(names))
    specs = [LayerSpec(KANNamedLayer, {"functions": layer.functions}) for layer in layers]
    dims = [len(names), *(layer.width for layer in layers)]
    made = make_network(specs, dims).double()
    for layer, plan in zip(layers_of(made), layers, strict=True):
        assert isinstance(layer, KANNamedLayer)
        layer.node_operation = [PRODUCT if product else SUM for product in plan.products]
        layer.set_numbers(torch.tensor(plan.numbers, dtype=torch.float64))
    schema = Schema.of_numbers(names, [target])
    ends = [torch.full((width,), value).double() for width in (len(names), 1) for value in (0, 1)]
    model = FittedModel(made, Scaling(*ends), schema, output_names=[target]).eval()
    model.description = {
        "layers": [
            {"kind": layer_path(spec.kind), "options": dict(spec.options)} for spec in specs
        ],
        "dims": dims,
        "schema": schema.describe(),
        "activation": "identity",
        "outputs": [target],
        "bounds": [list(pair) for pair in pairs],
    }
    points = _points(formula, np.array(pairs))
    model.observe(points)
    model.sample, model.residuals = points[:SAMPLE], None
    return model


def _read(text: Any, given: Mapping[str, Any] | None) -> tuple[Expression, list[str]]:
    """A formula as a tree, and the names of its inputs, which may be any text in backticks."""
    names = [*map(str, given or ())]
    found = NAMES.findall(text) if isinstance(text, str) else []
    taken = {*names, *(bare for _, bare in found)}
    words: dict[str, str] = {}  # for names that a formula cannot have as they are
    odd = (quoted or bare for quoted, bare in found if quoted or not bare.isascii())
    for name in (*names, *odd):
        if not is_word(name) and name not in words:
            (word,) = identifiers([name])
            words[name] = free_name(word if is_word(word) else f"{word}_", taken)
            taken.add(words[name])

    def spelled(match: re.Match[str]) -> str:
        quoted, bare = match.groups()
        name = bare or quoted
        return name if bare and bare.isascii() else words.get(name, name)

    if isinstance(text, str):
        text = NAMES.sub(spelled, text)
    formula = Formula(text, [words.get(name, name) for name in names] if given else None)
    known = {word: name for name, word in words.items()}
    return expression_of(formula), [known.get(word, word) for word in formula.inputs]


def _points(formula: Expression, ranges: Array) -> Tensor:
    """Points in the ranges at which the formula is defined, `(n, in)`; any if there are none."""
    low, high = ranges.T
    drawn = np.random.default_rng(0).uniform(low, high, (DRAWN, len(low)))
    known = np.isfinite(formula(drawn))
    return torch.from_numpy(drawn[known] if known.any() else drawn)


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = map(float, pair)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low <= high and math.isfinite(high - low)):
        raise KanExpError(f"ranges: {name} needs its smallest and largest value, got {pair!r}.")
    return low, high
