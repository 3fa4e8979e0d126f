"""Edges that are B-splines, optionally with a smooth base function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.grid import GridLayer
from kan_exp.layers.rules import KINDS

RULES = KINDS["KANSplineLayer"]


class KANSplineLayer(GridLayer):
    """B-spline edges on evenly spaced knots, evaluated where they are not zero.

    Beyond the grid an edge is a straight line.

    Args:
        num_intervals: Intervals of the grid, at least 1.
        degree: Degree of the polynomials, 1 to 5.
        x_min, x_max: First and last knot, in the units of the layer's input.
        base: A function that each edge adds with a weight of its own: `silu`, `linear` or `none`.

    Shape:
        Parameters `values` `(dim_in, num_intervals + degree, dim_out)` and, with a base,
        `base_weight` `(dim_in, dim_out)`; buffers of `GridLayer`.

    Source:
        Liu et al., "KAN: Kolmogorov-Arnold Networks", arXiv 2404.19756, section 2.2.
    """

    base_weight: nn.Parameter | None

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_intervals: int = 64,
        degree: int = 3,
        x_min: float = -2.0,
        x_max: float = 2.0,
        base: str = "none",
        generator: torch.Generator | None = None,
    ) -> None:
        name = type(self).__name__
        RULES.check(name, num_intervals=num_intervals, degree=degree, base=base)
        super().__init__(dim_in, dim_out, num_intervals, degree, x_min, x_max)
        self.base = base
        # It starts at 0: the start is the spline's straight line, whatever the base.
        weight = None if base == "none" else nn.Parameter(torch.zeros(dim_in, dim_out))
        self.register_parameter("base_weight", weight)
        self.reset_parameters(generator)

    @property
    def only_splines(self) -> bool:
        return self.base_weight is None

    def edges(self, x: Tensor) -> Tensor:
        values = super().edges(x)
        if self.base_weight is None:
            return values
        return values + self._base(self._batch(x)).unsqueeze(-1) * self.base_weight

    def forward(self, x: Tensor) -> Tensor:
        values = super().forward(x)
        if self.base_weight is None:
            return values
        return torch.addmm(values, self._base(self._batch(x)), self.base_weight)

    def forward_stacked(self, x: Tensor) -> Tensor:
        values = super().forward_stacked(x)
        if self.base_weight is None:
            return values
        return torch.baddbmm(values, self._base(x), self.base_weight)

    def sample_gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        gradients = super().sample_gradients(x, grad)
        if self.base_weight is not None:
            gradients.append(torch.einsum("bi,bj->bij", self._base(x), grad))
        return gradients

    @torch.no_grad()
    def imitate(self, points: Tensor, edges: Callable[[Tensor], Tensor]) -> None:
        super().imitate(points, edges)
        if self.base_weight is not None:
            self.base_weight.zero_()

    @classmethod
    def count_intervals(cls, options: Mapping[str, Any]) -> int | None:
        return RULES.count_intervals(options)

    @classmethod
    def with_intervals(cls, options: Mapping[str, Any], num_intervals: int) -> dict[str, Any]:
        return RULES.with_intervals(options, num_intervals)

    def slopes(self, order: int = 1) -> Tensor:
        # The derivatives of the base are not splines: they are measured like any other edge's.
        return super().slopes(order) if self.base_weight is None else EdgeLayer.slopes(self, order)

    def roughness_stacked(self, order: int = 1) -> Tensor:
        if self.base_weight is None:
            return super().roughness_stacked(order)
        return EdgeLayer.roughness_stacked(self, order)

    def _base(self, x: Tensor) -> Tensor:
        return functional.silu(x) if self.base == "silu" else x

    def extra_repr(self) -> str:
        grid = f"num_intervals={self.num_intervals}, degree={self.degree}, base={self.base}"
        return f"{super().extra_repr()}, {grid}"
