"""From coarse to fine: many starts on a coarse grid, few on a fine one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kan_exp.errors import KanExpError
from kan_exp.layers import EdgeLayer, GridLayer, LayerSpec, make_network

# A hidden grid moves when values leave it, or when it is wider than this many times their range.
SLACK = 1.3
MARGIN = 0.05
COARSEST = 4  # cells; starts on fewer differ too little


class Stage(NamedTuple):
    """Part of a training.

    Cells per edge (`None` leaves them), networks that go on, steps, and how many of the training
    points they see (`None`: all).
    """

    num_intervals: int | None
    keep: int
    steps: int
    points: int | None = None


def make_stages(
    specs: Sequence[LayerSpec],
    grids: Sequence[int] | None,
    keep: Sequence[int],
    steps: Sequence[int],
    points: Sequence[int] | None = None,
) -> list[Stage]:
    """Puts the lists of `refine` together.

    Args:
        specs: The layers, whose own number of cells is the last grid if `grids` is not given.
        grids: Cells per edge at each stage; otherwise the layers' own number, divided by its prime
            factors as long as `COARSEST` or more are left.
        keep: Networks of each stage; the last number holds for all stages that follow.
        steps: Steps of each stage, likewise.
        points: Training points of the first stages; those that follow see all of them.

    Raises:
        KanExpError: A number is below 1, a grid is no multiple of the one before, more networks go
            on than there were, or layers differ in their cells and `grids` is not given.
    """
    lists = {"grids": grids, "keep": keep, "steps": steps, "points": points}
    for name, numbers in lists.items():
        if numbers is not None and (not numbers or min(numbers) < 1):
            raise KanExpError(f"refine.{name} needs numbers of at least 1, got {list(numbers)}.")
    if any(fine % coarse for coarse, fine in itertools.pairwise(grids or ())):
        raise KanExpError(
            f"refine.grids must each be a multiple of the one before, got {list(grids or ())}."
        )
    if sorted(keep, reverse=True) != list(keep):
        raise KanExpError(f"refine.keep must not rise, got {list(keep)}.")
    sizes = _sizes(specs) if grids is None else list(grids)
    count = len(sizes) or max(len(keep), len(steps))

    def each(numbers: Sequence[int]) -> list[int]:
        return [*numbers, *[numbers[-1]] * count][:count]

    cells: list[int | None] = [*sizes] if sizes else [None] * count
    seen = [*(points or ()), *[None] * count][:count]
    return [Stage(*stage) for stage in zip(cells, each(keep), each(steps), seen, strict=True)]


def _sizes(specs: Sequence[LayerSpec]) -> list[int]:
    """Grids from coarse to the layers' own; none where no layer has a grid."""
    every = [kind.cells(options) for kind, options in specs]
    sizes = sorted({size for size in every if size is not None})
    if len(sizes) > 1:
        raise KanExpError(
            f"refine: the layers have {' and '.join(map(str, sizes))} cells: choose "
            f"refine.grids=[...]."
        )
    factor = 2
    while sizes and factor <= sizes[0] // COARSEST:
        if sizes[0] % factor == 0:
            sizes.insert(0, sizes[0] // factor)
        else:
            factor += 1
    return sizes


def make_starts(
    specs: Sequence[LayerSpec],
    dims: Sequence[int],
    stage: Stage,
    seed: int,
    wiggle: float,
    x: Tensor,
    bounds: Tensor,
) -> list[nn.Sequential]:
    """Makes the networks of the first stage in float64, one after the other from one seed.

    Args:
        specs: A specification for each layer, whose sizes the stage overrules.
        dims: Widths from the input to the output.
        stage: How many networks of which size.
        seed: Of all of them; another seed gives others.
        wiggle: Deviation of what is added to the coefficients of grids, so that starts differ in
            more than slopes.
        x: Standardised training points, whose range decides hidden grids.
        bounds: Range of each input, standardised, `(in, 2)`.
    """
    sized = _sized(specs, stage)
    generator = torch.Generator().manual_seed(seed)
    networks = []
    for _ in range(stage.keep):
        network = make_network(sized, dims, generator).double()
        _bend(network, wiggle, generator)
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


def multiplications(
    specs: Sequence[LayerSpec], dims: Sequence[int], stages: Sequence[Stage], points: int
) -> float:
    """About how many the normal matrices of all steps take, which is most of a training's work."""
    total = 0.0
    for stage in stages:
        network = make_network(_sized(specs, stage), dims, torch.Generator())
        size = sum(part.numel() for part in network.parameters())
        seen = points if stage.points is None else min(points, stage.points)
        total += stage.keep * stage.steps * float(seen * size * min(seen, size))
    return total


@torch.no_grad()
def _bend(network: nn.Sequential, wiggle: float, generator: torch.Generator) -> None:
    for layer in network:
        if isinstance(layer, GridLayer):
            noise = torch.empty_like(layer.values).normal_(generator=generator)
            layer.values.add_(noise, alpha=wiggle / math.sqrt(layer.dim_in))


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
    forms = [weight / edges * layer.curvature_matrix(order) for order, weight in weights.items()]
    eye = torch.eye(layer.dim_out).to(layer.values)
    return [torch.kron(form, eye) for form in torch.stack(forms).sum(0)]
