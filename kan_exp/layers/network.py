"""Stacks layers into the plain `nn.Sequential` that the rest of the program works on."""

from __future__ import annotations

import importlib
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.layers.base import EdgeLayer


def make_network(
    layer: Callable[..., EdgeLayer],
    options: Mapping[str, Any],
    dims: Sequence[int],
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Builds one layer for each neighbouring pair of `dims`.

    Args:
        layer: The kind of layer.
        options: Its keyword arguments beyond the dimensions and the generator.
        dims: Widths from the input to the output, at least two.
        generator: Source of the random start, consumed layer by layer.

    Raises:
        KanExpError: An option is unknown to the layer or out of its range.
    """
    known = [name for name in inspect.signature(layer).parameters if name not in _GIVEN]
    for name in options:
        if name not in known:
            hint = suggest(name, known) or f" It has: {listing(known)}."
            raise KanExpError(f"layer.{name}: {layer.__name__} has no such option.{hint}")
    try:
        return nn.Sequential(
            *(layer(i, o, **options, generator=generator) for i, o in itertools.pairwise(dims))
        )
    except ValueError as error:
        raise KanExpError(f"layer: {error}") from error


_GIVEN = ("dim_in", "dim_out", "generator")


def find_layer(path: str) -> type[EdgeLayer]:
    """Looks up a layer class by its dotted path without importing anything new.

    A path that comes out of a file must not be able to run code, so that only this package and
    modules that the program has imported already are searched.

    Raises:
        KanExpError: There is no such class, or it is no `EdgeLayer`.
    """
    module_name, _, name = path.rpartition(".")
    if module_name == "kan_exp.layers":
        importlib.import_module(module_name)
    module = sys.modules.get(module_name)
    if module is None:
        raise KanExpError(
            f"layer {path!r} is not part of kan_exp: import its module before loading the run "
            f"(on the command line: modules=[{module_name}])."
        )
    found = vars(module).get(name)  # getattr could import: some modules load their parts lazily
    if not (isinstance(found, type) and issubclass(found, EdgeLayer)) or inspect.isabstract(found):
        raise KanExpError(f"layer {path!r} is no kind of EdgeLayer.")
    return found
