"""Layers of any kind whose edges are those of a smooth network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kan_exp.layers import GridLayer, KANSplineLayer, LayerSpec, layer_path, make_network
from kan_exp.layers.walk import layers_of
from kan_exp.optimizers.natural_basis import DEGREE, NaturalBasis
from kan_exp.optimizers.pursuit import MARGIN
from kan_exp.optimizers.smooth_networks import Parts, SmoothNetworks, split

EVEN, OFTEN = 49, 64  # points of each edge: evenly over its range, and as the data are distributed


class Made(NamedTuple):
    """A network, and the layers of its description."""

    network: nn.Sequential
    description: list[dict[str, Any]]

    def specs(self, asked: Sequence[LayerSpec]) -> list[LayerSpec]:
        """The requested layers, with the ranges of edges that have no grid."""
        return [
            spec if issubclass(spec.kind, GridLayer) else LayerSpec(spec.kind, entry["options"])
            for spec, entry in zip(asked, self.description, strict=True)
        ]


@dataclass
class _Edges:
    """The edges of a smooth network at points `(n, in)`, `(n, in, out)`.

    Args:
        smooth: On all points.
        parts: Its coefficients.
        second: Basis of its hidden units.
        width: Of the first layer's outputs: those of the network, its hidden units, and others.
    """

    smooth: SmoothNetworks
    parts: Parts
    second: NaturalBasis | None
    width: int

    @property
    def hidden(self) -> slice:
        """Places of the hidden units."""
        shape = self.smooth.shape
        return slice(shape.outputs, shape.outputs + shape.hidden)

    def curves(self, x: Tensor) -> Tensor:
        """The first layer: curves that lead to the outputs, and those to hidden units."""
        shape, parts = self.smooth.shape, self.parts
        basis = self.smooth.first.values(x)
        values = basis.new_zeros(len(x), shape.inputs, self.width)
        values[..., : shape.outputs] = torch.einsum(
            "nik,iko->nio", basis[..., : shape.additive], parts.curves[0]
        )
        values[..., : shape.outputs] += parts.bias[0] / shape.inputs
        if shape.hidden:
            values[..., self.hidden] = torch.einsum(
                "nik,iko->nio", basis[..., : shape.inner], parts.inner[0]
            )
        return values

    def outer(self, z: Tensor, dim_out: int) -> Tensor:
        """The second layer: outputs pass, and hidden units are bent."""
        values = self.passing(z, dim_out)
        if self.second is not None:
            basis = self.second.values(z[None, :, self.hidden])[0]
            bent = torch.einsum("nhk,hko->nho", basis, self.parts.outer[0])
            values[:, self.hidden, : self.smooth.shape.outputs] = bent
        return values

    def passing(self, z: Tensor, dim_out: int) -> Tensor:
        """A layer that passes the outputs on."""
        count = self.smooth.shape.outputs
        values = z.new_zeros(*z.shape, dim_out)
        values[:, :count, :count] = torch.diag_embed(z[:, :count])
        return values


@torch.no_grad()
def make_layers(
    specs: Sequence[LayerSpec],
    dims: Sequence[int],
    smooth: SmoothNetworks,
    q: Tensor,
    second: NaturalBasis | None,
    generator: torch.Generator,
) -> Made:
    """Makes a network `dims` in float64 with the edges of a smooth one.

    Cubic splines get the same grids, and are the same functions. Edges without a grid are those of
    their kind on the whole range of the points.

    Args:
        specs: One for each layer.
        dims: Widths from the input to the output; hidden units that the smooth network does not
            have lead nowhere, and further layers pass its outputs on.
        smooth: On all points.
        q: Coordinates of one network, `(1, size)`.
        second: Basis of its hidden units.
        generator: Draws where edges start that are fitted step by step.
    """
    shape = smooth.shape
    smooth_edges = _Edges(smooth, split(shape, q), second, dims[1])
    points = [_points(smooth.x, torch.stack(smooth.first.ends))]
    edges: list[Callable[[Tensor], Tensor]] = [smooth_edges.curves]
    edges += [partial(smooth_edges.outer, dim_out=width) for width in dims[2:3]]
    edges += [partial(smooth_edges.passing, dim_out=width) for width in dims[3:]]
    z = smooth.x
    for depth, functions in enumerate(edges[: len(dims) - 2]):
        z = functions(z).sum(1)
        low, high = z.amin(0), z.amax(0)
        room = MARGIN * (high - low).clamp(min=1e-3)
        ends = torch.stack([low - room, high + room])
        if second is not None and depth == 0:
            ends[:, smooth_edges.hidden] = torch.stack(second.ends)[:, 0]
        points.append(_points(z, ends))
    sized = [
        _sized(spec, smooth.first.intervals, places)
        for spec, places in zip(specs, points, strict=True)
    ]
    network = make_network(sized, dims, generator).double().to(smooth.x.device)
    layers = layers_of(network)
    for layer, places, functions in zip(layers, points, edges, strict=False):
        layer.imitate(places, functions)
        layer.set_limits(torch.stack([places.amin(0), places.amax(0)], 1))
    described = [
        {"kind": layer_path(kind), "options": layer.present_options(options)}
        for (kind, options), layer in zip(sized, layers, strict=True)
    ]
    return Made(network, described)


def _sized(spec: LayerSpec, intervals: int, points: Tensor) -> LayerSpec:
    """Splines of this degree with these intervals; edges without a grid on the range of points."""
    options = dict(spec.options)
    if not issubclass(spec.kind, GridLayer) and {"x_min", "x_max"} <= options.keys():
        options["x_min"] = min(options["x_min"], float(points.min()))
        options["x_max"] = max(options["x_max"], float(points.max()))
        if options.get("base") == "auto":  # in which lines are exact
            options["base"] = "linear"
        return LayerSpec(spec.kind, options)
    if issubclass(spec.kind, KANSplineLayer) and spec.options.get("degree", DEGREE) == DEGREE:
        return LayerSpec(spec.kind, spec.kind.with_intervals(spec.options, intervals))
    return spec


def _points(x: Tensor, ends: Tensor) -> Tensor:
    """Points `(n, in)` from end to end, more of them where there are more data."""
    even = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, EVEN).to(x)[:, None])
    often = x.quantile(torch.linspace(0, 1, OFTEN).to(x), dim=0)
    return torch.cat([even, often.clamp(ends[0], ends[1])])
