"""The contract of a KAN layer: a grid of functions of one variable, summed into outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from kan_exp.layers.rules import Whole, check_range
from kan_exp.layers.stacking import over_replicas

EdgeFunction = Callable[[Tensor], Tensor]

SLOPE_POINTS = 129


class WholeBatch(NamedTuple):
    """A batch that is shared by several processes.

    Args:
        size: Samples of the whole batch.
        maximum: Takes a tensor of this process and returns the elementwise maximum over all of
            them, without a gradient. All processes must call it.
    """

    size: int
    maximum: Callable[[Tensor], Tensor]


class EdgeLayer(nn.Module, ABC):
    """A layer whose output `j` is the sum over inputs `i` of an edge function `f_ij(x_i)`.

    A kind of edge defines `edges`; everything else follows from it. A kind may override `forward`
    with a faster path that gives the same sum.

    Args:
        dim_in: Number of inputs.
        dim_out: Number of outputs.
        x_min: Low end of the range on which the edges start out.
        x_max: High end of that range.

    Shape:
        x `(batch, dim_in)` -> `(batch, dim_out)`; one sample `(dim_in,)` -> `(1, dim_out)`.
        Buffer `domain` `(dim_in, 2)`: per input the low and high end of the values that it was
        trained on, which is the starting range until `observe` is called.
        `smoothed_range` `(dim_in, 2)`: where `roughness` is measured, the `domain` unless a kind
        says otherwise.

    Attributes:
        whole_batch: Set while several processes train on a share of each batch. A kind whose
            outputs depend on other samples of the batch must ask it what the whole batch is like.

    Raises:
        ValueError: A dimension is no whole number above 0, an end of the range is no finite
            number, or `x_min >= x_max`.
    """

    domain: Tensor
    whole_batch: WholeBatch | None = None

    def __init__(self, dim_in: int, dim_out: int, x_min: float, x_max: float) -> None:
        super().__init__()
        self.dim_in = self._whole("dim_in", dim_in, least=1)
        self.dim_out = self._whole("dim_out", dim_out, least=1)
        check_range(type(self).__name__, x_min, x_max)
        ends = [float(x_min), float(x_max)]
        self.register_buffer("domain", torch.tensor([ends] * dim_in))

    @abstractmethod
    def edges(self, x: Tensor) -> Tensor:
        """Evaluates every edge: `(batch, dim_in)` -> `(batch, dim_in, dim_out)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Sums the edges into the outputs: `(batch, dim_in)` -> `(batch, dim_out)`."""
        return self.edges(x).sum(dim=1)

    def edge(self, i: int, j: int) -> EdgeFunction:
        """Returns the edge from input `i` to output `j` as a function of a tensor of any shape.

        Raises:
            IndexError: There is no such input or output.
        """
        if not (0 <= i < self.dim_in and 0 <= j < self.dim_out):
            raise IndexError(f"{self} has no edge ({i}, {j}).")

        def function(x: Tensor) -> Tensor:
            column = x.reshape(-1, 1)
            others = column.new_zeros(len(column), self.dim_in)
            return self.edges(others.index_copy(1, _index(i, x), column))[:, i, j].reshape(x.shape)

        return function

    def take_function(self, i: int, j: int) -> EdgeFunction:
        """The name that the `mlp-kan` package gives `edge`."""
        return self.edge(i, j)

    @property
    def smoothed_range(self) -> Tensor:
        """The low and high end, per input, between which `roughness` is measured, `(dim_in, 2)`.

        Edges on a grid have theirs from end to end of the grid, whatever values reach them:
        coefficients without samples are held by the penalty alone.
        """
        return self.domain

    def roughness(self, order: int = 1) -> Tensor:
        """Each edge's mean squared derivative over `smoothed_range`, `(dim_in, dim_out)`.

        Args:
            order: Of the derivative: 1 for slopes, 2 for bends. The unit is that of the output per
                that of the input to this power, whatever the edge is made of.
        """
        return self.slopes(order).square().mean(0)

    def slopes(self, order: int = 1) -> Tensor:
        """Derivatives over `smoothed_range`, whose mean square is `roughness`.

        They are taken at evenly spaced points, `(points, dim_in, dim_out)`.
        """
        order = self._whole("order", order, least=1)
        low, high = self.smoothed_range.unbind(1)
        steps = torch.arange(SLOPE_POINTS, device=low.device, dtype=low.dtype)
        unit = (steps + 0.5) / SLOPE_POINTS
        points = torch.lerp(low, high, unit[:, None])
        derivative: EdgeFunction = self.edges
        for _ in range(order):  # exact: differences would be rounding noise on a narrow domain
            derivative = _derivative(derivative)
        return derivative(points)

    def forward_stacked(self, x: Tensor) -> Tensor:
        """`forward` of many replicas, where this layer is part of what `stack_networks` returns.

        A kind may override it with a faster path that gives the same.

        Args:
            x: Inputs of each replica, `(replicas, batch, dim_in)`.

        Returns:
            `(replicas, batch, dim_out)`.
        """
        found: Tensor = over_replicas(self, lambda layer, x: layer(x), x)
        return found

    def roughness_stacked(self, order: int = 1) -> Tensor:
        """The mean of `roughness` over edges, `(replicas,)`, of a stacked layer."""
        found: Tensor = over_replicas(self, lambda layer: layer.roughness(order).mean())
        return found

    @staticmethod
    def magnitude(edges: Tensor) -> Tensor:
        """Mean absolute value (L1) of edge values `(batch, dim_in, dim_out)`."""
        return edges.abs().mean()

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Sets `domain` to the range of the values `x` `(batch, dim_in)` that reach this layer."""
        x = self._batch(x)
        self.domain.copy_(torch.stack([x.amin(0), x.amax(0)], dim=1))

    def sample_gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        """Gradients of each sample by itself, which `backward` would add up.

        Args:
            x: Inputs `(batch, dim_in)`.
            grad: Gradient of something with respect to the outputs, `(batch, dim_out)`.

        Returns:
            For each parameter, in their order, `(batch, *parameter.shape)`.
        """
        parameters = dict(self.named_parameters())

        def gradients(sample: Tensor, slope: Tensor) -> dict[str, Tensor]:
            def outputs(parameters: dict[str, Tensor]) -> Tensor:
                return cast(Tensor, functional_call(self, parameters, (sample.unsqueeze(0),)))

            (found,) = vjp(outputs, parameters)[1](slope.unsqueeze(0))
            return cast("dict[str, Tensor]", found)

        found = vmap(gradients)(x, grad)
        return [found[name] for name in parameters]

    @classmethod
    def with_intervals(cls, options: Mapping[str, Any], num_intervals: int) -> dict[str, Any]:
        """The options with so many cells per edge; unchanged where edges have no cells."""
        return dict(options)

    @classmethod
    def count_intervals(cls, options: Mapping[str, Any]) -> int | None:
        """How many cells the edges of a layer with these options have, where they have any."""
        return None

    def present_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with which a layer of the present sizes is made."""
        return dict(options)

    @classmethod
    def options_at(cls, depth: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a layer at a place in a network, 0 being the first."""
        return dict(options)

    @property
    def numbers_per_sample(self) -> int:
        """How many numbers a forward pass holds per sample at most: what its memory grows with."""
        return self.dim_in * self.dim_out

    @property
    def sums_splines(self) -> bool:
        """Whether it is evaluated by `spline_sum`, whose rounding depends on the kernel."""
        return False

    def extra_repr(self) -> str:
        return f"dim_in={self.dim_in}, dim_out={self.dim_out}"

    def _batch(self, x: Tensor) -> Tensor:
        """Checks what came in and gives it a batch dimension."""
        batch = x.unsqueeze(0) if x.ndim == 1 else x
        if batch.ndim != 2 or batch.shape[1] != self.dim_in:
            raise ValueError(
                f"{type(self).__name__}(dim_in={self.dim_in}, dim_out={self.dim_out}) takes x of "
                f"shape (batch, {self.dim_in}), got {tuple(x.shape)}."
            )
        return batch

    def _whole(self, name: str, value: int, least: int) -> int:
        Whole(least).check(type(self).__name__, name, value)
        return value


def _derivative(function: EdgeFunction) -> EdgeFunction:
    return lambda x: cast(Tensor, jvp(function, (x,), (torch.ones_like(x),))[1])


def _index(i: int, like: Tensor) -> Tensor:
    return torch.tensor([i], device=like.device)
