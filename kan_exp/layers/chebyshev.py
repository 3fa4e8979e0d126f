"""Edges that are polynomials, as sums of Chebyshev's."""

from __future__ import annotations

import torch
from torch import Tensor

from kan_exp.layers.basis import BasisLayer
from kan_exp.layers.rules import KINDS


class KANChebyshevLayer(BasisLayer):
    """Polynomial edges: a sum of Chebyshev polynomials of the first kind.

    Beyond the range, where polynomials explode, an edge is a straight line.

    Args:
        degree: Highest degree, at least 1.
        x_min, x_max: The range that is mapped to -1 to 1.

    Shape:
        Parameter `coefficients` `(dim_in, degree + 1, dim_out)`.

    Source:
        SS et al., "Chebyshev Polynomial-Based Kolmogorov-Arnold Networks", arXiv 2405.07200; there
        tanh maps the inputs to -1 to 1.
    """

    end_slopes: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        degree: int = 8,
        x_min: float = -2.0,
        x_max: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> None:
        KINDS["KANChebyshevLayer"].check(type(self).__name__, degree=degree)
        self.degree = degree
        super().__init__(dim_in, dim_out, degree + 1, x_min, x_max, generator)
        order = torch.arange(degree + 1.0)
        # T_k' is k^2 at 1 and (-1)^(k + 1) k^2 at -1.
        slopes = torch.stack([order.square() * (-1) ** (order + 1), order.square()])
        self.register_buffer("end_slopes", slopes, persistent=False)

    def basis(self, x: Tensor) -> Tensor:
        unit = self._unit(x)
        inside = unit.clamp(-1, 1)
        beyond = (unit - inside).unsqueeze(-1)
        terms = [1 + 0 * inside, inside]
        for _ in range(2, self.degree + 1):
            terms.append(2 * inside * terms[-1] - terms[-2])
        low, high = self.end_slopes
        polynomials = torch.stack(terms, dim=-1)
        return polynomials + beyond.clamp(max=0) * low + beyond.clamp(min=0) * high

    def line(self) -> Tensor:
        coefficients = torch.zeros(self.degree + 1)
        coefficients[1] = self._half
        return coefficients
