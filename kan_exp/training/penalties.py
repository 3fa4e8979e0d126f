"""The penalties of a network, also as quadratic forms, and the objective with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from kan_exp.layers import EdgeLayer, smooth_penalty
from kan_exp.layers.walk import LayerPass, layers_of, walk
from kan_exp.tasks.losses import Loss
from kan_exp.training.penalty_rules import ORDERS
from kan_exp.training.starts import bent_edges, form_of_parameters, grid_layers, straight_edges

ROUNDING = 1e-4  # deviation of the output below which an edge counts as zero


def group_penalty(network: nn.Sequential) -> Tensor:
    """The sum over edges of the square root of the deviation that each gives to the output.

    This deviation is that of an edge's curve over its grid, times the slope of what follows, both
    as roots of mean squares. It does not change when edges exchange constants, or when a hidden
    unit changes its scale. Without the square root, two units that each give half of a curve would
    cost as much as one that gives all of it, and nothing would vanish but idle edges.

    Args:
        network: All layers have grids, and edges no base.

    Source:
        J. Huang, S. Ma, H. Xie, C.-H. Zhang, "A group bridge approach for variable selection",
        Biometrika 96, 2009.
    """
    return _sum_of_roots(*_squares(network))


def group_matrix(network: nn.Sequential) -> Tensor:
    """A quadratic form of all parameters with the same gradient as `group_penalty`.

    The penalty is a function of mean squares, and the form is its tangent in them. With one hidden
    layer it is concave in them: a step that lowers the form lowers the penalty at least as much.

    Returns:
        `(parameters, parameters)`.

    Source:
        D. Hunter and R. Li, "Variable selection using MM algorithms", 2005.
    """
    with torch.enable_grad():
        variances, slopes = (
            [part.detach().requires_grad_() for part in squares] for squares in _squares(network)
        )
        total = _sum_of_roots(variances, slopes)
    # No layer's penalty reads the slopes of the first layer.
    found = torch.autograd.grad(total, [*variances, *slopes], materialize_grads=True)
    curves, lines = [], []
    for layer, by_variance, by_slope in zip(
        grid_layers(network), found[: len(variances)], found[len(variances) :], strict=True
    ):
        form, bent = layer.variance_matrix(), bent_edges(layer)
        rows = zip(layer.penalty_gram_matrix(1), bent * by_variance, bent * by_slope, strict=True)
        curves.append(
            [
                torch.kron(form, variance.diag()) + torch.kron(slopes_form, slope.diag())
                for slopes_form, variance, slope in rows
            ]
        )
        widths = layer.num_intervals * layer.spacing[:, None]
        lines.append(straight_edges(layer) * (by_variance * widths.square() / 12 + by_slope))
    return form_of_parameters(network, curves, lines)


def _squares(network: nn.Sequential) -> tuple[list[Tensor], list[Tensor]]:
    """Variances and mean squared slopes of all edges, `(in, out)` for each layer."""
    layers = grid_layers(network)
    return [layer.variance() for layer in layers], [layer.roughness() for layer in layers]


def _sum_of_roots(variances: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    total, gain = variances[0].new_zeros(()), torch.ones_like(variances[-1][0])
    for variance, slope in zip(reversed(variances), reversed(slopes), strict=True):
        deviation = (variance * gain + ROUNDING**2).sqrt()  # no derivative is infinite at 0
        total = total + (deviation.sqrt() - ROUNDING**0.5).sum()
        gain = (slope * gain).sum(1)
    return total


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
