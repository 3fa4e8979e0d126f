"""Edges on a grid of evenly spaced knots: B-splines of any degree, tables being those of degree 1.

On an interval between two knots a spline of degree p is a polynomial, the sum of p + 1 basis
functions. A sample reads these only, so that time and memory do not depend on the number of knots.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.kernels import (
    Grid,
    basis_polynomials,
    interval_polynomials,
    spline_basis,
    spline_derivatives,
    spline_sum,
    spline_values,
)
from kan_exp.layers.kernels.differences import mean_squared_slopes

SAMPLES_PER_INTERVAL = 4  # at which a function is fitted when its grid moves


class GridLayer(EdgeLayer):
    """Edges that are splines on evenly spaced knots, each input with a range of its own.

    Args:
        num_intervals: Intervals between the first and the last knot, at least 1.
        degree: Degree of the polynomials, at least 1.
        x_min, x_max: First and last knot, in the units of the layer's input.

    Shape:
        Parameter `values` `(dim_in, num_intervals + degree, dim_out)`: the coefficients, with the
        outputs last so that what a sample reads is contiguous. Buffers `first_knot` and `spacing`
        `(dim_in,)`: where each input's grid begins, and the distance of two knots.

    Source:
        C. de Boor, A Practical Guide to Splines, 2001, chapters IX and X.
    """

    straight_beyond = True

    first_knot: Tensor
    spacing: Tensor
    _polynomials: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        num_intervals: int,
        degree: int,
        x_min: float,
        x_max: float,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min, x_max)
        self.degree = degree
        width = float(x_max) - float(x_min)
        self.register_buffer("first_knot", self.domain[:, 0].clone())
        self.register_buffer("spacing", torch.full((dim_in,), width / num_intervals))
        polynomials = interval_polynomials(degree).to(self.spacing)
        self.register_buffer("_polynomials", polynomials, persistent=False)
        self.values = nn.Parameter(torch.empty(dim_in, num_intervals + degree, dim_out))

    @property
    def polynomials(self) -> Tensor:
        """Basis functions on an interval, then their slopes, `(powers, 2 (degree + 1))`.

        They are polynomials of the place in the interval, 0 to 1.
        """
        return self._polynomials / math.factorial(self.degree)

    @property
    @abstractmethod
    def only_splines(self) -> bool:
        """Whether edges are splines alone, which are straight lines outside the grid."""

    @property
    def num_intervals(self) -> int:
        return self.values.shape[1] - self.degree

    @property
    def grid(self) -> Tensor:
        """First and last knot of each input, `(dim_in, 2)`."""
        width = self.num_intervals * self.spacing
        return torch.stack([self.first_knot, self.first_knot + width], dim=1)

    @property
    def smoothed_range(self) -> Tensor:
        return self.grid

    @property
    def knots(self) -> Tensor:
        """Positions of the knots, `(dim_in, num_intervals + 1)`."""
        steps = torch.arange(self.num_intervals + 1).to(self.spacing)
        return self.first_knot[:, None] + steps * self.spacing[:, None]

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws straight lines through the middle of the grid.

        A line's variance is its input's times the squared slope, whatever the number of knots and
        however the input is distributed; slopes of variance `1 / dim_in` preserve it at any width.
        """
        slope = torch.empty_like(self.values[:, :1]).normal_(generator=generator)
        count = self.values.shape[1]
        # Coefficients of the identity (Greville's abscissae), from the middle of the grid.
        place = torch.arange(count).to(self.values) - (count - 1) / 2
        centered = self.spacing[:, None, None] * place[:, None]
        self.values.copy_(slope * centered / math.sqrt(self.dim_in))

    @property
    def sums_splines(self) -> bool:
        return True

    def edges(self, x: Tensor) -> Tensor:
        return self._splines(self._batch(x))

    def forward(self, x: Tensor) -> Tensor:
        return spline_sum(*self._read(self._batch(x)))

    def forward_stacked(self, x: Tensor) -> Tensor:
        return spline_sum(*self._read(x))

    def sample_gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        return [torch.einsum("bik,bj->bikj", self._basis(x), grad)]

    def edge_derivatives(self, x: Tensor, order: int) -> list[Tensor]:
        if not self.only_splines:
            return EdgeLayer.edge_derivatives(self, x, order)
        return spline_derivatives(*self._read(self._batch(x)), order)

    def _splines(self, x: Tensor) -> Tensor:
        return spline_values(*self._read(x))

    def _basis(self, x: Tensor) -> Tensor:
        return spline_basis(*self._read(x))

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor, Grid]:
        """Samples, coefficients and grid as the sums of splines take them."""
        return x, self.values, Grid(self.first_knot, self.spacing, self._polynomials)

    def slopes(self, order: int = 1) -> Tensor:
        """Derivatives over the grid, weighted so that their mean square is exact.

        A derivative is a spline of a lower degree; its square is integrated over each interval by
        Gauss's rule. Where the degree is exhausted, differences of the coefficients take its place.
        """
        return self._slopes(self.values, self.spacing, self._whole("order", order))

    def _slopes(self, values: Tensor, spacing: Tensor, order: int) -> Tensor:
        if values.shape[1] <= order:
            return values.new_zeros(1, values.shape[0], values.shape[2])
        coefficients = values.diff(n=order, dim=1) / spacing[:, None, None] ** order
        degree = self.degree - order
        if degree <= 0:
            return coefficients.transpose(0, 1)
        weights = torch.from_numpy(_gauss_weights(degree)).to(values)  # (degree + 1, nodes)
        windows = coefficients.unfold(1, degree + 1, 1)  # (in, intervals, out, degree + 1)
        return (windows @ weights).permute(1, 3, 0, 2).flatten(0, 1)

    def roughness_stacked(self, order: int = 1) -> Tensor:
        order = self._whole("order", order)
        if self.degree <= order < self.values.shape[2]:  # differences, as in slopes
            return mean_squared_slopes(self.values, self.spacing, order)
        unit = torch.ones_like(self.spacing.flatten())
        slopes = self._slopes(self.values.flatten(0, 1), unit, order)
        squares = slopes.square().mean(0).sum(-1).view_as(self.spacing)
        return (squares / self.spacing ** (2 * order)).mean(1) / self.dim_out

    def penalty_gram_matrix(self, order: int) -> Tensor:
        """The quadratic form of `roughness`: `(dim_in, rows, rows)`, the same for every output.

        For the values `v` `(rows,)` of an edge from input `i`, `v @ matrix[i] @ v` is its mean
        squared derivative.
        """
        matrix = torch.from_numpy(_roughness_matrix(self.num_intervals, self.degree, order))
        return matrix.to(self.values, non_blocking=True) / self.spacing[:, None, None] ** (
            2 * order
        )

    def variance(self) -> Tensor:
        """Each edge's mean squared deviation from its mean over the grid, `(dim_in, dim_out)`.

        An edge's `base` is left out.
        """
        form = self.variance_matrix()
        variance = torch.einsum("iko,kl,ilo->io", self.values, form, self.values)
        if self.straight is not None and self.lines is not None:
            widths = self.num_intervals * self.spacing[:, None]
            variance = torch.where(self.straight, (self.lines[0] * widths).square() / 12, variance)
        return variance if self.mask is None else variance.where(self.mask, 0)

    def variance_matrix(self) -> Tensor:
        """The quadratic form of `variance`, `(rows, rows)`, the same for all edges but lines."""
        return torch.from_numpy(_variance_matrix(self.num_intervals, self.degree)).to(self.values)

    @classmethod
    @abstractmethod
    def with_intervals(cls, options: Mapping[str, Any], num_intervals: int) -> dict[str, Any]:
        """The options with that number of intervals."""

    def present_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return self.with_intervals(options, self.num_intervals)

    @torch.no_grad()
    def refine(self, num_intervals: int, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Adds knots without changing the function, exactly but for rounding.

        Args:
            num_intervals: The new number of intervals, a multiple of the present one.
            optimizer: Loses its state of the coefficients (moments and the like), whose number
                changes; its state of all other parameters stays.

        Raises:
            ValueError: The number is no multiple of the present one.

        Source:
            W. Boehm, "Inserting new knots into B-spline curves", 1980, for evenly spaced knots.
        """
        factor, rest = divmod(self._whole("num_intervals", num_intervals), self.num_intervals)
        if rest or factor < 1:
            raise ValueError(
                f"{type(self).__name__} has {self.num_intervals} intervals: refine needs a "
                f"multiple of that, got {num_intervals}."
            )
        matrix = torch.from_numpy(_subdivision(self.num_intervals, self.degree, factor))
        self.spacing.div_(factor)
        self._replace(
            torch.einsum("fk,iko->ifo", matrix.to(self.values, non_blocking=True), self.values),
            optimizer,
        )

    @torch.no_grad()
    def fit_domain(
        self, x: Tensor, margin: float = 0.0, optimizer: torch.optim.Optimizer | None = None
    ) -> float:
        """Moves each input's grid to the range of the values that reach it.

        The number of knots stays. The new coefficients are those whose edges are closest, in least
        squares, to what the edges were on the new range: exact for straight lines, and otherwise as
        exact as a grid of that many knots can be. Call `refine` first where that is not enough.

        Args:
            x: Values that reach the layer, `(batch, dim_in)`.
            margin: How far the grid goes beyond them on both sides, as a share of their range.
            optimizer: Loses its state of the coefficients.

        Returns:
            The largest change of an output at these values.
        """
        x = self._batch(x)
        before = self(x)
        low, high = x.amin(0), x.amax(0)
        room = margin * (high - low)
        # An input that never varies keeps a grid of some width around its value.
        room = room.where(high > low, self.spacing.maximum(1e-3 * low.abs()))
        self.move_grid(torch.stack([low - room, high + room], dim=1), optimizer)
        return (self(x) - before).abs().max().item()

    def move_grid(self, grid: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Moves the grid to `(dim_in, 2)` and fits the coefficients to the present edges there."""
        self.place(grid, self._splines, optimizer)

    @torch.no_grad()
    def place(
        self,
        grid: Tensor,
        edges: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Moves the grid to `(dim_in, 2)` and fits the coefficients to any edges there.

        Args:
            grid: First and last knot of each input.
            edges: `(batch, dim_in)` -> `(batch, dim_in, dim_out)`, as `EdgeLayer.edges`.
            optimizer: Loses its state of the coefficients.
        """
        grid = grid.to(self.spacing)
        values = self._fitted(grid, edges)
        self.first_knot.copy_(grid[:, 0])
        self.spacing.copy_((grid[:, 1] - grid[:, 0]) / self.num_intervals)
        self._replace(values, optimizer)

    def imitate(self, points: Tensor, edges: Callable[[Tensor], Tensor]) -> None:
        self.place(torch.stack([points.amin(0), points.amax(0)], dim=1), edges)

    def _fitted(self, grid: Tensor, edges: Callable[[Tensor], Tensor]) -> Tensor:
        if self.degree == 1:  # a table has the values at its knots
            places = torch.linspace(
                0, 1, self.num_intervals + 1, dtype=grid.dtype, device=grid.device
            )
            return edges(torch.lerp(grid[:, 0], grid[:, 1], places[:, None])).transpose(0, 1)
        samples, fit = (
            torch.from_numpy(part).to(grid.device, non_blocking=True)
            for part in _fit(self.num_intervals, self.degree)
        )
        values = edges(torch.lerp(grid[:, 0], grid[:, 1], samples.to(grid)[:, None]))
        fitted = torch.tensordot(fit, values.double(), dims=1)  # (rows, in, out)
        return fitted.transpose(0, 1).to(values)

    def _replace(self, values: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
        """Puts other coefficients into the same parameter, which optimizers keep."""
        # Autograd remembers a parameter's shape as long as an old loss is alive; it forgets it with
        # the dtype.
        other = torch.float16 if values.dtype != torch.float16 else torch.float32
        self.values.data = values.new_empty(0, dtype=other)
        self.values.data = values.contiguous()
        self.values.grad = None
        if optimizer is not None:
            optimizer.state.pop(self.values, None)


@functools.cache
def _gauss_weights(degree: int) -> NDArray[np.float64]:
    """`(basis function, node)`: values whose mean square is the integral over an interval."""
    nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
    powers = ((nodes[:, None] + 1) / 2) ** np.arange(degree + 1)
    values = powers @ basis_polynomials(degree)
    return np.ascontiguousarray((values * np.sqrt(weights / 2 * len(nodes))[:, None]).T)


@functools.cache
def _roughness_matrix(intervals: int, degree: int, order: int) -> NDArray[np.float64]:
    """Quadratic form of the mean squared derivative on intervals of width 1."""
    terms = np.diff(np.eye(intervals + degree), n=order, axis=0)  # (places, coefficients)
    if degree > order:
        left = degree - order
        windows = np.lib.stride_tricks.sliding_window_view(terms, left + 1, axis=0)
        terms = (windows @ _gauss_weights(left)).transpose(0, 2, 1).reshape(-1, intervals + degree)
    matrix: NDArray[np.float64] = terms.T @ terms / max(1, len(terms))
    return matrix


@functools.cache
def _variance_matrix(intervals: int, degree: int) -> NDArray[np.float64]:
    """Quadratic form of the mean squared deviation from the mean over all intervals."""
    basis = basis_polynomials(degree)
    areas = np.convolve(np.ones(intervals), basis.T @ (1 / np.arange(1, degree + 2)))
    mean = areas / intervals
    matrix: NDArray[np.float64] = _roughness_matrix(intervals, degree, 0) - np.outer(mean, mean)
    return matrix


@functools.cache
def _subdivision(intervals: int, degree: int, factor: int) -> NDArray[np.float64]:
    """Matrix `(fine, coarse)` that writes a spline on intervals `factor` times as small."""
    # A basis function is a weighted sum of the fine ones: the box, convolved degree + 1 times.
    mask = np.ones(1)
    for _ in range(degree + 1):
        mask = np.convolve(mask, np.ones(factor))
    mask = mask / float(factor) ** degree
    fine = np.zeros((intervals * factor + degree, intervals + degree))
    for coarse in range(intervals + degree):
        first = factor * (coarse - degree) + degree
        rows = np.arange(max(0, first), min(len(fine), first + len(mask)))
        fine[rows, coarse] = mask[rows - first]
    return fine


@functools.lru_cache(16)
def _fit(intervals: int, degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in the unit range, `(places,)`, and the least-squares fit to values there.

    The fit is the matrix from values to coefficients, `(coefficients, places)`.
    """
    places = np.linspace(0, 1, SAMPLES_PER_INTERVAL * intervals + degree + 1)
    position = places * intervals
    interval = np.clip(np.floor(position).astype(int), 0, intervals - 1)
    powers = (position - interval)[:, None] ** np.arange(degree + 1)
    design = np.zeros((len(places), intervals + degree))
    for j, column in enumerate((powers @ basis_polynomials(degree)).T):
        design[np.arange(len(places)), interval + j] = column
    return places, np.asarray(np.linalg.solve(design.T @ design, design.T), dtype=np.float64)
