"""Edges that are a base function and Gaussian bumps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.layers.basis import BasisLayer
from kan_exp.layers.rules import KINDS

# Variance of silu(x) for x ~ N(0, 1).
SILU_VARIANCE = 0.3131


class KANRBFLayer(BasisLayer):
    """Edges that are a base function and Gaussians at evenly spaced centers.

    Far from the centers only the base is left, which keeps gradients alive.

    Args:
        num_centers: Gaussians per edge, at least 2; their width is the distance of two centers.
        x_min, x_max: First and last center.
        base: `linear` or `silu`; `auto` is `silu`, in whose place a training that finds the
            smoothness of edges from the data takes `linear`.

    Shape:
        Parameter `coefficients` `(dim_in, num_centers + 1, dim_out)`, the base first.

    Source:
        Z. Li, "Kolmogorov-Arnold Networks are Radial Basis Function Networks", arXiv 2405.06721.
    """

    centers: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_centers: int = 8,
        x_min: float = -2.0,
        x_max: float = 2.0,
        base: str = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        KINDS["KANRBFLayer"].check(type(self).__name__, num_centers=num_centers, base=base)
        self.num_centers = num_centers
        self.base = base
        super().__init__(dim_in, dim_out, num_centers + 1, x_min, x_max, generator)
        centers = torch.linspace(self.x_min, self.x_max, num_centers)
        self.register_buffer("centers", centers, persistent=False)

    def basis(self, x: Tensor) -> Tensor:
        spacing = 2 * self._half / (self.num_centers - 1)
        bumps = torch.exp(-((x.unsqueeze(-1) - self.centers) / spacing).square())
        base = x if self.base == "linear" else functional.silu(x)
        return torch.cat([base.unsqueeze(-1), bumps], dim=-1)

    def line(self) -> Tensor:
        coefficients = torch.zeros(self.num_centers + 1)
        coefficients[0] = 1.0 if self.base == "linear" else SILU_VARIANCE**-0.5
        return coefficients
