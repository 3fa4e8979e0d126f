"""Which edges of a network exist: connectivity, and networks without the units that have none."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.network import LayerSpec, make_layer
from kan_exp.layers.walk import layers_of

Masks = list[Tensor]  # of each layer which edges exist, `(in, out)`


def masks_of(network: nn.Sequential) -> Masks:
    """Which edges of each layer exist."""
    return [layer.exists.cpu() for layer in layers_of(network)]


def count_edges(masks: Masks) -> int:
    """How many edges exist."""
    return sum(int(mask.sum()) for mask in masks)


def connected(masks: Masks) -> Masks | None:
    """The edges that lie on a path from an input to an output.

    Returns:
        None if an output has no such path.
    """
    masks = [mask.clone() for mask in masks]
    for before, mask in itertools.pairwise(masks):
        mask &= before.any(0)[:, None]
    for mask, after in zip(reversed(masks[:-1]), reversed(masks[1:]), strict=True):
        mask &= after.any(1)[None, :]
    return masks if all(mask.any() for mask in masks[-1].T) else None


def without(
    masks: Masks, removed: Iterable[tuple[int, int, int]], seen: set[bytes]
) -> Masks | None:
    """The edges that stay connected without some of them.

    Args:
        masks: The edges before.
        removed: Layer, input and output of each edge that is removed.
        seen: Keys of the results so far, to which this one is added.

    Returns:
        None if an output has no path any more, no edge is removed, or the result was seen before.
    """
    made = [mask.clone() for mask in masks]
    for layer, i, j in removed:
        made[layer][i, j] = False
    clean = connected(made)
    if clean is None or count_edges(clean) == count_edges(masks):
        return None
    key = b"".join(mask.numpy().tobytes() for mask in clean)
    if key in seen:
        return None
    seen.add(key)
    return clean


def thinned(network: nn.Sequential, specs: Sequence[LayerSpec], masks: Masks) -> nn.Sequential:
    """A copy with these edges alone, without the hidden units that have none.

    Args:
        network: Its layers, one after the other.
        specs: The kind and the present options of each layer.
        masks: Connected.
    """
    layers = layers_of(network)
    alive = [torch.arange(layers[0].dim_in)]
    alive += [mask.any(1).nonzero().flatten() for mask in masks[1:]]
    alive.append(torch.arange(layers[-1].dim_out))
    made = []
    for depth, (layer, spec, mask, inputs, outputs) in enumerate(
        zip(layers, specs, masks, alive, alive[1:], strict=False)
    ):
        layer = copy.deepcopy(layer)
        layer.set_mask(mask)
        if (len(inputs), len(outputs)) != (layer.dim_in, layer.dim_out):
            placed = LayerSpec(spec.kind, spec.kind.options_at(depth, spec.options))
            layer = select(layer, placed, inputs, outputs)
        made.append(layer)
    return nn.Sequential(*made)


def select(layer: EdgeLayer, spec: LayerSpec, inputs: Tensor, outputs: Tensor) -> EdgeLayer:
    """A layer with some of the inputs and outputs of another one.

    Args:
        layer: The other one.
        spec: Its kind and its present options.
        inputs: Places of the inputs, `(n,)`.
        outputs: Places of the outputs.
    """
    state = layer.state_dict()
    axes = [_sizes(spec, state, *size) for size in ((2, 2), (3, 2), (2, 3))]
    chosen = {}
    for name, value in state.items():
        for axis, sizes in enumerate(zip(*(each[name] for each in axes), strict=True)):
            first, more_inputs, more_outputs = sizes
            if more_inputs != first:
                value = value.index_select(axis, inputs.to(value.device))
            elif more_outputs != first:
                value = value.index_select(axis, outputs.to(value.device))
        chosen[name] = value
    made = make_layer(spec, len(inputs), len(outputs), torch.Generator()).to(layer.domain)
    made.load_state_dict(chosen)
    made.keep_share(len(inputs) / layer.dim_in)
    return made


def _sizes(
    spec: LayerSpec, state: dict[str, Tensor], dim_in: int, dim_out: int
) -> dict[str, torch.Size]:
    """The shapes of a layer's state at other dimensions."""
    probe = make_layer(spec, dim_in, dim_out, torch.Generator())
    if "mask" in state:
        probe.set_mask(torch.ones(dim_in, dim_out).bool())
    if "straight" in state:
        probe.straighten(torch.ones(dim_in, dim_out).bool())
    if "limits" in state:
        probe.set_limits(torch.zeros(dim_in, 2))
    if "products" in state:
        probe.node_operation = "product"
    return {name: value.shape for name, value in probe.state_dict().items()}
