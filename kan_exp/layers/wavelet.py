"""Edges that are sums of wavelets."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer

PEAK = 2 / (math.sqrt(3) * math.pi**0.25)  # of the wavelet with norm 1


class KANWaveletLayer(EdgeLayer):
    """Edges that are a straight line and Mexican hats, each with a place and a width of its own.

    The hat is `(1 - t^2) exp(-t^2 / 2)` times a constant, `t = (x - translation) / scale`. Far from
    all hats only the line is left, which keeps gradients alive there.

    Args:
        num_wavelets: Hats per edge, at least 1.
        x_min, x_max: The range over which the hats start out evenly.

    Shape:
        Parameters `weight`, `translation` and `log_scale` `(dim_in, num_wavelets, dim_out)`,
        `slope` `(dim_in, dim_out)`.

    Source:
        Z. Bozorgasl and H. Chen, "Wav-KAN: Wavelet Kolmogorov-Arnold Networks", arXiv 2405.12832,
        section 2 and table 1; there one hat an edge, and a batch norm after each layer.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_wavelets: int = 4,
        x_min: float = -2.0,
        x_max: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min, x_max)
        self.num_wavelets = self._whole("num_wavelets", num_wavelets)
        shape = dim_in, num_wavelets, dim_out
        self.weight = nn.Parameter(torch.empty(shape))
        self.translation = nn.Parameter(torch.empty(shape))
        self.log_scale = nn.Parameter(torch.empty(shape))
        self.slope = nn.Parameter(torch.empty(dim_in, dim_out))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws lines and small hats; the hats are spread evenly, and as wide as they are apart."""
        width = (self.x_max - self.x_min) / self.num_wavelets
        centers = self.x_min + width * (torch.arange(self.num_wavelets) + 0.5)
        self.translation.copy_(centers[:, None].expand_as(self.translation))
        self.log_scale.fill_(math.log(width))
        std = 1 / math.sqrt(self.dim_in)
        self.slope.normal_(std=std, generator=generator)
        self.weight.normal_(std=0.1 * std, generator=generator)

    def edges(self, x: Tensor) -> Tensor:
        x = self._batch(x)[:, :, None]
        # (batch, in, wavelets, out); its square would overflow where the hat is zero anyway.
        t = ((x[..., None] - self.translation) * (-self.log_scale).exp()).clamp(-1e3, 1e3).square()
        hats = PEAK * (1 - t) * (-t / 2).exp()
        return self.slope * x + (self.weight * hats).sum(2)

    @property
    def numbers_per_sample(self) -> int:
        return self.dim_in * self.num_wavelets * self.dim_out

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_wavelets={self.num_wavelets}"
