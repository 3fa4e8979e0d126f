"""The group penalty: the deviations of all edges, which makes edges vanish that are not needed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kan_exp.training.starts import bent_edges, form_of_parameters, grid_layers, straight_edges

ROUNDING = 1e-4  # deviation of the output, below which the penalty is that of a square


def group_penalty(network: nn.Sequential) -> Tensor:
    """The sum over edges of the deviation that each gives to the output.

    It is the root of the mean squared deviation of an edge's curve from its mean over the grid,
    times the slope of what follows: the root of the mean squared slope over the grids of the next
    layers. Thus it does not change when edges exchange constants, or hidden units change their
    scale.

    Args:
        network: Its layers have grids, and edges without a base.

    Source:
        M. Yuan and Y. Lin, "Model selection and estimation in regression with grouped variables",
        2006.
    """
    return _sum_of_deviations(*_squares(network))


def group_matrix(network: nn.Sequential) -> Tensor:
    """A quadratic form of all parameters whose gradient is that of `group_penalty`.

    The penalty is a function of mean squares; the form is linear in them. In a network of two
    layers it exceeds the penalty elsewhere by at least a constant, so that a step which lowers the
    one lowers the other.

    Returns:
        `(parameters, parameters)`.

    Source:
        D. Hunter and R. Li, "Variable selection using MM algorithms", 2005.
    """
    with torch.enable_grad():
        squares = [[part.detach().requires_grad_() for part in kind] for kind in _squares(network)]
        total = _sum_of_deviations(*squares)
    # The last layer has no part in the slopes of what follows the first one of a single layer.
    found = torch.autograd.grad(total, sum(squares, []), allow_unused=True, materialize_grads=True)
    layers = grid_layers(network)
    curves, lines = [], []
    for layer, variance, slope in zip(layers, found, found[len(layers) :], strict=False):
        bent, forms = bent_edges(layer), layer.penalty_gram_matrix(1)
        form = layer.variance_matrix()
        curves.append(
            [
                torch.kron(form, torch.diag(weight)) + torch.kron(own, torch.diag(steepness))
                for own, weight, steepness in zip(forms, bent * variance, bent * slope, strict=True)
            ]
        )
        widths = layer.num_intervals * layer.spacing[:, None]
        lines.append(straight_edges(layer) * (variance * widths.square() / 12 + slope))
    return form_of_parameters(network, curves, lines)


def _squares(network: nn.Sequential) -> tuple[list[Tensor], list[Tensor]]:
    """Variances and mean squared slopes of all edges, `(in, out)` for each layer."""
    layers = grid_layers(network)
    return [layer.variance() for layer in layers], [layer.roughness() for layer in layers]


def _sum_of_deviations(variances: list[Tensor], slopes: list[Tensor]) -> Tensor:
    total, gain = variances[0].new_zeros(()), torch.ones_like(variances[-1][0])
    for variance, slope in zip(reversed(variances), reversed(slopes), strict=True):
        # The square root of 0 has no derivative.
        total = total + ((variance * gain + ROUNDING**2).sqrt() - ROUNDING).sum()
        gain = (slope * gain).sum(1)
    return total
