"""The group penalty, which makes edges vanish that are not needed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

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
