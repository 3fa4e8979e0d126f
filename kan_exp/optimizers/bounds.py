"""Signs of differences of coefficients, as inequalities between the coordinates of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kan_exp.layers import GridLayer
from kan_exp.layers.constraints import Constraint, differences
from kan_exp.layers.walk import layers_of
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_networks import Shape

# Weight of squared violations: large, so that what is left of them hardly matters, and small enough
# for a Cholesky factor in float64.
STIFFNESS = 1e5
ROUNDS = 30  # of a constrained step
SHORTENED = 6  # lengths of a step that are tried, each half of the one before
SETTLED = 1e-10  # relative decrease of the objective
RANK = 1e-10  # relative eigenvalue from which on inequalities are independent


def inequalities(
    shape: Shape,
    first: NaturalBasis,
    second: NaturalBasis | None,
    constraints: Sequence[Constraint],
) -> Tensor | None:
    """Rows `a`, `(r, rows, size)`, of inequalities `a @ q >= 0` of coordinates.

    They are in units of slopes and bends: for the straight line of a basis, a slope is 1.

    Args:
        shape: Of the networks.
        first: Basis of the inputs.
        second: Basis of the hidden units, with a leading axis of networks.
        constraints: Of each layer; no inequalities where there are none.
    """
    first = NaturalBasis(*(part.unsqueeze(0) for part in first))
    parts = [(first, constraints[0], edges) for edges in shape.edges[:2]]
    if second is not None:
        parts.append((second, constraints[1], shape.edges[2]))
    found = []
    start = shape.outputs
    for basis, constraint, (dim_in, functions, dim_out) in parts:
        # Units that carry sums of curves come before those that have curves of their own.
        skipped = len(constraint.monotone) - dim_in
        for i, monotone, convex in constraint.pairs:
            if i < skipped or dim_out == 0:
                continue
            edge = _edge_rows(basis, i - skipped, functions, monotone, convex)
            place = start + (i - skipped) * functions * dim_out
            columns = place + torch.arange(functions, device=edge.device) * dim_out
            for output in range(dim_out):
                rows = edge.new_zeros(*edge.shape[:2], sum(shape.sizes))
                rows[..., columns + output] = edge
                found.append(rows)
        start += dim_in * functions * dim_out
    if not found:
        return None
    count = max(len(rows) for rows in found)
    return torch.cat([rows.expand(count, -1, -1) for rows in found], 1)


def inequalities_of_parameters(network: nn.Sequential, constraints: Sequence[Constraint]) -> Tensor:
    """Rows `a`, `(rows, parameters)`, of inequalities `a @ p >= 0` of the parameters of a network.

    They are in units of slopes and bends.

    Args:
        network: Layers with grids, without straight edges.
        constraints: Of each layer.
    """
    layers = [cast(GridLayer, layer) for layer in layers_of(network)]
    size = sum(part.numel() for part in network.parameters())
    found, start = [], 0
    for layer, constraint in zip(layers, constraints, strict=True):
        _, count, dim_out = layer.values.shape
        for i, monotone, convex in constraint.pairs:
            matrix, order, bounded = differences(count, monotone, convex)
            edge = torch.from_numpy(matrix[bounded]).to(layer.values)
            edge = edge / layer.spacing[i] ** torch.from_numpy(order[bounded])[:, None].to(edge)
            columns = start + (i * count + torch.arange(count, device=edge.device)) * dim_out
            for output in range(dim_out):
                rows = edge.new_zeros(len(edge), size)
                rows[:, columns + output] = edge
                found.append(rows)
        start += sum(part.numel() for part in layer.parameters())
    return torch.cat(found)


def _edge_rows(basis: NaturalBasis, i: int, functions: int, monotone: int, convex: int) -> Tensor:
    """The inequalities of an edge, `(r, rows, functions)`."""
    table = basis.table[:, i, :, :functions]
    matrix, order, bounded = differences(table.shape[1], monotone, convex)
    step = table[:, 1, 0] - table[:, 0, 0]  # of the line
    scale = step[:, None] ** torch.from_numpy(order[bounded]).to(step)
    return torch.from_numpy(matrix[bounded]).to(table) @ table / scale.unsqueeze(2)


def held(rows: Tensor, q: Tensor) -> Tensor:
    """The rows of violated inequalities, weighed; others are 0. `(r, rows, size)`."""
    violated = _values(rows, q) < 0
    return rows * (STIFFNESS**0.5 * violated).unsqueeze(2)


def violation(rows: Tensor, q: Tensor) -> Tensor:
    """The weighed sum of squared violations, `(r,)`."""
    return STIFFNESS * _values(rows, q).clamp(max=0).square().sum(1)


def _values(rows: Tensor, q: Tensor) -> Tensor:
    return torch.einsum("rmp,rp->rm", rows, q)


def constrained_step(
    hessian: Tensor, slope: Tensor, q: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Minimizes `2 slope @ d + d @ hessian @ d` and the violation of `q + d`.

    Newton's method on the multipliers of the inequalities: for each set of violated ones the
    objective is quadratic. A step that raises it is shortened.

    Returns:
        `q + d`, and whether there is none, as `cholesky_ex` says.

    Source:
        M. Hintermüller, K. Ito and K. Kunisch, "The primal-dual active set strategy as a semismooth
        Newton method", 2002.
    """
    factor, info = torch.linalg.cholesky_ex(hessian)
    free = q - torch.cholesky_solve(slope.unsqueeze(2), factor).squeeze(2)
    spread = torch.cholesky_solve(rows.mT, factor)
    gram, start = rows @ spread, _values(rows, free)
    values, multipliers = start, torch.zeros_like(start)
    ridge = torch.eye(start.shape[1]).to(start) / STIFFNESS
    shares = 0.5 ** torch.arange(SHORTENED).to(start).view(-1, 1, 1)
    objective = STIFFNESS * values.clamp(max=0).square().sum(1)
    for _ in range(ROUNDS):
        violated = values < 0
        pairs = violated.unsqueeze(1) & violated.unsqueeze(2)
        right = torch.where(violated, -start, 0).unsqueeze(2)
        solved, _ = torch.linalg.solve_ex(gram.where(pairs, 0) + ridge, right)
        step = solved.squeeze(2) - multipliers
        tried = multipliers + shares * step  # (shares, r, rows)
        tried_values = values + shares * torch.einsum("rmn,rn->rm", gram, step)
        after = STIFFNESS * tried_values.clamp(max=0).square().sum(2)
        after = after + torch.einsum("trm,rmn,trn->tr", tried, gram, tried)
        least, place = after.min(0)
        better = least < objective * (1 - SETTLED)  # false for a NaN
        if not better.any():
            break
        networks = torch.arange(len(place), device=place.device)
        multipliers = tried[place, networks].where(better.unsqueeze(1), multipliers)
        values = tried_values[place, networks].where(better.unsqueeze(1), values)
        objective = least.where(better, objective)
    return free + torch.einsum("rpm,rm->rp", spread, multipliers), info


def free_shares(active: Tensor, penalty: Tensor) -> Tensor:
    """The share of each coordinate's prior that active inequalities leave free, `(r, size)`.

    Args:
        active: See `held`.
        penalty: The weight of the square of each coordinate, `(r, size)`, not 0 where inequalities
            are.
    """
    tiny = torch.finfo(active.dtype).tiny
    scaled = active / penalty.clamp(min=tiny).sqrt().unsqueeze(1)
    scaled = scaled / torch.linalg.vector_norm(scaled, dim=2, keepdim=True).clamp(min=tiny)
    inverse = torch.linalg.pinv(scaled @ scaled.mT, rtol=RANK, hermitian=True)
    return 1 - (scaled * (inverse @ scaled)).sum(1)
