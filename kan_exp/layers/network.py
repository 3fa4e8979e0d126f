"""Builds networks, plain `nn.Sequential` of layers, and finds the classes of layers by path."""

from __future__ import annotations

import importlib
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from kan_exp.errors import KanExpError
from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.nodes import PRODUCT, SUM
from kan_exp.layers.rules import check_count, check_names


class LayerSpec(NamedTuple):
    """A kind of layer, and its keyword arguments beyond the dimensions and the generator."""

    kind: type[EdgeLayer]
    options: Mapping[str, Any]


def make_network(
    specs: LayerSpec | Sequence[LayerSpec],
    dims: Sequence[int],
    generator: torch.Generator | None = None,
    multiply: Sequence[int] = (),
) -> nn.Sequential:
    """Builds one layer for each neighboring pair of `dims`.

    Args:
        specs: One specification for all layers, or one for each.
        dims: Widths from the input to the output, at least two.
        generator: Source of the random start, consumed layer by layer.
        multiply: How many outputs of each layer are products of their edges, the last ones; layers
            beyond the list have none.

    Raises:
        KanExpError: An option is unknown to its layer or out of its range, or there are more or
            fewer specifications than layers.
    """
    each = [specs] * (len(dims) - 1) if isinstance(specs, LayerSpec) else list(specs)
    check_count(len(each), dims)
    layers = []
    for depth, (spec, (dim_in, dim_out)) in enumerate(
        zip(each, itertools.pairwise(dims), strict=True)
    ):
        known = [name for name in inspect.signature(spec.kind).parameters if name not in _GIVEN]
        check_names(spec.kind.__name__, spec.options, known)
        placed = LayerSpec(spec.kind, spec.kind.options_at(depth, spec.options))
        try:
            layers.append(make_layer(placed, dim_in, dim_out, generator))
        except ValueError as error:
            raise KanExpError(f"layer: {error}") from error
    for layer, products in zip(layers, multiply, strict=False):
        layer.node_operation = [SUM] * (layer.dim_out - products) + [PRODUCT] * products
    return nn.Sequential(*layers)


def make_layer(
    spec: LayerSpec, dim_in: int, dim_out: int, generator: torch.Generator | None = None
) -> EdgeLayer:
    """Builds one layer, whose options are those of its place in a network."""
    make: Callable[..., EdgeLayer] = spec.kind
    return make(dim_in, dim_out, **spec.options, generator=generator)


_GIVEN = ("dim_in", "dim_out", "generator")
PUBLIC = "kan_exp.layers"


def layer_path(kind: type[EdgeLayer]) -> str:
    """The dotted path of a class for `find_layer`, whatever file of this package defines it."""
    module = PUBLIC if kind.__module__.startswith(f"{PUBLIC}.") else kind.__module__
    return f"{module}.{kind.__name__}"


def find_layer(path: str) -> type[EdgeLayer]:
    """Looks up a layer class by its dotted path without importing anything new.

    A path that is read from a file must not be able to run code: only this package and modules that
    the program has already imported are searched.

    Raises:
        KanExpError: There is no such class, or it is no `EdgeLayer`.
    """
    module_name, _, name = path.rpartition(".")
    if module_name == PUBLIC:
        package = importlib.import_module(module_name)
        kind = getattr(package, name, None)  # its modules are imported when first asked for
        if isinstance(kind, type) and issubclass(kind, EdgeLayer):
            module_name = kind.__module__
    module = sys.modules.get(module_name)
    if module is None:
        raise KanExpError(
            f"layer {path!r} is not part of kan_exp: import its module before loading the run "
            f"(on the command line: modules=[{module_name}])."
        )
    kind = vars(module).get(name)  # getattr could import: some modules load their parts lazily
    if not (isinstance(kind, type) and issubclass(kind, EdgeLayer)) or inspect.isabstract(kind):
        raise KanExpError(f"layer {path!r} is no kind of EdgeLayer.")
    return kind
