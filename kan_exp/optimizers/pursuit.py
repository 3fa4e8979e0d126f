"""Directions in which hidden units start: those along which residuals bend most."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_networks import SmoothNetworks, split
from kan_exp.optimizers.smoothing import Smoothing, State
from kan_exp.tasks.losses import Loss

MAX_PAIRS, MIXED = 400, 100  # directions of two inputs, and of many
OFFERED = 0.3  # share of the directions that each start but the first may choose from
MARGIN = 0.05  # by which the grid of a hidden unit exceeds its values, as a share of their range


def residuals(outputs: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """What a Newton step would add to outputs `(1, n, out)`, `(n, out)`; up to a factor."""
    local = loss.expand(outputs, y)
    return -local.pull(local.residuals)[0]


def find_directions(
    x: Tensor,
    missing: Tensor,
    hidden: int,
    count: int,
    generator: torch.Generator,
    monotone: Sequence[int] = (),
) -> Tensor:
    """Directions for the hidden units of `count` networks, `(count, in, hidden)`.

    Each unit takes the direction along which curves explain most of what the units before have left
    of `missing` `(n, out)`. The first network chooses from all directions.

    Args:
        x: Inputs `(n, in)`, about standardized.
        missing: What is to be explained.
        hidden: Units of each network.
        count: Networks.
        generator: Draws directions, and which are offered to each network.
        monotone: The sign that each input must have in all directions, 0 for any; any if not given.

    Source:
        J. Friedman and W. Stuetzle, "Projection pursuit regression", 1981.
    """
    directions = _offered(x.shape[1], generator).to(x)
    if any(monotone):
        signs = torch.tensor(monotone).to(x)
        directions = torch.cat([directions, -directions])
        directions = directions.where(directions * signs >= 0, 0)
    along = x @ directions.T
    std = along.std(0, correction=0)
    known = std > 1e-6 * std.max()
    directions = directions[known] / std[known, None]
    along = x @ directions.T
    along = along - along.mean(0)
    shapes = torch.stack([along, along.square(), along**3, along.tanh()], dim=2)
    shapes = (shapes - shapes.mean(0)).transpose(0, 1)  # (directions, n, shapes)
    curves = torch.linalg.qr(shapes).Q
    chosen = []
    for network in range(count):
        offered = torch.rand(len(directions), generator=generator) < OFFERED
        if network == 0 or not offered.any():
            offered = torch.ones(len(directions), dtype=torch.bool)
        left, picked = missing, []
        for _ in range(hidden):
            parts = torch.einsum("dnk,no->dko", curves, left)
            gain = parts.square().sum((1, 2)).masked_fill(~offered.to(x.device), -1)
            best = int(gain.argmax())
            picked.append(directions[best])
            left = left - curves[best] @ parts[best]
        chosen.append(torch.stack(picked, dim=1))
    return torch.stack(chosen)


def _offered(inputs: int, generator: torch.Generator) -> Tensor:
    """Directions `(directions, in)`: sums and differences of two inputs, and of many."""
    single = torch.eye(inputs, dtype=torch.double)
    pairs = torch.combinations(torch.arange(inputs))
    if len(pairs) > MAX_PAIRS // 2:
        pairs = pairs[torch.randperm(len(pairs), generator=generator)[: MAX_PAIRS // 2]]
    first, other = single[pairs[:, 0]], single[pairs[:, 1]]
    mixed = torch.randn(MIXED, inputs, generator=generator, dtype=torch.double)
    mixed = mixed * (torch.rand(MIXED, inputs, generator=generator) < 0.5)
    return torch.cat([first + other, first - other, mixed])


def hidden_basis(networks: SmoothNetworks, q: Tensor) -> NaturalBasis:
    """The basis of the hidden units on the range of their present values."""
    bends = networks.shape.outer - 1
    return NaturalBasis.of(networks.hidden(q), networks.first.intervals, bends, MARGIN)


def follow(
    networks: SmoothNetworks, q: Tensor, second: NaturalBasis
) -> tuple[Tensor, NaturalBasis]:
    """Moves the basis of the hidden units to the range of their values; returns new coordinates."""
    moved, q = hidden_basis(networks, q), q.clone()
    parts = split(networks.shape, q)
    outer, constant = second.convert(parts.outer, moved)
    parts.outer.copy_(outer)
    parts.bias.add_(constant)
    return q, moved


def start_beside(
    curves: State, smoothing: Smoothing, directions: Tensor
) -> tuple[State, NaturalBasis]:
    """Networks that begin as the same sums of curves, and hidden units along directions.

    Args:
        curves: One network without hidden units.
        smoothing: The problem of the networks to be made.
        directions: `(networks, in, hidden)`.

    Returns:
        The state, in which curves from hidden units are one penalized Newton step away from zero,
        and the basis of these units.
    """
    count, shape = len(directions), smoothing.networks.shape
    q = directions.new_zeros(count, sum(shape.sizes))
    parts = split(shape, q)
    known = curves.q.shape[1]
    q[:, :known] = curves.q
    parts.inner[:, :, 0] = directions
    weights = smoothing.start_weights(count)
    weights[:, : curves.weights.shape[1]] = curves.weights
    second = hidden_basis(smoothing.networks, q)
    hessian, slope, _ = smoothing.expand(q, second)
    size = shape.sizes[3]
    matrix = hessian[:, -size:, -size:] + torch.diag_embed(smoothing.penalty(weights)[:, -size:])
    q[:, -size:] = -torch.linalg.solve(matrix, slope[:, -size:])
    return State.of(q, weights, 1e-2), second
