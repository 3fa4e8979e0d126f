"""Fits edges of any kind to given functions, each by itself and all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from kan_exp.layers.base import EdgeLayer

ROUNDS, STEPS = 4, 30  # each round frees edges that have come to a halt
CLOSE = 1e-6  # of the largest variance of an edge: a squared error that needs no further round
# Least damping of a parameter as a share of the largest: one that hardly counts, such as the place
# of a small bump, must not leap away.
FLOOR = 1e-2
RIDGE = 1e-9
MAX_DAMPING = 1e8
MARGIN, IN_MARGIN = 0.03, 2  # share of the range beyond it, and points there on each side


def with_margins(points: Tensor) -> Tensor:
    """The points `(n, in)`, and more of them beyond their range, up to a share of it."""
    low, high = points.amin(0), points.amax(0)
    steps = torch.linspace(0, MARGIN, IN_MARGIN + 1).to(points)[1:, None] * (high - low)
    return torch.cat([points, low - steps, high + steps])


def imitate(layer: EdgeLayer, x: Tensor, edges: Tensor) -> None:
    """Changes the parameters of edges so that they are near to given values.

    Levenberg-Marquardt, with a damping for each edge. Parameters that no single edge owns stay as
    they are.

    Args:
        layer: In float64.
        x: Points `(n, in)`.
        edges: Values there, `(n, in, out)`.
    """
    parameters = {name: part.detach() for name, part in layer.named_parameters()}
    index = _owned(layer, parameters, x)  # (edges, parameters of an edge)
    row = torch.cat([part.flatten() for part in parameters.values()])
    for _ in range(ROUNDS):
        row = _round(layer, row, x, edges, index)
        error = (_edges(layer, row, x) - edges).square().mean(0)
        if bool((error <= CLOSE * edges.var(0).max()).all()):
            break
    with torch.no_grad():
        parts = row.split([part.numel() for part in parameters.values()])
        for (name, old), part in zip(parameters.items(), parts, strict=True):
            layer.get_parameter(name).copy_(part.view(old.shape))


def _round(layer: EdgeLayer, row: Tensor, x: Tensor, edges: Tensor, index: Tensor) -> Tensor:
    """Steps until all edges have settled; returns the new parameters."""
    damping = row.new_full((len(index),), 1e-2)
    values = _edges(layer, row, x)
    error = (values - edges).square().mean(0).flatten()
    for _ in range(STEPS):
        jacobian = _gradients(layer, row, x)[:, index].transpose(0, 1)  # (edges, n, parameters)
        missing = (values - edges).flatten(1).T.unsqueeze(2)
        matrix = jacobian.mT @ jacobian / len(x)
        slope = jacobian.mT @ missing / len(x)
        scale = matrix.diagonal(dim1=1, dim2=2)
        scale = scale.maximum(FLOOR * scale.amax(1, keepdim=True)) + torch.finfo(x.dtype).tiny
        matrix.diagonal(dim1=1, dim2=2).add_((damping[:, None] + RIDGE) * scale)
        factor, info = torch.linalg.cholesky_ex(matrix)
        change = -torch.cholesky_solve(slope, factor).squeeze(2)
        trial = row.index_add(0, index.flatten(), change.nan_to_num(0, 0, 0).flatten())
        tried = _edges(layer, trial, x)
        after = (tried - edges).square().mean(0).flatten()
        better = (after < error) & (info == 0)
        row = torch.where(_by_parameter(better, index, row), trial, row)
        damping = torch.where(better, damping / 3, damping * 4).clamp(1e-12, MAX_DAMPING)
        settled = (error - after).abs() <= 1e-9 * error.maximum(error.new_tensor(1e-12))
        error = torch.where(better, after, error)
        values = torch.where(better.view(values.shape[1:]), tried, values)
        if bool((settled | (damping >= MAX_DAMPING)).all()):
            break
    return row


class _Call(nn.Module):
    """A layer by one of its methods, with other parameters."""

    def __init__(self, layer: EdgeLayer, name: str, row: Tensor) -> None:
        super().__init__()
        self.layer, self.name = layer, name
        parts = dict(layer.named_parameters())
        rows = row.split([part.numel() for part in parts.values()])
        self.row = {
            f"layer.{n}": r.view(p.shape) for (n, p), r in zip(parts.items(), rows, strict=True)
        }

    def forward(self, *arguments: Tensor) -> Any:
        return getattr(self.layer, self.name)(*arguments)

    def run(self, *arguments: Tensor) -> Any:
        return functional_call(self, self.row, arguments)


def _edges(layer: EdgeLayer, row: Tensor, x: Tensor) -> Tensor:
    values: Tensor = _Call(layer, "edges", row).run(x)
    return values


def _gradients(layer: EdgeLayer, row: Tensor, x: Tensor) -> Tensor:
    """Derivatives of each edge by its own parameters, `(n, parameters)`."""
    parts = _Call(layer, "sample_gradients", row).run(x, x.new_ones(len(x), layer.dim_out))
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def _owned(layer: EdgeLayer, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Numbers of the parameters of each edge, `(edges, parameters)`.

    Raises:
        ValueError: The edges do not have parameters of their own.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (layer.dim_in, layer.dim_out)
    code = torch.rand(shape, generator=generator, dtype=torch.double).to(x)
    weights = torch.randn(len(x), *shape, generator=generator, dtype=torch.double).to(x)
    size = sum(part.numel() for part in parameters.values())
    # At random values, where no derivative is zero by chance.
    row = torch.randn(size, generator=generator, dtype=torch.double).to(x)
    with torch.enable_grad():
        values = _edges(layer, row.requires_grad_(), x)
        (plain,) = torch.autograd.grad(values, row, weights, retain_graph=True)
        (coded,) = torch.autograd.grad(values, row, weights * code)
    ratio = coded / plain
    distance, owner = (ratio.unsqueeze(1) - code.flatten()).abs().min(1)
    index = [
        ((owner == edge) & (distance < 1e-7)).nonzero().flatten() for edge in range(code.numel())
    ]
    if len({len(own) for own in index}) > 1 or not len(index[0]):
        raise ValueError(f"{type(layer).__name__} has edges that share parameters.")
    return torch.stack(index)


def _by_parameter(edges: Tensor, index: Tensor, row: Tensor) -> Tensor:
    chosen = torch.zeros_like(row, dtype=torch.bool)
    chosen[index.flatten()] = edges.unsqueeze(1).expand_as(index).flatten()
    return chosen
