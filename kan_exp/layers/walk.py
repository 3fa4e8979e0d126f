"""The walk through the layers of a network: what each layer reads, computes and returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import vjp

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.stacking import over_replicas

ROOM = 0.1  # share of the range of a hidden unit, by which limits exceed what was observed


@dataclass
class LayerPass:
    """One layer of a network and the samples that pass through it.

    Of a stacked network, all tensors have a leading axis of replicas.

    Attributes:
        index: Number of the layer, from 0.
        layer: The layer.
        inputs: What reaches it, `(n, in)`.
        from_edges: Whether `outputs` are reduced from `edges`, or come from the layer's forward
            pass, which may be faster and round differently.
        stacked: Whether the layer is part of a stack.
    """

    index: int
    layer: EdgeLayer
    inputs: Tensor
    from_edges: bool = False
    stacked: bool = False

    @property
    def node_operation(self) -> tuple[str, ...]:
        """The operation of each output, "sum" or "product"."""
        return self.layer.node_operation

    @property
    def mask(self) -> Tensor:
        """Which edges exist, `(in, out)`."""
        if self.layer.mask is not None:
            return self.layer.mask
        shape = *self.inputs.shape[:-2], self.layer.dim_in, self.layer.dim_out
        return self.inputs.new_ones(shape, dtype=torch.bool)

    @cached_property
    def edges(self) -> Tensor:
        """Values of the edges, `(n, in, out)`, computed when first asked for."""
        return self._call(lambda layer, x: layer.edges(x), self.inputs)

    @cached_property
    def outputs(self) -> Tensor:
        """Outputs of the layer, `(n, out)`, computed when first asked for."""
        if self.from_edges:
            return self._call(lambda layer, edges: layer.reduce(edges), self.edges)
        return self.layer.forward_stacked(self.inputs) if self.stacked else self.layer(self.inputs)

    def linearize(self) -> Callable[[Tensor], Tensor]:
        """Computes the outputs; returns the function from gradients by them to those by inputs."""
        self.outputs, pull = vjp(self.layer, self.inputs)[:2]
        return lambda grad: cast(Tensor, pull(grad)[0])

    def _call(self, function: Callable[[EdgeLayer, Tensor], Tensor], x: Tensor) -> Tensor:
        if self.stacked:
            return cast(Tensor, over_replicas(self.layer, function, x))
        return function(self.layer, x)


def layers_of(network: Iterable[nn.Module]) -> list[EdgeLayer]:
    """The layers of a network, in order."""
    return [layer for layer in network if isinstance(layer, EdgeLayer)]


def widths_of(network: Iterable[nn.Module]) -> list[int]:
    """Widths from the inputs to the outputs, `dims` of `make_network`."""
    layers = layers_of(network)
    return [layers[0].dim_in, *(layer.dim_out for layer in layers)]


def walk(
    network: nn.Sequential, x: Tensor, *, from_edges: bool = False, stacked: bool = False
) -> Iterator[LayerPass]:
    """Passes samples through a network, one layer after the other.

    A layer may be changed between its visit and the next step; its outputs are computed after that,
    and those of the last layer only if they are asked for.

    Args:
        network: Layers, and any other modules between them.
        x: Inputs of the network, `(n, in)`; of a stack `(replicas, n, in)`.
        from_edges: Whether outputs are reduced from the edges, where these are needed anyway.
        stacked: Whether `stack_networks` has made the network.
    """
    last = None
    index = 0
    for module in network:
        if last is not None:
            x, last = last.outputs, None
        if isinstance(module, EdgeLayer):
            last = LayerPass(index, module, x, from_edges, stacked)
            yield last
            index += 1
        else:
            x = over_replicas(module, lambda module, x: module(x), x) if stacked else module(x)


@torch.no_grad()
def observe_domains(
    network: nn.Sequential,
    batches: Iterable[Tensor],
    stacked: bool = False,
    bounds: Tensor | None = None,
) -> None:
    """Sets every layer's `domain` to the range of the values that reach it.

    With `bounds`, also the limits beyond which edges are straight lines: those of the first layer
    to the bounds, those of the others to somewhat more than the domain.

    Args:
        network: Layers, and any other modules between them.
        batches: Inputs of the network, a part at a time.
        stacked: Whether `stack_networks` has made the network.
        bounds: Range of each input over all training points, `(in, 2)`.
    """
    if bounds is not None:
        for layer in layers_of(network):
            layer.set_limits(None)
    ranges: dict[EdgeLayer, list[Tensor]] = {layer: [] for layer in layers_of(network)}
    for x in batches:
        for visit in walk(network, x, stacked=stacked):
            ranges[visit.layer] += [visit.inputs.amin(-2), visit.inputs.amax(-2)]
    for layer, ends in ranges.items():
        seen = torch.stack(ends, -2)
        low, high = seen.amin(-2), seen.amax(-2)
        layer.domain.copy_(torch.stack([low, high], -1))
        if bounds is not None:
            room = ROOM * (high - low)
            layer.set_limits(torch.stack([low - room, high + room], -1))
    if bounds is not None:
        first = layers_of(network)[0]
        first.set_limits(bounds.expand_as(first.domain))
