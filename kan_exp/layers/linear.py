"""Edges that only scale a fixed activation: the layers of an ordinary MLP, for comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.rules import KINDS

# Each with its variance for x ~ N(0, 1).
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "silu": (functional.silu, 0.3131),
    "gelu": (functional.gelu, 0.3456),
    "relu": (functional.relu, 0.3408),
    "tanh": (torch.tanh, 0.3943),
    "none": (lambda x: x, 1.0),
}


class KANLinearLayer(EdgeLayer):
    """Edges `w_ij * activation(x)`: an activation and `nn.Linear`, in that order.

    In a network the first layer takes its inputs as they are, so that `dims=[2,64,64,1]` is the
    usual MLP of two hidden layers.

    Args:
        activation: `silu`, `gelu`, `relu`, `tanh` or `none`.

    Shape:
        Parameters `weight` `(dim_out, dim_in)` and `bias` `(dim_out,)`, as `nn.Linear` has them.
        Each of the edges to an output has an equal share of its bias.
    """

    straight_beyond = True  # or nearly: activations are at most as steep as lines

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min=-1.0, x_max=1.0)
        KINDS["KANLinearLayer"].check(type(self).__name__, activation=activation)
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in))
        self.bias = nn.Parameter(torch.empty(dim_out))
        self.reset_parameters(generator)

    @classmethod
    def options_at(cls, depth: int, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**options, "activation": "none"} if depth == 0 else dict(options)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws weights that preserve variance, and biases that spread the activations' bends."""
        _, variance = ACTIVATIONS[self.activation]
        self.weight.normal_(std=1 / math.sqrt(variance * self.dim_in), generator=generator)
        self.bias.normal_(std=0.5, generator=generator)

    def edges(self, x: Tensor) -> Tensor:
        function, _ = ACTIVATIONS[self.activation]
        active = function(self._batch(x)).unsqueeze(-1)
        return active * self.weight.T + self.bias / self.dim_in

    def forward(self, x: Tensor) -> Tensor:
        function, _ = ACTIVATIONS[self.activation]
        return functional.linear(function(self._batch(x)), self.weight, self.bias)

    def sample_gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        function, _ = ACTIVATIONS[self.activation]
        return [torch.einsum("bi,bj->bji", function(x), grad), grad]

    @torch.no_grad()
    def keep_share(self, share: float) -> None:
        self.bias.mul_(share)

    @torch.no_grad()
    def imitate(self, points: Tensor, edges: Callable[[Tensor], Tensor]) -> None:
        function, _ = ACTIVATIONS[self.activation]
        active, values = function(self._batch(points)).double(), edges(points).double()
        mean = active.mean(0)
        centered = (active - mean).unsqueeze(-1)
        size = centered.square().sum(0).clamp(min=torch.finfo(torch.float64).tiny)
        slopes = (centered * values).sum(0) / size  # (in, out)
        self.weight.copy_(slopes.T)
        self.bias.copy_((values.mean(0) - slopes * mean[:, None]).sum(0))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"
