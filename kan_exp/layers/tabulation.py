"""Turns any edges into tables, which cost the same whatever the edges cost."""

from __future__ import annotations

from typing import NamedTuple

import torch

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.interpo import KANInterpoLayer
from kan_exp.layers.nodes import reduce_edges
from kan_exp.layers.spline import KANSplineLayer

PROBES_PER_INTERVAL = 7  # an odd number probes the middle, where an interpolation errs most


class Tabulated(NamedTuple):
    """A table and how far it is from what it stands for.

    `error` is the largest difference of an edge, `bound` is an upper bound for the difference of an
    output, both measured at several points in every interval of the layer's domain.
    """

    layer: KANInterpoLayer | KANSplineLayer
    error: float
    bound: float


@torch.no_grad()
def tabulate(layer: EdgeLayer, num_points: int = 256, degree: int = 1) -> Tabulated:
    """Tabulates the edges of a layer over the range on which they were trained.

    Args:
        layer: Any layer; its `domain` is the range of the table, beyond which it is linear.
        num_points: Numbers per edge.
        degree: 1 for straight lines between the points, 3 for a cubic spline.

    Returns:
        The table, with the layer's mask and node operations, and its measured error.

    Raises:
        ValueError: There are too few points for the degree, or the degree is not 1 or 3.
    """
    if degree not in (1, 3):
        raise ValueError(f"tabulate needs degree to be 1 or 3, got {degree!r}.")
    if num_points < 2 * degree:
        raise ValueError(f"tabulate needs at least {2 * degree} points, got {num_points!r}.")
    size = layer.dim_in, layer.dim_out
    intervals = num_points - degree
    table: KANInterpoLayer | KANSplineLayer
    generator = torch.Generator("cpu")
    with torch.device(generator.device):
        if degree == 1:
            table = KANInterpoLayer(*size, num_x=num_points, generator=generator)
        else:
            table = KANSplineLayer(*size, intervals, degree, generator=generator)
    table.to(layer.domain)
    low, high = layer.domain.unbind(1)
    never_varied = (1e-3 * low.abs()).clamp(min=1)  # a width that is more than rounding
    width = (high - low).where(high > low, never_varied)
    table.place(torch.stack([low, low + width], dim=1), layer.edges)
    table.observe(layer.domain.T)
    table.set_mask(layer.mask)
    table.node_operation = layer.node_operation

    unit = torch.linspace(0, 1, PROBES_PER_INTERVAL * intervals + 1).to(low)
    edges = layer.edges(low + unit[:, None] * width)
    errors = (table.edges(low + unit[:, None] * width) - edges).abs().amax(0)  # (in, out)
    bounds = reduce_edges(errors)
    if layer.products is not None:  # a product changes most where all its factors are largest
        largest = edges.abs().amax(0)
        bounds = bounds.where(
            ~layer.products, layer.reduce(largest + errors) - layer.reduce(largest)
        )
    return Tabulated(table, errors.max().item(), bounds.max().item())
