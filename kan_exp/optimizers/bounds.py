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
HALVINGS = 30  # of the length of a step
TINY = 1e-9  # relative slope of the objective at the end of a step that counts as 0
RANK = 1e-10  # relative eigenvalue from which on inequalities are independent


def inequalities(
    shape: Shape,
    first: NaturalBasis,
    second: NaturalBasis | None,
    constraints: Sequence[Constraint],
) -> Tensor | None:
    """Rows `a`, `(r, rows, size)`, of inequalities `a @ q >= 0` of coordinates.

    They are in units of slopes and bends: for the straight line of a basis, a slope is 1. Those of
    edges to a hidden unit are parts of its deviation: a unit of small values must obey them, too.

    Args:
        shape: Of the networks.
        first: Basis of the inputs.
        second: Basis of the hidden units, with a leading axis of networks.
        constraints: Of each layer; no inequalities where there are none.
    """
    first = NaturalBasis(*(part.unsqueeze(0) for part in first))
    curves, inner, outer = shape.edges
    ones = first.low.new_ones(1, shape.outputs)
    parts = [(first, constraints[0], curves, ones)]
    if second is not None:
        sizes = second.spacing / (second.table[..., 1, 0] - second.table[..., 0, 0])
        parts += [(first, constraints[0], inner, sizes), (second, constraints[1], outer, ones)]
    found = []
    start = shape.outputs
    for basis, constraint, (dim_in, functions, dim_out), sizes in parts:
        # Units that carry sums of curves come before those that have curves of their own.
        skipped = len(constraint.monotone) - dim_in
        for i, monotone, convex in constraint.pairs:
            if i < skipped:
                continue
            edge = _edge_rows(basis, i - skipped, functions, monotone, convex)
            place = start + (i - skipped) * functions * dim_out
            columns = place + torch.arange(functions, device=edge.device) * dim_out
            for output in range(dim_out):
                scaled = edge / sizes[:, output, None, None]  # (r, rows, functions)
                rows = edge.new_zeros(*scaled.shape[:2], sum(shape.sizes))
                rows[..., columns + output] = scaled
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
    ridge = torch.eye(start.shape[1], dtype=q.dtype, device=q.device) / STIFFNESS
    for _ in range(ROUNDS):
        violated = values < 0
        pairs = violated.unsqueeze(1) & violated.unsqueeze(2)
        right = torch.where(violated, -start, 0).unsqueeze(2)
        solved, _ = torch.linalg.solve_ex(gram.where(pairs, 0) + ridge, right)
        step = solved.squeeze(2) - multipliers
        change = torch.einsum("rmn,rn->rm", gram, step)
        share = _line_search(values, change, multipliers, step).unsqueeze(1)
        multipliers, values = multipliers + share * step, values + share * change
        # With a whole step among the same violated inequalities, this is the minimum.
        settled = (share == 1) & ((values < 0) == violated).all(1, keepdim=True)
        if bool((settled | ~values.isfinite().all(1, keepdim=True)).all()):
            break
    return free + torch.einsum("rpm,rm->rp", spread, multipliers), info


def _line_search(values: Tensor, change: Tensor, multipliers: Tensor, step: Tensor) -> Tensor:
    """The share of a step, up to 1, by which the objective is least, `(r,)`.

    Args:
        values: Of the inequalities, `(r, rows)`.
        change: Of these by the step.
        multipliers: Of the inequalities.
        step: Of the multipliers.
    """
    constant, linear = (multipliers * change).sum(1), (step * change).sum(1)

    def slope(share: Tensor) -> Tensor:
        violated = (values + share.unsqueeze(1) * change).clamp(max=0)
        return constant + share * linear + STIFFNESS * (violated * change).sum(1)

    low, high = torch.zeros_like(constant), torch.ones_like(constant)
    is_whole = ~(slope(high) > TINY * slope(low).abs())
    if is_whole.all():
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rises = slope(middle) > 0
        low, high = torch.where(rises, low, middle), torch.where(rises, middle, high)
    return torch.where(is_whole, 1.0, high)


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
