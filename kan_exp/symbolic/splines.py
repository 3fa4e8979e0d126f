"""Spline curves in a structure of sums and products, fitted from several starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import Array
from kan_exp.symbolic.spline_basis import (
    SplineRows,
    dense,
    local_splines,
    projection,
    roughness,
)
from kan_exp.symbolic.structures import Node, Structure

# Steps after which hidden grids are moved, and the part of a range within which they stay.
_MOVED, _SLACK = 3, 0.02
# A fit ends when no start has decreased its loss by this share in three steps.
_TOLERANCE = 1e-3


@dataclass
class Step:
    """A piece of a structure in the order of computation."""

    below: tuple[int, ...]
    curve: int | None = None
    column: int | None = None
    product: bool = False


def plan(structure: Structure) -> list[Step]:
    """The pieces of a structure, those below a node before it."""
    steps: list[Step] = []
    count = 0

    def visit(part: Structure) -> int:
        nonlocal count
        if isinstance(part, Node):
            steps.append(Step(tuple(visit(below) for below in part.parts), product=part.product))
        elif isinstance(part.source, int):
            steps.append(Step((), count, part.source))
            count += 1
        else:
            steps.append(Step((visit(part.source),), count))
            count += 1
        return len(steps) - 1

    # The list grows while the parts below are visited, so a node comes after them.
    visit(structure)
    return steps


@dataclass
class Values:
    """What a pass through a structure gives, of all starts.

    Attributes:
        output: `(starts, n)`.
        arguments: Of each curve: `(n,)` for an input, `(starts, n)` otherwise.
        curves: Values of each curve `(starts, n)`.
        influence: Derivative of the output by each curve's value `(starts, n)`.
        jacobian: Derivatives of the output by the coefficients `(starts, n, parameters)`; these and
            `influence` are empty if they were not asked for.
    """

    output: Array
    arguments: list[Array]
    curves: list[Array]
    influence: list[Array] = field(default_factory=list)
    jacobian: Array = field(default_factory=lambda: np.empty((0, 0, 0)))


@dataclass
class Splines:
    """A structure with cubic splines as its curves, for several starts."""

    structure: Structure  # what is summed and multiplied
    cells: int  # cells of each spline
    coefficients: Array  # `(starts, curves, cells + 3)`
    low: Array  # where each curve's grid starts `(starts, curves)`
    high: Array  # where it ends `(starts, curves)`
    loss: Array  # weighted mean of squared errors on the rows of the last fit `(starts,)`

    def __post_init__(self) -> None:
        self._steps = plan(self.structure)
        # The output is linear in the curves that only sums lie above.
        linear = {len(self._steps) - 1}
        for place in range(len(self._steps) - 1, -1, -1):
            step = self._steps[place]
            if place in linear and step.curve is None and not step.product:
                linear.update(step.below)
        self._linear = [
            curve
            for place, step in enumerate(self._steps)
            if place in linear and (curve := step.curve) is not None
        ]

    @property
    def size(self) -> int:
        """Number of coefficients of one start."""
        return self.coefficients.shape[1] * self.coefficients.shape[2]

    def chosen(self, starts: Sequence[int] | NDArray[np.intp]) -> Splines:
        """Some of the starts."""
        kept = np.asarray(starts)
        return replace(
            self,
            coefficients=self.coefficients[kept],
            low=self.low[kept],
            high=self.high[kept],
            loss=self.loss[kept],
        )

    def screened(self, count: int) -> Splines:
        """Starts to go on with: two thirds of them those of least loss, the others any."""
        order = np.argsort(self.loss, kind="stable")
        best = order[: count - count // 3]
        return self.chosen(np.concatenate([best, np.sort(order[len(best) :])[: count // 3]]))

    def best(self, count: int = 1) -> Splines:
        """The starts of least loss."""
        return self.chosen(np.argsort(self.loss, kind="stable")[:count])

    def refined(self) -> Splines:
        """The same curves on twice as many cells."""
        old = self.coefficients
        new = np.empty((*old.shape[:2], 2 * self.cells + 3))
        new[..., 0::2] = (old[..., :-1] + old[..., 1:]) / 2
        new[..., 1::2] = (old[..., :-2] + 6 * old[..., 1:-1] + old[..., 2:]) / 8
        return replace(self, cells=2 * self.cells, coefficients=new)

    def __call__(self, rows: SplineRows, *, derivatives: bool = False) -> Values:
        """Values, and derivatives by all curves and coefficients, at the inputs of the rows."""
        with np.errstate(all="ignore"):
            return self._passed(rows, derivatives)

    def _passed(self, rows: SplineRows, derivatives: bool) -> Values:
        starts, count, width = self.coefficients.shape
        values: list[Array] = []
        arguments: list[Array] = [rows.y] * count
        curve_values: list[Array] = [rows.y] * count
        local: dict[int, tuple[NDArray[np.intp], Array]] = {}
        slopes: list[Array] = [rows.y] * count
        for step in self._steps:
            curve = step.curve
            if curve is None:
                value = values[step.below[0]]
                for place in step.below[1:]:
                    value = value * values[place] if step.product else value + values[place]
                values.append(value)
                continue
            coefficients = self.coefficients[:, curve]
            if step.column is not None:
                basis = self._leaf(rows, curve, step.column)
                arguments[curve] = rows.x[:, step.column]
                value = coefficients @ basis.T
            else:
                z = values[step.below[0]]
                low, high = self.low[:, curve, None], self.high[:, curve, None]
                scale = self.cells / np.maximum(high - low, 1e-300)
                at = np.nan_to_num((z - low) * scale, nan=0.0, posinf=1e150, neginf=-1e150)
                cell, near, steep = local_splines(at, self.cells)
                first = cell + np.arange(starts)[:, None] * width
                flat = coefficients.ravel()
                four = [flat[first + number] for number in range(4)]
                value = sum(own * part for own, part in zip(four, near, strict=True))
                if derivatives:
                    slope = sum(own * part for own, part in zip(four, steep, strict=True))
                    slopes[curve], local[curve] = slope * scale, (cell, near)
                arguments[curve] = z
            curve_values[curve] = value
            values.append(value)
        result = Values(values[-1], arguments, curve_values)
        if derivatives:
            self._differentiate(rows, result, values, slopes, local)
        return result

    def _differentiate(
        self,
        rows: SplineRows,
        result: Values,
        values: list[Array],
        slopes: list[Array],
        local: dict[int, tuple[NDArray[np.intp], Array]],
    ) -> None:
        starts, count, width = self.coefficients.shape
        above: list[Array] = [np.ones((starts, len(rows.y)))] * len(values)
        result.influence = [above[0]] * count
        jacobian = np.empty((starts, len(rows.y), count * width))
        for place in range(len(values) - 1, -1, -1):
            step, own = self._steps[place], above[place]
            for below in step.below:
                share = own
                if step.product:
                    for other in step.below:
                        if other != below:
                            share = share * values[other]
                elif step.curve is not None:
                    share = own * slopes[step.curve]
                above[below] = share
            if step.curve is not None:
                if step.column is not None:
                    basis = self._leaf(rows, step.curve, step.column)
                else:
                    at, near = local[step.curve]
                    basis = dense(at, near, width)
                result.influence[step.curve] = own
                columns = slice(step.curve * width, (step.curve + 1) * width)
                np.multiply(own[:, :, None], basis, out=jacobian[:, :, columns])
        result.jacobian = jacobian

    def _leaf(self, rows: SplineRows, curve: int, column: int) -> Array:
        return rows.basis(column, self.cells, self.low[0, curve], self.high[0, curve])

    def error(self, rows: SplineRows) -> Array:
        """Root of the weighted mean of squared errors `(starts,)`."""
        with np.errstate(all="ignore"):
            return np.sqrt((((self(rows).output - rows.y) * rows.root) ** 2).sum(1))

    def _fit_ranges(self, rows: SplineRows) -> bool:
        """Moves the grids of hidden curves to where their arguments lie; whether any was moved."""
        any_moved = False
        hidden = [step.curve for step in self._steps if step.curve is not None and step.below]
        at, to_coefficients = projection(self.cells)
        for curve in hidden:
            z = self(rows).arguments[curve]
            low, high = z.min(1), z.max(1)
            width = high - low
            old = self.high[:, curve] - self.low[:, curve]
            moved = (
                (low < self.low[:, curve] - _SLACK * old)
                | (high > self.high[:, curve] + _SLACK * old)
                | (width < (1 - 4 * _SLACK) * old)
            )
            moved &= np.isfinite(width) & (width > 1e-12 * np.abs(low))
            any_moved |= bool(moved.any())
            for start in np.flatnonzero(moved):
                margin = 0.01 * width[start]
                new_low, new_high = low[start] - margin, high[start] + margin
                position = new_low + (new_high - new_low) / self.cells * at
                position = (position - self.low[start, curve]) / old[start] * self.cells
                place, near, _ = local_splines(position, self.cells)
                own = self.coefficients[start, curve]
                values = sum(own[place + number] * near[number] for number in range(4))
                self.coefficients[start, curve] = to_coefficients @ values
                self.low[start, curve], self.high[start, curve] = new_low, new_high
        return any_moved

    def solve_linear(self, rows: SplineRows) -> None:
        """Solves for the curves in which the output is linear."""
        starts, _, width = self.coefficients.shape
        if self._linear:
            columns = np.concatenate([np.arange(width) + curve * width for curve in self._linear])
            gram, slope = self._normal(rows, columns)
            mean = np.trace(gram, axis1=1, axis2=2)[:, None, None] / len(columns)
            gram += 1e-6 * np.maximum(mean, 1e-300) * np.eye(len(columns))
            self.coefficients.reshape(starts, -1)[:, columns] -= _solve(gram, slope)
        self._set_loss(rows)

    def fit(self, rows: SplineRows, steps: int, *, smooth: float = 1e-7) -> Splines:
        """Levenberg-Marquardt over all coefficients of all starts, in place.

        Args:
            steps: Largest number of steps.
            smooth: Weight of the curves' squared third differences, in units of their sizes.
        """
        starts, count, width = self.coefficients.shape
        damping = np.full(starts, 1e-2)
        penalty = smooth / np.maximum(np.ptp(self.coefficients, axis=2), 1e-100) ** 2
        self._set_loss(rows, penalty)
        past, kept = [self.loss], self._better_of(self)
        gram, slope = self._penalized(rows, penalty)
        for number in range(steps):
            diagonal = np.einsum("sii->si", gram)
            # What no row decides moves smoothly along with what is decided.
            mean = diagonal.reshape(starts, count, width).mean(2)
            mean = np.repeat(np.maximum(mean, 1e-14), width, axis=1)
            damped = gram.copy()
            damped[:, range(count * width), range(count * width)] += (
                damping[:, None] * (diagonal + 1e-3 * mean) + 1e-9 * mean
            )
            step = _solve(damped, slope).reshape(self.coefficients.shape)
            trial = replace(self, coefficients=self.coefficients - step)
            trial._set_loss(rows, penalty)
            better = trial.loss < self.loss
            self.coefficients = np.where(
                better[:, None, None], trial.coefficients, self.coefficients
            )
            self.loss = np.where(better, trial.loss, self.loss)
            damping = np.clip(np.where(better, damping / 4, damping * 4), 1e-12, 1e8)
            if number + 1 == steps:
                break
            if number % _MOVED == _MOVED - 1 and number + 3 < steps:
                kept = self._better_of(kept)
                if self._fit_ranges(rows):
                    self._set_loss(rows, penalty)
                    better[:] = True
            past.append(self.loss)
            if len(past) > 3 and (past[-4] - self.loss <= _TOLERANCE * past[-4]).all():
                break
            if better.any():
                gram, slope = self._penalized(rows, penalty)
        best = self._better_of(kept)
        self.coefficients, self.low, self.high = best.coefficients, best.low, best.high
        self.loss = self.error(rows) ** 2
        return self

    def _set_loss(self, rows: SplineRows, penalty: Array | float = 0.0) -> None:
        """Sets the loss, with a penalty `(starts, curves)` of roughness."""
        rough = (np.diff(self.coefficients, 3, axis=2) ** 2).sum(2)
        self.loss = np.nan_to_num(self.error(rows) ** 2 + (penalty * rough).sum(1), nan=np.inf)

    def _better_of(self, other: Splines) -> Splines:
        """A copy in which each start is the one of less loss."""
        worse = self.loss > other.loss
        return replace(
            self,
            coefficients=np.where(worse[:, None, None], other.coefficients, self.coefficients),
            low=np.where(worse[:, None], other.low, self.low),
            high=np.where(worse[:, None], other.high, self.high),
            loss=np.where(worse, other.loss, self.loss),
        )

    def _normal(
        self, rows: SplineRows, columns: NDArray[np.intp] | slice = slice(None)
    ) -> tuple[Array, Array]:
        """The normal equations of a step: products of the derivatives by some coefficients."""
        values = self(rows, derivatives=True)
        jacobian = values.jacobian[:, :, columns] * rows.root[:, None]
        return _products(jacobian, (values.output - rows.y) * rows.root)

    def _penalized(self, rows: SplineRows, penalty: Array) -> tuple[Array, Array]:
        """The normal equations by all coefficients, with a penalty of roughness."""
        _, count, width = self.coefficients.shape
        gram, slope = self._normal(rows)
        rough = roughness(width)
        for curve in range(count):
            own = slice(curve * width, (curve + 1) * width)
            share = penalty[:, curve, None]
            gram[:, own, own] += share[:, :, None] * rough
            slope[:, own] += share * (self.coefficients[:, curve] @ rough)
        return gram, slope


def _products(jacobian: Array, residual: Array) -> tuple[Array, Array]:
    transposed = jacobian.transpose(0, 2, 1)
    gram: Array = np.matmul(transposed, jacobian)
    slope: Array = np.matmul(transposed, residual[:, :, None])[:, :, 0]
    good = np.isfinite(gram).all((1, 2)) & np.isfinite(slope).all(1)
    if not good.all():
        gram[~good], slope[~good] = np.eye(gram.shape[1]), 0.0
    return gram, slope


def _solve(gram: Array, slope: Array) -> Array:
    try:
        step = np.linalg.solve(gram, slope[:, :, None])
    except np.linalg.LinAlgError:
        size = np.maximum(gram.max((1, 2)), 1e-300)[:, None, None]
        gram = gram + 1e-6 * size * np.eye(gram.shape[1])
        step = np.linalg.solve(gram, slope[:, :, None])
    return np.asarray(step[:, :, 0], np.float64)
