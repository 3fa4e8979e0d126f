"""Edges that are small neural networks over sines and cosines of their input."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kan_exp.layers.base import EdgeLayer

# Each of these satisfies a(z) - a(-z) = z, on which the start below rests.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "softplus": functional.softplus,
}


class KANLayer(EdgeLayer):
    """One MLP with one hidden layer per edge, on a positional encoding of the input.

    The edge reads `[x, sin(2^k x), cos(2^k x)]` for `k < fcn_n_sin`, which is computed once per
    input. The start preserves variance at any width: hidden units come in pairs with opposite
    weights, so that an edge begins as a nearly straight line and bends as it learns.

    Args:
        dim_in: Number of inputs.
        dim_out: Number of outputs.
        fcn_hidden: Hidden units per edge, at least 1.
        fcn_n_sin: Frequencies in the positional encoding, 0 or more.
        activation: `silu`, `gelu`, `relu` or `softplus`.
        generator: Source of the random start; torch's default generator if not given.

    Shape:
        x `(batch, dim_in)` -> `(batch, dim_out)`; parameters `hidden_weight`
        `(dim_in, dim_out, fcn_hidden, 1 + 2 fcn_n_sin)`, `hidden_bias` and `output_weight`
        `(dim_in, dim_out, fcn_hidden)`, `output_bias` `(dim_in, dim_out)`.

    Raises:
        ValueError: A size is out of range, or the activation is unknown.

    Source:
        Y. Zhang, MLP-KAN (PyPI `mlp-kan`), after Liu et al., "KAN: Kolmogorov-Arnold Networks",
        arXiv 2404.19756, section 2.2; positional encoding as in Mildenhall et al., "NeRF",
        arXiv 2003.08934, section 5.1.
    """

    frequencies: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        fcn_hidden: int = 32,
        fcn_n_sin: int = 3,
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min=-1.0, x_max=1.0)
        self.fcn_hidden = self._whole("fcn_hidden", fcn_hidden, least=1)
        self.fcn_n_sin = self._whole("fcn_n_sin", fcn_n_sin, least=0)
        self.activation = self._one_of("activation", activation, tuple(ACTIVATIONS))
        self.register_buffer("frequencies", 2.0 ** torch.arange(fcn_n_sin), persistent=False)
        hidden = (dim_in, dim_out, fcn_hidden)
        self.hidden_weight = nn.Parameter(torch.empty(*hidden, 1 + 2 * fcn_n_sin))
        self.hidden_bias = nn.Parameter(torch.empty(hidden))
        self.output_weight = nn.Parameter(torch.empty(hidden))
        self.output_bias = nn.Parameter(torch.empty(dim_in, dim_out))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws a new start in which `x` of unit variance gives outputs of unit variance."""
        # High frequencies start small: the first picture of an edge is smooth, not noise.
        damping = 4.0 ** -torch.arange(self.fcn_n_sin)
        scale = torch.cat([torch.ones(1), damping, damping])
        # For x ~ N(0, 1), sin(wx) and cos(wx) together have variance 1 - exp(-w^2).
        variance = 1 + (damping.square() * (1 - torch.exp(-self.frequencies.cpu().square()))).sum()
        pairs = self.fcn_hidden // 2
        output_std = 1 / math.sqrt(variance * max(1, pairs) * self.dim_in)

        self.hidden_weight.normal_(generator=generator).mul_(scale.to(self.domain))
        self.hidden_bias.normal_(std=0.5, generator=generator)
        self.output_weight.normal_(std=output_std, generator=generator)
        self.output_bias.zero_()
        for part in (self.hidden_weight, self.hidden_bias, self.output_weight):
            part[:, :, pairs : 2 * pairs] = -part[:, :, :pairs]
        if pairs:
            self.output_weight[:, :, 2 * pairs :] = 0  # the odd one out has no partner to cancel it

    def edges(self, x: Tensor) -> Tensor:
        hidden = self._hidden(self._batch(x))  # (in, batch, out, hidden)
        values = (hidden * self.output_weight.unsqueeze(1)).sum(-1)  # (in, batch, out)
        return values.transpose(0, 1) + self.output_bias

    def forward(self, x: Tensor) -> Tensor:
        hidden = self._hidden(self._batch(x))
        return torch.einsum("iboh,ioh->bo", hidden, self.output_weight) + self.output_bias.sum(0)

    @property
    def numbers_per_sample(self) -> int:
        return self.dim_in * self.dim_out * self.fcn_hidden

    def _hidden(self, x: Tensor) -> Tensor:
        """Hidden activations of every edge, `(in, batch, out, hidden)`."""
        phase = x.unsqueeze(-1) * self.frequencies.to(x)
        features = torch.cat([x.unsqueeze(-1), phase.sin(), phase.cos()], dim=-1).transpose(0, 1)
        weight = self.hidden_weight.flatten(1, 2).transpose(1, 2)  # (in, features, out * hidden)
        hidden = torch.baddbmm(self.hidden_bias.flatten(1).unsqueeze(1), features, weight)
        hidden = ACTIVATIONS[self.activation](hidden)
        return hidden.unflatten(-1, (self.dim_out, self.fcn_hidden))
