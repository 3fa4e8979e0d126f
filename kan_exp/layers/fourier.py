"""Edges that are Fourier series, with a straight line."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kan_exp.layers.basis import BasisLayer
from kan_exp.layers.rules import KINDS


class KANFourierLayer(BasisLayer):
    """Edges that are a straight line and a Fourier series whose period is the range.

    The line carries the part that is not periodic; the waves continue beyond the range.

    Args:
        num_frequencies: Sines and cosines with 1 to this many periods in the range, at least 1.
        x_min, x_max: The range.

    Shape:
        Parameter `coefficients` `(dim_in, 2 + 2 num_frequencies, dim_out)`: constant, line,
        cosines, sines.

    Source:
        Xu et al., "FourierKAN-GCF", arXiv 2406.01034; the line is added here.
    """

    frequencies: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_frequencies: int = 5,
        x_min: float = -2.0,
        x_max: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> None:
        KINDS["KANFourierLayer"].check(type(self).__name__, num_frequencies=num_frequencies)
        self.num_frequencies = num_frequencies
        super().__init__(dim_in, dim_out, 2 + 2 * num_frequencies, x_min, x_max, generator)
        frequencies = math.pi * torch.arange(1.0, num_frequencies + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def basis(self, x: Tensor) -> Tensor:
        unit = self._unit(x).unsqueeze(-1)
        phase = unit * self.frequencies
        return torch.cat([1 + 0 * unit, unit, phase.cos(), phase.sin()], dim=-1)

    def line(self) -> Tensor:
        coefficients = torch.zeros(2 + 2 * self.num_frequencies)
        coefficients[1] = self._half
        return coefficients
