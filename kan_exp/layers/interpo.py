"""Edges that are tables: values at evenly spaced knots, straight lines between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kan_exp.layers.grid import GridLayer
from kan_exp.layers.kernels import Grid
from kan_exp.layers.rules import KINDS

RULES = KINDS["KANInterpoLayer"]


class KANInterpoLayer(GridLayer):
    """Piecewise-linear edges: one trainable value per edge and knot.

    Args:
        num_x: Knots per edge, at least 2.
        x_min, x_max: First and last knot, in the units of the layer's input.
        outside: Beyond the knots an edge continues its last segment (`linear`), keeps its last
            value (`hold`), or falls to zero within one more interval (`zero`, as `mlp-kan` does; it
            copies the table at each pass).

    Shape:
        Parameter `values` `(dim_in, num_x, dim_out)`; buffers of `GridLayer`.

    Source:
        Y. Zhang, MLP-KAN (PyPI `mlp-kan`), "linear interpolation version".
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_x: int = 64,  # as in mlp-kan, whose layer this replaces; conf/ has 64 intervals
        x_min: float = -2.0,
        x_max: float = 2.0,
        outside: str = "linear",
        generator: torch.Generator | None = None,
    ) -> None:
        RULES.check(type(self).__name__, num_x=num_x, outside=outside)
        super().__init__(dim_in, dim_out, num_x - 1, 1, x_min, x_max)
        self.outside = outside
        self.reset_parameters(generator)

    @property
    def num_x(self) -> int:
        return self.num_intervals + 1

    @property
    def only_splines(self) -> bool:
        return self.outside == "linear"

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor, Grid]:
        x, table, grid = super()._read(x)
        if self.outside == "zero":  # one more knot on both sides, where the edge has fallen to zero
            table = functional.pad(table, (0, 0, 1, 1))
            grid = grid._replace(first=grid.first - grid.spacing)
        if self.outside != "linear":
            width = (table.shape[-2] - 1) * grid.spacing
            x = x.clamp(grid.first.unsqueeze(-2), (grid.first + width).unsqueeze(-2))
        return x, table, grid

    def _basis(self, x: Tensor) -> Tensor:
        basis = super()._basis(x)
        return basis[..., 1:-1] if self.outside == "zero" else basis

    @classmethod
    def count_intervals(cls, options: Mapping[str, Any]) -> int | None:
        return RULES.count_intervals(options)

    @classmethod
    def with_intervals(cls, options: Mapping[str, Any], num_intervals: int) -> dict[str, Any]:
        return RULES.with_intervals(options, num_intervals)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_x={self.num_x}, outside={self.outside}"


def smooth_penalty(model: nn.Module) -> Tensor:
    """The roughness penalty of `mlp-kan`: per table layer the norm of all slopes, summed.

    Args:
        model: A layer, or a module that holds layers; those that are no tables add nothing.

    Returns:
        A scalar: the sum over layers of `||differences of neighboring knots / spacing||_2`.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, KANInterpoLayer)]
    if layers:
        return torch.stack([torch.linalg.vector_norm(layer.slopes()) for layer in layers]).sum()
    like = next(model.parameters(), torch.zeros(()))
    return like.new_zeros(())
