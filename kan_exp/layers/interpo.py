"""Edges that are tables: values at evenly spaced knots, straight lines between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kan_exp.layers.base import EdgeLayer

OUTSIDE = ("linear", "hold", "zero")


class KANInterpoLayer(EdgeLayer):
    """Piecewise-linear edges: one trainable value per edge and knot.

    A sample reads the two knots beside it, so time and memory do not depend on their number.

    Args:
        dim_in: Number of inputs.
        dim_out: Number of outputs.
        num_x: Knots per edge, at least 2.
        x_min: First knot, in the units of the layer's input.
        x_max: Last knot.
        outside: Beyond the knots an edge goes on along its last segment (`linear`), keeps its last
            value (`hold`), or falls to zero within one more cell (`zero`, as `mlp-kan` does).
        generator: Source of the random start; torch's default generator if not given.

    Shape:
        x `(batch, dim_in)` -> `(batch, dim_out)`; parameter `values` `(dim_in, num_x, dim_out)`,
        with the outputs last so that a sample's read at a knot is one contiguous row.

    Raises:
        ValueError: A size is out of range, `x_min >= x_max`, or `outside` is unknown.

    Source:
        Y. Zhang, MLP-KAN (PyPI `mlp-kan`), "linear interpolation version".
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_x: int = 64,
        x_min: float = -2.0,
        x_max: float = 2.0,
        outside: str = "linear",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min, x_max)
        self.num_x = self._whole("num_x", num_x, least=2)
        self.x_min = float(x_min)
        self.x_max = float(x_max)
        self.outside = self._one_of("outside", outside, OUTSIDE)
        self.values = nn.Parameter(torch.empty(dim_in, num_x, dim_out))
        self.reset_parameters(generator)

    @property
    def spacing(self) -> float:
        """Distance between two knots."""
        return (self.x_max - self.x_min) / (self.num_x - 1)

    @property
    def knots(self) -> Tensor:
        """Positions of the knots, `(num_x,)`."""
        return torch.linspace(self.x_min, self.x_max, self.num_x).to(self.values)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws straight lines through the middle of the grid.

        A line's variance is its input's times the squared slope, whatever the number of knots and
        however the input is distributed; slopes of variance `1 / dim_in` preserve it at any width.
        """
        slope = torch.empty_like(self.values[:, :1]).normal_(generator=generator)
        centred = self.knots - (self.x_min + self.x_max) / 2
        self.values.copy_(slope * centred[:, None] / math.sqrt(self.dim_in))

    def edges(self, x: Tensor) -> Tensor:
        x = self._batch(x)
        if self.outside == "hold":
            x = x.clamp(self.x_min, self.x_max)
        position = (x - self.x_min) / self.spacing  # in cells
        # A NaN must come out as NaN; as an index it would end the program.
        cell = position.detach().floor().nan_to_num(nan=0.0).clamp(0, self.num_x - 2)
        fraction = (position - cell).unsqueeze(-1)  # (batch, in, 1); outside [0, 1] it extrapolates

        # One embedding over all inputs' tables: its backward adds up rows faster than indexing's.
        row = cell.long() + self.num_x * torch.arange(self.dim_in, device=x.device)
        table = self.values.flatten(0, 1)  # (in * num_x, out)
        low, high = functional.embedding(row, table), functional.embedding(row + 1, table)
        if self.outside == "zero":
            inside = torch.lerp(low, high, fraction.clamp(0, 1))
            beyond = (position - position.clamp(0, self.num_x - 1)).abs().unsqueeze(-1)
            return inside * (1 - beyond).clamp(min=0)
        return torch.lerp(low, high, fraction)

    def roughness(self) -> Tensor:
        """Mean over edges of the mean squared slope on the whole grid, exact."""
        return (self.values.diff(dim=1) / self.spacing).square().mean()

    def extra_repr(self) -> str:
        grid = f"num_x={self.num_x}, x_min={self.x_min:g}, x_max={self.x_max:g}"
        return f"{super().extra_repr()}, {grid}, outside={self.outside}"


def smooth_penalty(model: nn.Module) -> Tensor:
    """The roughness penalty of `mlp-kan`: per table layer the norm of all slopes, summed.

    Args:
        model: A layer, or a module that holds layers; those that are no tables add nothing.

    Returns:
        A scalar: the sum over layers of `||differences of neighbouring knots||_2 / spacing`.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, KANInterpoLayer)]
    norms = [torch.linalg.vector_norm(layer.values.diff(dim=1)) / layer.spacing for layer in layers]
    if norms:
        return torch.stack(norms).sum()
    like = next(model.parameters(), torch.zeros(()))
    return like.new_zeros(())
