"""The penalties of a network, and the objective where they read the values of every edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from kan_exp.layers import EdgeLayer, smooth_penalty
from kan_exp.layers.walk import LayerPass, layers_of, walk
from kan_exp.tasks.losses import Loss
from kan_exp.training.group_penalty import group_penalty
from kan_exp.training.penalty_rules import ORDERS


def _roughness(order: int, network: nn.Sequential) -> Tensor:
    return torch.stack([layer.roughness(order).mean() for layer in layers_of(network)]).sum()


def _l1_edges(visits: list[LayerPass]) -> Tensor:
    return torch.stack([EdgeLayer.magnitude(visit.edges) for visit in visits]).sum()


def _l1_outputs(visits: list[LayerPass]) -> Tensor:
    return torch.stack([visit.outputs.abs().mean() for visit in visits]).sum()


def objective_by_edges(
    network: nn.Sequential,
    points: tuple[Tensor, Tensor, Tensor | None],
    names: Sequence[str],
    loss: Loss,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective where a penalty reads every edge's values, which a fused pass never has."""
    x, y, weight = points
    visits = list(walk(network, x, from_edges=True))
    outputs = visits[-1].outputs  # before the penalties: the order decides how gradients round
    penalties = {
        name: ON_EDGES[name](visits) if name in ON_EDGES else ON_LAYERS[name](network)
        for name in names
    }
    return loss.mean(outputs, y, weight), penalties


# Each is a sum over layers. `smooth` is the seed project's unsquared norm, `roughness` its square
# in units that do not depend on the number of knots, `curvature` and `jerk` the same of second
# and third derivatives; the L1 terms read the mini-batch's edges.
ON_LAYERS: dict[str, Callable[[nn.Sequential], Tensor]] = {
    **{name: partial(_roughness, order) for name, order in ORDERS.items()},
    "smooth": smooth_penalty,
    "group": group_penalty,
}
ON_EDGES: dict[str, Callable[[list[LayerPass]], Tensor]] = {
    "l1_edges": _l1_edges,
    "l1_outputs": _l1_outputs,
}
