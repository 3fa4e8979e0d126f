"""The networks that a least-squares training starts from, and grids that follow their values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kan_exp.layers import GridLayer, LayerSpec, make_network
from kan_exp.layers.walk import layers_of, walk
from kan_exp.training.stages import COARSEST, Stage

# A moved grid exceeds the range of its values by `MARGIN` of it on both sides, so that a step later
# they still lie inside. It moves when values leave it, or when it is `SLACK` times too wide: each
# move costs an error of fitting, so that small changes are not followed.
MARGIN = 0.05
SLACK = 1.3
MIN_WIDTH = 1e-6  # of a grid whose values are all the same


def make_starts(
    specs: Sequence[LayerSpec],
    dims: Sequence[int],
    stage: Stage,
    seed: int,
    init_noise_std: float,
    x: Tensor,
    bounds: Tensor,
    multiply: Sequence[int] = (),
) -> list[nn.Sequential]:
    """Makes the networks of the first stage in float64, one after the other from one seed.

    Args:
        specs: A specification for each layer, with other intervals than the stage's.
        dims: Widths from the input to the output.
        stage: How many networks of which size.
        seed: Of all networks.
        init_noise_std: Standard deviation of the noise that is added to the coefficients of grids,
            so that starts differ in more than slopes.
        x: Standardized training points, whose range decides hidden grids.
        bounds: Range of each input, standardized, `(in, 2)`.
        multiply: See `make_network`.
    """
    sized = _sized(specs, stage)
    generator = torch.Generator().manual_seed(seed)
    networks = []
    for _ in range(stage.num_candidates):
        network = make_network(sized, dims, generator, multiply).double()
        with torch.no_grad():
            for layer in grid_layers(network):
                noise = torch.empty_like(layer.values).normal_(generator=generator)
                layer.values.add_(noise, alpha=init_noise_std / math.sqrt(layer.dim_in))
        first = network[0]
        if isinstance(first, GridLayer):
            first.move_grid(bounds)
        networks.append(network)
    follow(networks, x, slack=1)
    return networks


def _sized(specs: Sequence[LayerSpec], stage: Stage) -> list[LayerSpec]:
    """The layers with the intervals of a stage."""
    if (count := stage.num_intervals) is None:
        return list(specs)
    return [LayerSpec(kind, kind.with_intervals(options, count)) for kind, options in specs]


def count_parameters(specs: Sequence[LayerSpec], dims: Sequence[int], stage: Stage) -> int:
    """Trainable numbers of one network of a stage."""
    network = make_network(_sized(specs, stage), dims, torch.Generator())
    return sum(part.numel() for part in network.parameters())


def grid_layers(network: nn.Sequential) -> list[GridLayer]:
    """The layers of a network that have a grid."""
    return [layer for layer in layers_of(network) if isinstance(layer, GridLayer)]


@torch.no_grad()
def follow(networks: Sequence[nn.Sequential], x: Tensor, slack: float = SLACK) -> bool:
    """Moves the grids of hidden layers to the ranges of their values; says whether any moved.

    The networks have one shape and are passed through in step: on a device, the host waits for what
    moves once for each hidden layer. `slack` is how many times too wide a grid may be.
    """
    moved = False
    for visits in zip(*(walk(network, x) for network in networks), strict=True):
        if visits[0].index == 0 or not isinstance(visits[0].layer, GridLayer):
            continue
        layers = [cast(GridLayer, visit.layer) for visit in visits]
        ranges, moves = [], []
        for layer, visit in zip(layers, visits, strict=True):
            low, high = visit.inputs.amin(0), visit.inputs.amax(0)
            width = (high - low).clamp(min=MIN_WIDTH)
            first, last = layer.grid.unbind(1)
            too_wide = last - first > slack * (1 + 2 * MARGIN) * width
            ranges.append((low, high, width))
            moves.append((low < first) | (high > last) | too_wide)
        chosen = torch.stack(moves).any(1).tolist()
        found = zip(layers, ranges, moves, strict=True)
        for layer, (low, high, width), which in itertools.compress(found, chosen):
            ends = torch.stack([low - MARGIN * width, high + MARGIN * width], dim=1)
            layer.move_grid(torch.where(which[:, None], ends, layer.grid))
        moved = moved or any(chosen)
    return moved


def decayed_penalty(network: nn.Sequential, weights: dict[int, float], decay: float) -> Tensor:
    """The `penalty_matrix` of weights that are given on grids of `COARSEST` intervals.

    They fall with the number of intervals to the power `decay`.
    """
    share = (COARSEST / grid_layers(network)[0].num_intervals) ** decay
    return penalty_matrix(network, {order: share * weight for order, weight in weights.items()})


def penalty_matrix(network: nn.Sequential, weights: dict[int, float]) -> Tensor:
    """The penalties on derivatives as a form of all parameters, `(parameters, parameters)`.

    `weights` are those of the mean squared derivative by its order; it is the mean over a layer's
    edges and the sum over layers.
    """
    return form_of_parameters(
        network,
        [_grid_blocks(layer, weights) for layer in grid_layers(network)],
        [_line_slopes(layer, weights) for layer in grid_layers(network)],
    )


def form_of_parameters(
    network: nn.Sequential, curves: Sequence[Sequence[Tensor]], slopes: Sequence[Tensor]
) -> Tensor:
    """A quadratic form of all parameters, `(parameters, parameters)`.

    For each layer with a grid, `curves` has the form of each input's coefficients, and `slopes` the
    weights of the squared slopes of straight edges, `(in, out)`.
    """
    forms = dict(zip(grid_layers(network), zip(curves, slopes, strict=True), strict=True))
    blocks: list[Tensor] = []
    for layer in layers_of(network):
        for name, part in layer.named_parameters():
            if isinstance(layer, GridLayer) and name == "values":
                blocks += forms[layer][0]
            elif isinstance(layer, GridLayer) and name == "lines":
                weights = forms[layer][1]  # offsets have none
                blocks.append(
                    torch.diag(torch.stack([weights, torch.zeros_like(weights)]).flatten())
                )
            else:
                blocks.append(part.new_zeros(part.numel(), part.numel()))
    return torch.block_diag(*blocks)


def _grid_blocks(layer: GridLayer, weights: dict[int, float]) -> list[Tensor]:
    """One block for each input: the same form for every output to which it has an edge."""
    edges = layer.dim_in * layer.dim_out
    forms = [weight / edges * layer.penalty_gram_matrix(order) for order, weight in weights.items()]
    outputs = torch.diag_embed(bent_edges(layer))[:, None, :, None]
    blocks = torch.stack(forms).sum(0)[:, :, None, :, None] * outputs  # Kronecker products
    size = layer.values[0].numel()
    return list(blocks.reshape(-1, size, size))


def bent_edges(layer: GridLayer) -> Tensor:
    """1 for the edges that exist and are not straight, else 0, `(dim_in, dim_out)`."""
    bent = layer.values.new_ones(layer.dim_in, layer.dim_out)
    bent = bent if layer.mask is None else bent * layer.mask
    return bent if layer.straight is None else bent * ~layer.straight


def straight_edges(layer: GridLayer) -> Tensor:
    """1 for the edges that exist and are straight, else 0, `(dim_in, dim_out)`."""
    return layer.exists.to(layer.values) - bent_edges(layer)


def _line_slopes(layer: GridLayer, weights: dict[int, float]) -> Tensor:
    straight = straight_edges(layer)
    return straight * weights.get(1, 0.0) / straight.numel()
