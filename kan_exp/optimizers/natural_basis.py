"""Cubic splines in coordinates in which a penalty on bends is a sum of squares."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kan_exp.layers.kernels import interval_polynomials

DEGREE = 3
SAMPLES = 6  # for each interval, at which functions are written in another basis
TINY = 1e-10
MIN_WIDTH = 1e-6  # of the range of an input whose values are all the same


class NaturalBasis(NamedTuple):
    """Basis functions of one variable: a straight line, then bends from the smoothest on.

    On the points they are made of, the line has mean 0 and variance 1, and bends have neither a
    mean nor a slope. Each bend has a mean squared second derivative of 1 on the unit range. Beyond
    the range they continue as straight lines.

    Args:
        low: First knot, `(*, in)`.
        spacing: Distance of two knots, `(*, in)`.
        table: Spline coefficients of each function, `(*, in, rows, functions)`.

    Source:
        S. Wood, Generalized Additive Models, 2017, section 5.4 (natural parameterization).
    """

    low: Tensor
    spacing: Tensor
    table: Tensor

    @classmethod
    def of(cls, x: Tensor, intervals: int, bends: int, margin: float = 0.0) -> NaturalBasis:
        """The basis on the range of points `x` `(*, n, in)`.

        Args:
            x: The points.
            intervals: Intervals of the grid.
            bends: How many bends, at most `intervals + 1`.
            margin: How far the grid exceeds the points on both sides, as a share of their range.
        """
        least, most = x.amin(-2), x.amax(-2)
        room = margin * (most - least)
        width = (most - least + 2 * room).clamp(min=MIN_WIDTH)
        low, spacing = least - room, width / intervals
        smooth = torch.from_numpy(_bends(intervals)[:, :bends]).to(x)
        place = torch.arange(intervals + DEGREE).to(x) - (DEGREE - 1) / 2
        identity = low.unsqueeze(-1) + spacing.unsqueeze(-1) * place  # Greville's abscissae
        std, mean = torch.std_mean(x, -2, correction=0)
        std = std.clamp(min=MIN_WIDTH)
        line = (identity - mean.unsqueeze(-1)) / std.unsqueeze(-1)  # (*, in, rows)
        table = smooth.expand(*line.shape[:-1], *smooth.shape)
        raw = cls(low, spacing, table).values(x)  # (*, n, in, bends)
        scaled = ((x - mean.unsqueeze(-2)) / std.unsqueeze(-2)).unsqueeze(-1)
        table = table - raw.mean(-3).unsqueeze(-2)
        table = table - (raw * scaled).mean(-3).unsqueeze(-2) * line.unsqueeze(-1)
        return cls(low, spacing, torch.cat([line.unsqueeze(-1), table], dim=-1))

    @property
    def intervals(self) -> int:
        """Intervals of the grid."""
        return self.table.shape[-2] - DEGREE

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """First and last knots, each `(*, in)`."""
        return self.low, self.low + self.intervals * self.spacing

    def limit(self, functions: int) -> NaturalBasis:
        """The first functions alone."""
        return self._replace(table=self.table[..., :functions])

    def values(self, x: Tensor) -> Tensor:
        """`(*, n, in)` -> `(*, n, in, functions)`."""
        weights, _, cell = self._read(x)
        return self._sum(weights, cell)

    def expand(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The functions and their slopes, each `(*, n, in, functions)`."""
        weights, slopes, cell = self._read(x)
        return self._sum(weights, cell), self._sum(slopes, cell)

    def convert(self, coefficients: Tensor, other: NaturalBasis) -> tuple[Tensor, Tensor]:
        """Coefficients of the same functions in another basis, on the range of that one.

        Args:
            coefficients: `(*, in, functions, out)`.
            other: The other basis; its functions come as near as they can.

        Returns:
            Coefficients, and what is left of each output, a constant `(*, out)`.
        """
        low, high = other.ends
        places = torch.linspace(0, 1, SAMPLES * other.intervals + 1).to(low)
        points = torch.lerp(low.unsqueeze(-2), high.unsqueeze(-2), places[:, None])
        values = self.values(points).movedim(-3, -2) @ coefficients  # (*, in, points, out)
        design = other.values(points).movedim(-3, -2)
        design = torch.cat([design, torch.ones_like(design[..., :1])], dim=-1)
        scale = design.square().sum(-2).sqrt().clamp(min=torch.finfo(design.dtype).tiny)
        unit, triangle = torch.linalg.qr(design / scale.unsqueeze(-2))
        # Bends that vanish on the points of an input, such as one of two values, are left out.
        diagonal = triangle.diagonal(dim1=-2, dim2=-1)
        diagonal.copy_(torch.where(diagonal.abs() > TINY, diagonal, torch.inf))
        solved = torch.linalg.solve_triangular(triangle, unit.mT @ values, upper=True)
        solved = solved / scale.unsqueeze(-1)
        return solved[..., :-1, :], solved[..., -1, :].sum(-2)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the splines that are not zero at `x`: values, slopes, and the first one's number."""
        rows = self.table.shape[-2]
        position = (x - self.low.unsqueeze(-2)) / self.spacing.unsqueeze(-2)
        cell = position.clamp(0, rows - DEGREE - 1).long().clamp(0, rows - DEGREE - 1)
        place = position - cell
        inside = place.clamp(0, 1)
        powers = inside.unsqueeze(-1) ** torch.arange(DEGREE + 1, device=x.device)
        weights, slopes = (powers @ _polynomials().to(x)).chunk(2, dim=-1)
        weights = weights + (place - inside).unsqueeze(-1) * slopes
        return weights, slopes / self.spacing.unsqueeze(-2).unsqueeze(-1), cell

    def _sum(self, weights: Tensor, cell: Tensor) -> Tensor:
        index = cell.unsqueeze(-1) + torch.arange(DEGREE + 1, device=cell.device)
        splines = weights.new_zeros(*cell.shape, self.table.shape[-2])
        splines.scatter_(-1, index, weights)
        return (splines.transpose(-2, -3) @ self.table).transpose(-2, -3)


@functools.cache
def _polynomials() -> Tensor:
    return interval_polynomials(DEGREE) / math.factorial(DEGREE)


@functools.cache
def _bends(intervals: int) -> NDArray[np.float64]:
    """Coefficients of the bends, `(rows, intervals + 1)`, of increasing roughness."""
    rows = intervals + DEGREE
    second = np.diff(np.eye(rows), n=2, axis=0) * float(intervals) ** 2  # at the knots
    # The second derivative is linear between knots: the integral of its square is exact.
    knots = intervals + 1
    gram = (4 * np.eye(knots) + np.eye(knots, k=1) + np.eye(knots, k=-1)) / 6
    gram[0, 0] = gram[-1, -1] = 1 / 3
    values, vectors = np.linalg.eigh(second.T @ (gram / intervals) @ second)
    return np.ascontiguousarray(vectors[:, 2:] / np.sqrt(values[2:]))
