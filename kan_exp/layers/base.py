"""The contract of a KAN layer: a grid of functions of one variable, reduced to outputs."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.func import functional_call, jvp, vjp, vmap

from kan_exp.layers.imitation import imitate, with_margins
from kan_exp.layers.rules import Whole, check_range
from kan_exp.layers.sparse_edges import SparseEdges
from kan_exp.layers.stacking import over_replicas

EdgeFunction = Callable[[Tensor], Tensor]

SLOPE_POINTS = 129
STEP = 1 / 20  # of a range, over which the slope at its ends is taken: edges may wave there
FUSED = (
    *("forward", "forward_stacked", "edge_derivatives", "sample_gradients"),
    "roughness_stacked",
)


class WholeBatch(NamedTuple):
    """A batch that is shared by several processes.

    Args:
        size: Samples of the whole batch.
        maximum: Returns the elementwise maximum of a tensor over all processes, without a
            gradient. All of them must call it.
    """

    size: int
    maximum: Callable[[Tensor], Tensor]


class EdgeLayer(SparseEdges, ABC):
    """A layer whose output `j` is the sum over inputs `i` of an edge function `f_ij(x_i)`.

    With `node_operation` an output is the product instead; `set_mask` removes edges, `straighten`
    replaces some by straight lines, and `set_limits` makes all straight beyond a range.

    A kind of edge defines `edges`; everything else follows from it. It may override the methods in
    `FUSED` with faster ones, which are called only while all edges exist, none is straightened and
    all outputs are sums, without limits, and `slopes`. Where an edge is straight, or does not
    exist, the values that `edges` and `slopes` return are replaced.

    Args:
        dim_in: Number of inputs.
        dim_out: Number of outputs.
        x_min: Low end of the range on which the edges start out.
        x_max: High end of that range.
        generator: An argument of concrete kinds: source of the random start; torch's default
            generator if not given.

    Shape:
        x `(batch, dim_in)` -> `(batch, dim_out)`; one sample `(dim_in,)` -> `(1, dim_out)`.
        Buffer `domain` `(dim_in, 2)`: per input the range of the values that it was trained on, the
        starting range until `observe` is called. Those of `SparseEdges`.

    Attributes:
        whole_batch: Set while several processes train on a share of each batch. A kind whose
            outputs depend on other samples of the batch must use it.

    Raises:
        ValueError: A dimension is no whole number above 0, an end of the range is no finite
            number, `x_min >= x_max`, or an option of the kind breaks its rule.
    """

    whole_batch: WholeBatch | None = None

    def __init__(self, dim_in: int, dim_out: int, x_min: float, x_max: float) -> None:
        super().__init__(self._whole("dim_in", dim_in), self._whole("dim_out", dim_out))
        check_range(type(self).__name__, x_min, x_max)
        self.x_min, self.x_max = float(x_min), float(x_max)
        self.register_buffer("domain", torch.tensor([[self.x_min, self.x_max]] * dim_in))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes what a kind defines respect masks, straight edges and product nodes."""
        super().__init_subclass__(**kwargs)
        wrappers = {"edges": _sparse_edges, "slopes": _sparse_slopes}
        for name in {*FUSED, *wrappers} & vars(cls).keys():
            method = vars(cls)[name]
            wrapped = _fused(name, method) if name in FUSED else wrappers[name](method)
            setattr(cls, name, wrapped)

    @abstractmethod
    def edges(self, x: Tensor) -> Tensor:
        """Evaluates every edge, `(batch, dim_in)` -> `(batch, dim_in, dim_out)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Evaluates the outputs, `(batch, dim_in)` -> `(batch, dim_out)`."""
        return self.reduce(self.edges(x))

    @torch.no_grad()
    def straighten(self, straight: Tensor | None, points: Tensor | None = None) -> None:
        """Chooses the edges that are straight lines; each starts as the nearest to the edge.

        Args:
            straight: Booleans `(dim_in, dim_out)`, or `None` for no straight edges. Like a mask, it
                is part of the state dict, with the `lines`.
            points: Where lines and edges are compared, `(n, dim_in)`; the ends of the `domain` if
                not given.

        Raises:
            ValueError: `straight` has another shape or another dtype.
        """
        lines = None
        if straight is not None:
            self._check_mask(straight)
            points = self.domain.T if points is None else self._batch(points)
            lines = nearest_lines(points, self.edges(points))
        self._set_optional("straight", straight)
        self._set_optional("lines", lines)

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
            index = torch.tensor([i], device=x.device)
            return self.edges(others.index_copy(1, index, column))[:, i, j].reshape(x.shape)

        return function

    def labels(self, names: Sequence[str]) -> list[list[str]] | None:
        """Formulas of the edges, `(in, out)`, if they are known functions; else None.

        Args:
            names: Of the inputs.
        """
        return None

    def take_function(self, i: int, j: int) -> EdgeFunction:
        """The name that the `mlp-kan` package gives `edge`."""
        return self.edge(i, j)

    @property
    def smoothed_range(self) -> Tensor:
        """The range of each input on which `roughness` is measured, `(dim_in, 2)`: the `domain`.

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
        """Derivatives at evenly spaced points of `smoothed_range`, `(points, dim_in, dim_out)`.

        Their mean square is `roughness`.
        """
        low, high = self.smoothed_range.unbind(1)
        steps = torch.arange(SLOPE_POINTS, device=low.device, dtype=low.dtype)
        unit = (steps + 0.5) / SLOPE_POINTS
        points = torch.lerp(low, high, unit[:, None])
        derivative: EdgeFunction = self.edges
        # Exact: differences would be rounding noise on a narrow domain.
        for _ in range(self._whole("order", order)):
            derivative = _derivative(derivative)
        return derivative(points)

    def edge_derivatives(self, x: Tensor, order: int) -> list[Tensor]:
        """Every edge's value and its derivatives by its input, `(batch, dim_in, dim_out)` each.

        Args:
            x: `(batch, dim_in)`.
            order: Of the last derivative, 0 or more.
        """
        made, function = [self.edges(x)], cast(EdgeFunction, self.edges)
        for _ in range(order):
            function = _derivative(function)
            made.append(function(x))
        return made

    def forward_stacked(self, x: Tensor) -> Tensor:
        """`forward` of a layer of a stack, `(replicas, batch, in)` -> `(replicas, batch, out)`.

        See `stack_networks`.
        """
        outputs: Tensor = over_replicas(self, lambda layer, x: layer(x), x)
        return outputs

    def roughness_stacked(self, order: int = 1) -> Tensor:
        """The mean of `roughness` over edges, `(replicas,)`, of a layer of a stack."""
        means: Tensor = over_replicas(self, lambda layer: layer.roughness(order).mean())
        return means

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

            (by_name,) = vjp(outputs, parameters)[1](slope.unsqueeze(0))
            return cast("dict[str, Tensor]", by_name)

        by_name = vmap(gradients)(x, grad)
        return [by_name[name] for name in parameters]

    @torch.no_grad()
    def imitate(self, points: Tensor, edges: Callable[[Tensor], Tensor]) -> None:
        """Makes the edges like other functions, as near as this kind can.

        Args:
            points: Where they are compared, `(n, dim_in)`, from end to end of each input's range.
            edges: `(n, dim_in)` -> `(n, dim_in, dim_out)`, as `edges`.

        Raises:
            ValueError: The edges of this kind share parameters.
        """
        points = with_margins(points)  # slopes at the ends are then those of the functions
        values = edges(points)
        with self.without_sparsity():
            imitate(self, points, values)

    @classmethod
    def with_intervals(cls, options: Mapping[str, Any], num_intervals: int) -> dict[str, Any]:
        """The options with that number of intervals; unchanged for edges without a grid."""
        return dict(options)

    @classmethod
    def count_intervals(cls, options: Mapping[str, Any]) -> int | None:
        """Intervals of each edge's grid; `None` for edges without a grid."""
        return None

    def present_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with which a layer of the present sizes is made."""
        return dict(options)

    @classmethod
    def options_at(cls, depth: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a layer at a place in a network, 0 being the first."""
        return dict(options)

    def keep_share(self, share: float) -> None:
        """Leaves edges as they were in a layer of which only this share of the inputs is left.

        Kinds with parameters of which all edges to an output have a part override it.
        """

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

    def _with_lines_beyond(self, method: Callable[..., Tensor], x: Tensor) -> Tensor:
        """`edges` by a kind's own method, with straight lines beyond the limits."""
        assert self.limits is not None
        x = self._batch(x)
        low, high = self.limits.to(x.dtype).unbind(1)
        step = STEP * (high - low)
        inside = x.maximum(low).minimum(high)
        values = method(
            self, torch.cat([inside, torch.stack([low, low + step, high - step, high])])
        )
        first, second, third, last = values[-4:]
        step = step.clamp(min=torch.finfo(x.dtype).tiny).unsqueeze(1)
        below, above = (x.minimum(low) - low).unsqueeze(2), (x.maximum(high) - high).unsqueeze(2)
        return values[:-4] + below * ((second - first) / step) + above * ((last - third) / step)

    def _batch(self, x: Tensor) -> Tensor:
        """Checks the shape of inputs and gives a single sample a batch dimension."""
        batch = x.unsqueeze(0) if x.ndim == 1 else x
        if batch.ndim != 2 or batch.shape[1] != self.dim_in:
            raise ValueError(
                f"{type(self).__name__}(dim_in={self.dim_in}, dim_out={self.dim_out}) takes x of "
                f"shape (batch, {self.dim_in}), got {tuple(x.shape)}."
            )
        return batch

    @property
    def _half(self) -> float:
        return (self.x_max - self.x_min) / 2

    def _unit(self, x: Tensor) -> Tensor:
        """Inputs with the range from `x_min` to `x_max` moved to -1 to 1."""
        return (x - (self.x_min + self.x_max) / 2) / self._half

    def _whole(self, name: str, value: int) -> int:
        Whole(1).check(type(self).__name__, name, value)
        return value


def _fused(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """A kind's fast method, in whose place the general one is called where it does not hold."""

    @functools.wraps(method)
    def call(self: EdgeLayer, *args: Any, **kwargs: Any) -> Any:
        if self.sums_all_edges and not self._is_limited:
            return method(self, *args, **kwargs)
        return getattr(EdgeLayer, name)(self, *args, **kwargs)

    return call


def _sparse_edges(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`edges` with straight lines where there are any, and 0 where there is no edge."""

    @functools.wraps(method)
    def call(self: EdgeLayer, x: Tensor) -> Tensor:
        values = self._with_lines_beyond(method, x) if self._is_limited else method(self, x)
        if self.straight is not None and self.lines is not None:
            slope, offset = self.lines.unbind()
            line = self._batch(x).unsqueeze(-1) * slope + offset
            values = torch.where(self.straight, line, values)
        return values if self.mask is None else values.where(self.mask, 0)

    return call


def _sparse_slopes(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`slopes` with those of straight lines, and 0 where there is no edge."""

    @functools.wraps(method)
    def call(self: EdgeLayer, order: int = 1) -> Tensor:
        values = method(self, order)
        if self.straight is not None and self.lines is not None:
            slope = self.lines[0] if order == 1 else torch.zeros_like(self.lines[0])
            values = torch.where(self.straight, slope, values)
        return values if self.mask is None else values.where(self.mask, 0)

    return call


def nearest_lines(points: Tensor, values: Tensor) -> Tensor:
    """Slopes and offsets of the lines that are nearest in least squares, `(2, in, out)`.

    Args:
        points: `(n, in)`.
        values: Of the edges there, `(n, in, out)`.
    """
    mean, centers = points.mean(0).unsqueeze(-1), values.mean(0)
    centered = points.unsqueeze(-1) - mean
    size = centered.square().sum(0).clamp(min=torch.finfo(values.dtype).tiny)
    slope = (centered * (values - centers)).sum(0) / size
    return torch.stack([slope, centers - slope * mean])


def _derivative(function: EdgeFunction) -> EdgeFunction:
    return lambda x: cast(Tensor, jvp(function, (x,), (torch.ones_like(x),))[1])
