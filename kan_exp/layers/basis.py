"""Edges that are weighted sums of functions which all edges of a layer share."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer


class BasisLayer(EdgeLayer):
    """Edges `f_ij(x) = sum over k of coefficients[i, k, j] * basis_k(x)`.

    A kind of basis defines `basis` and `line`; the layer is then one matrix product.

    Args:
        count: Number of basis functions.
        x_min, x_max: The range for which the basis is made.

    Shape:
        Parameter `coefficients` `(dim_in, count, dim_out)`.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        count: int,
        x_min: float,
        x_max: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min, x_max)
        self.coefficients = nn.Parameter(torch.empty(dim_in, count, dim_out))
        self.reset_parameters(generator)

    @abstractmethod
    def basis(self, x: Tensor) -> Tensor:
        """Values of all basis functions: `(batch, dim_in)` -> `(batch, dim_in, count)`."""

    @abstractmethod
    def line(self) -> Tensor:
        """Coefficients `(count,)` of a function that varies like `x` with slope 1."""

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws straight lines of slopes with variance `1 / dim_in`, which preserves variance."""
        slope = torch.empty_like(self.coefficients[:, :1]).normal_(generator=generator)
        line = self.line().to(self.coefficients)
        self.coefficients.copy_(slope * line[:, None] / math.sqrt(self.dim_in))

    def edges(self, x: Tensor) -> Tensor:
        return torch.einsum("bik,ikj->bij", self.basis(self._batch(x)), self.coefficients)

    def forward(self, x: Tensor) -> Tensor:
        return self.basis(self._batch(x)).flatten(1) @ self.coefficients.flatten(0, 1)

    def sample_gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        return [torch.einsum("bik,bj->bikj", self.basis(x), grad)]

    @property
    def numbers_per_sample(self) -> int:
        return self.dim_in * max(self.dim_out, self.coefficients.shape[1])

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, x_min={self.x_min:g}, x_max={self.x_max:g}"
