"""From coarse to fine: many starts on a coarse grid, few on a fine one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kan_exp.layers import EdgeLayer, GridLayer, LayerSpec, make_network
from kan_exp.training.stages import Stage

# A hidden grid moves when values leave it, or when it is wider than this many times their range.
SLACK = 1.3
MARGIN = 0.05


def make_starts(
    specs: Sequence[LayerSpec],
    dims: Sequence[int],
    stage: Stage,
    seed: int,
    init_noise_std: float,
    x: Tensor,
    bounds: Tensor,
) -> list[nn.Sequential]:
    """Makes the networks of the first stage in float64, one after the other from one seed.

    Args:
        specs: A specification for each layer, whose sizes the stage overrules.
        dims: Widths from the input to the output.
        stage: How many networks of which size.
        seed: Of all of them; another seed gives others.
        init_noise_std: Standard deviation of the noise that is added to the coefficients of grids,
            so that starts differ in more than slopes.
        x: Standardised training points, whose range decides hidden grids.
        bounds: Range of each input, standardised, `(in, 2)`.
    """
    sized = _sized(specs, stage)
    generator = torch.Generator().manual_seed(seed)
    networks = []
    for _ in range(stage.num_candidates):
        network = make_network(sized, dims, generator).double()
        _bend(network, init_noise_std, generator)
        first = network[0]
        if isinstance(first, GridLayer):
            first.move_grid(bounds)
        follow(network, x, slack=1)
        networks.append(network)
    return networks


def _sized(specs: Sequence[LayerSpec], stage: Stage) -> list[LayerSpec]:
    """The layers with the cells of a stage."""
    if stage.num_intervals is None:
        return list(specs)
    return [
        LayerSpec(kind, kind.with_intervals(options, stage.num_intervals))
        for kind, options in specs
    ]


def count_parameters(specs: Sequence[LayerSpec], dims: Sequence[int], stage: Stage) -> int:
    """Trainable numbers of one network of a stage."""
    network = make_network(_sized(specs, stage), dims, torch.Generator())
    return sum(part.numel() for part in network.parameters())


@torch.no_grad()
def _bend(network: nn.Sequential, init_noise_std: float, generator: torch.Generator) -> None:
    for layer in network:
        if isinstance(layer, GridLayer):
            noise = torch.empty_like(layer.values).normal_(generator=generator)
            layer.values.add_(noise, alpha=init_noise_std / math.sqrt(layer.dim_in))


@torch.no_grad()
def follow(network: nn.Sequential, x: Tensor, slack: float = SLACK) -> bool:
    """Moves the grids of hidden layers to where their values lie; says whether any moved."""
    moved = False
    hidden = x
    for depth, layer in enumerate(network):
        if depth > 0 and isinstance(layer, GridLayer):
            low, high = hidden.amin(0), hidden.amax(0)
            width = (high - low).clamp(min=1e-6)
            grid = layer.grid
            outside = (low < grid[:, 0]) | (high > grid[:, 1])
            loose = grid[:, 1] - grid[:, 0] > slack * (1 + 2 * MARGIN) * width
            astray = outside | loose
            if astray.any():
                wanted = torch.stack([low - MARGIN * width, high + MARGIN * width], dim=1)
                layer.move_grid(torch.where(astray[:, None], wanted, grid))
                moved = True
        hidden = layer(hidden)
    return moved


def penalty_matrix(network: nn.Module, weights: dict[int, float]) -> Tensor:
    """The penalties on derivatives as a quadratic form of all parameters.

    Args:
        network: Layers one after the other.
        weights: By the order of the derivative, how much its mean square counts; it is the mean
            over a layer's edges and the sum over layers.

    Returns:
        `(parameters, parameters)`.
    """
    blocks = []
    for layer in network.modules():
        if not isinstance(layer, EdgeLayer):
            continue
        for name, part in layer.named_parameters():
            if isinstance(layer, GridLayer) and name == "values":
                blocks += _grid_blocks(layer, weights)
            else:
                blocks.append(part.new_zeros(part.numel(), part.numel()))
    return torch.block_diag(*blocks)


def _grid_blocks(layer: GridLayer, weights: dict[int, float]) -> list[Tensor]:
    """One block for each input: the same form for every output."""
    edges = layer.dim_in * layer.dim_out
    forms = [weight / edges * layer.penalty_gram_matrix(order) for order, weight in weights.items()]
    eye = torch.eye(layer.dim_out).to(layer.values)
    return [torch.kron(form, eye) for form in torch.stack(forms).sum(0)]
