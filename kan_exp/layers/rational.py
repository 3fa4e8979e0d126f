"""Edges that are quotients of polynomials."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.rules import KINDS


class KANRationalLayer(EdgeLayer):
    """Edges `P(x) / sqrt(1 + Q(x)^2)`: a safe Pade approximant, which has no poles.

    P is of one degree more than Q, so that an edge grows like a straight line far outside.

    Args:
        degree: Degree of P, 2 to 8.
        x_min, x_max: The range in which the edges start out.

    Shape:
        Parameters `numerator` `(dim_in, degree + 1, dim_out)`, from the constant up, and
        `denominator` `(dim_in, degree - 1, dim_out)`, from the linear term up.

    Source:
        Molina et al., "Pade Activation Units", arXiv 1907.06732, section 2.2; there the denominator
        is 1 + |Q|, whose slope jumps where Q passes zero.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        degree: int = 5,
        x_min: float = -2.0,
        x_max: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min, x_max)
        KINDS["KANRationalLayer"].check(type(self).__name__, degree=degree)
        self.degree = degree
        self.numerator = nn.Parameter(torch.empty(dim_in, degree + 1, dim_out))
        self.denominator = nn.Parameter(torch.empty(dim_in, degree - 1, dim_out))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws edges that are nearly straight lines, as in the other kinds of layers."""
        self.numerator.zero_()
        slope = self.numerator[:, 1]
        slope.normal_(std=self._half / math.sqrt(self.dim_in), generator=generator)
        # Exactly zero it would have no gradient.
        self.denominator.normal_(std=0.05, generator=generator)

    def edges(self, x: Tensor) -> Tensor:
        unit = self._unit(self._batch(x))
        # Powers of large inputs overflow: both polynomials are divided by that of the size.
        size = unit.abs().clamp(min=1).unsqueeze(-1)
        up, down = unit.unsqueeze(-1) / size, 1 / size
        above = _homogeneous(up, down, self.degree, self.numerator, 0)
        below = _homogeneous(up, down, self.degree - 1, self.denominator, 1)
        one = down.pow(2 * (self.degree - 1))
        tiny = torch.finfo(unit.dtype).tiny
        return size * above / (one + below.square()).clamp(min=tiny).sqrt()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, degree={self.degree}"


def _homogeneous(up: Tensor, down: Tensor, degree: int, factors: Tensor, lowest: int) -> Tensor:
    """Sums `factors * up^k * down^(degree - k)` for k from `lowest`, `(batch, in, out)`."""
    terms = [up**k * down ** (degree - k) for k in range(lowest, degree + 1)]
    return torch.einsum("bik,ikj->bij", torch.cat(terms, dim=-1), factors)
