"""Structures: trees of spline curves, sums and products, fitted from several starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import Array


@dataclass(frozen=True)
class Curve:
    """A function of one variable: of an input, by its column, or of a node."""

    source: int | Node

    def __str__(self) -> str:
        return f"f(x{self.source})" if isinstance(self.source, int) else f"g({self.source})"


@dataclass(frozen=True)
class Node:
    """A sum or a product."""

    product: bool
    parts: tuple[Structure, ...]

    def __str__(self) -> str:
        texts = [
            f"({part})" if self.product and isinstance(part, Node) else str(part)
            for part in self.parts
        ]
        return ("*" if self.product else "+").join(texts)


Structure = Curve | Node


def curves(structure: Structure) -> list[Curve]:
    """The curves of a structure, those below before those above, from left to right."""
    if isinstance(structure, Node):
        return [curve for part in structure.parts for curve in curves(part)]
    below = [] if isinstance(structure.source, int) else curves(structure.source)
    return [*below, structure]


class Rows:
    """Rows to fit to, with the values of the splines' basis at their inputs."""

    def __init__(self, x: Array, y: Array, weight: Array, seen: Sequence[Array] = ()) -> None:
        """Of inputs `(n, in)`, target `(n,)` and weights of squared errors `(n,)`.

        Args:
            seen: Functions of the target `(n,)` that may be sums of the inputs' functions.
        """
        self.x, self.y, self.seen = x, y, seen or (y,)
        self.root = np.sqrt(weight / weight.sum())
        self.low, self.high = x.min(0), x.max(0)
        self._bases: dict[tuple[int, int], Array] = {}

    def basis(self, column: int, cells: int, low: float, high: float) -> Array:
        """Values `(n, cells + 3)` of a basis over the range of an input."""
        key = (column, cells)
        if key not in self._bases:
            at = (self.x[:, column] - low) / max(high - low, 1e-300) * cells
            place, local, _ = _local(at, cells)
            self._bases[key] = _dense(place, local, cells + 3)
        return self._bases[key]


def _local(at: Array, cells: int) -> tuple[NDArray[np.intp], Array, Array]:
    """The cell of each position, and the four cubic B-splines there: values, slopes `(4, ...)`.

    Beyond the first and the last knot the splines go on along straight lines.
    """
    inside = np.clip(at, 0.0, cells)
    place = np.minimum(inside.astype(np.intp), cells - 1)
    t = inside - place
    s = 1 - t
    t2, s2 = t * t, s * s
    values = np.stack(
        [
            s2 * s / 6,
            (3 * t2 * (t - 2) + 4) / 6,
            (3 * s2 * (s - 2) + 4) / 6,
            t2 * t / 6,
        ]
    )
    slopes = np.stack([-s2 / 2, t * (1.5 * t - 2), s * (2 - 1.5 * s), t2 / 2])
    beyond = at - inside
    if beyond.any():
        values += beyond * slopes
    return place, values, slopes


def _dense(place: NDArray[np.intp], local: Array, width: int) -> Array:
    """The values of all splines `(..., width)` from the four that are not 0."""
    result = np.zeros((*place.shape, width))
    flat = result.reshape(-1)
    first = np.arange(place.size) * width + place.ravel()
    for number in range(4):
        flat[first + number] = local[number].ravel()
    return result


@lru_cache(maxsize=16)
def _projection(cells: int) -> tuple[Array, Array]:
    """Positions in a grid, and the matrix from values there to the coefficients of splines."""
    at = np.linspace(0, cells, 4 * (cells + 3))
    place, local, _ = _local(at, cells)
    return at, np.asarray(np.linalg.pinv(_dense(place, local, cells + 3)), np.float64)


@lru_cache(maxsize=16)
def _roughness(width: int) -> Array:
    """The matrix of squared third differences of coefficients."""
    difference = np.diff(np.eye(width), 3, axis=0)
    return difference.T @ difference


@dataclass
class _Step:
    """A piece of a structure in the order of computation."""

    below: tuple[int, ...]
    curve: int | None = None
    column: int | None = None
    product: bool = False


def _plan(structure: Structure) -> list[_Step]:
    steps: list[_Step] = []
    count = 0

    def visit(part: Structure) -> int:
        nonlocal count
        if isinstance(part, Node):
            steps.append(_Step(tuple(visit(below) for below in part.parts), product=part.product))
        elif isinstance(part.source, int):
            steps.append(_Step((), count, part.source))
            count += 1
        else:
            steps.append(_Step((visit(part.source),), count))
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
        influence: Derivative of the output by each curve's value `(starts, n)`; empty if not asked.
        jacobian: Derivatives of the output by the coefficients `(starts, n, parameters)`.
    """

    output: Array
    arguments: list[Array]
    curves: list[Array]
    influence: list[Array]
    jacobian: Array | None = None


@dataclass
class Splines:
    """A structure with cubic splines as its curves, for several starts.

    Attributes:
        structure: What is summed and multiplied.
        cells: Cells of each spline.
        coefficients: `(starts, curves, cells + 3)`.
        low: Where each curve's grid starts `(starts, curves)`.
        high: Where it ends `(starts, curves)`.
        loss: Weighted mean of squared errors on the rows of the last fit `(starts,)`.
    """

    structure: Structure
    cells: int
    coefficients: Array
    low: Array
    high: Array
    loss: Array

    def __post_init__(self) -> None:
        self._steps = _plan(self.structure)
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

    def __call__(self, rows: Rows, *, derivatives: bool = False) -> Values:
        """Values, and derivatives by all curves and coefficients, at the inputs of the rows."""
        with np.errstate(all="ignore"):
            return self._passed(rows, derivatives)

    def _passed(self, rows: Rows, derivatives: bool) -> Values:
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
                cell, near, steep = _local(at, self.cells)
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
        result = Values(values[-1], arguments, curve_values, [])
        if derivatives:
            self._differentiate(rows, result, values, slopes, local)
        return result

    def _differentiate(
        self,
        rows: Rows,
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
                    basis = _dense(at, near, width)
                result.influence[step.curve] = own
                columns = slice(step.curve * width, (step.curve + 1) * width)
                np.multiply(own[:, :, None], basis, out=jacobian[:, :, columns])
        result.jacobian = jacobian

    def _leaf(self, rows: Rows, curve: int, column: int) -> Array:
        return rows.basis(column, self.cells, self.low[0, curve], self.high[0, curve])

    def error(self, rows: Rows) -> Array:
        """Root of the weighted mean of squared errors `(starts,)`."""
        with np.errstate(all="ignore"):
            return np.sqrt((((self(rows).output - rows.y) * rows.root) ** 2).sum(1))

    def _fit_ranges(self, rows: Rows, slack: float) -> bool:
        """Moves the grids of hidden curves to where their arguments lie; whether any was moved."""
        any_moved = False
        hidden = [step.curve for step in self._steps if step.curve is not None and step.below]
        at, projection = _projection(self.cells)
        for curve in hidden:
            z = self(rows).arguments[curve]
            low, high = z.min(1), z.max(1)
            width = high - low
            old = self.high[:, curve] - self.low[:, curve]
            moved = (
                (low < self.low[:, curve] - slack * old)
                | (high > self.high[:, curve] + slack * old)
                | (width < (1 - 4 * slack) * old)
            )
            moved &= np.isfinite(width) & (width > 1e-12 * np.abs(low))
            any_moved |= bool(moved.any())
            for start in np.flatnonzero(moved):
                margin = 0.01 * width[start]
                new_low, new_high = low[start] - margin, high[start] + margin
                position = new_low + (new_high - new_low) / self.cells * at
                position = (position - self.low[start, curve]) / old[start] * self.cells
                place, near, _ = _local(position, self.cells)
                own = self.coefficients[start, curve]
                values = sum(own[place + number] * near[number] for number in range(4))
                self.coefficients[start, curve] = projection @ values
                self.low[start, curve], self.high[start, curve] = new_low, new_high
        return any_moved

    def solve_linear(self, rows: Rows) -> None:
        """Solves for the curves in which the output is linear."""
        if not self._linear:
            self.loss = np.nan_to_num(self.error(rows) ** 2, nan=np.inf)
            return
        starts, _, width = self.coefficients.shape
        columns = np.concatenate([np.arange(width) + curve * width for curve in self._linear])
        values = self(rows, derivatives=True)
        assert values.jacobian is not None
        design = values.jacobian[:, :, columns] * rows.root[:, None]
        residual = (values.output - rows.y) * rows.root
        gram, slope = _products(design, residual)
        mean = np.trace(gram, axis1=1, axis2=2)[:, None, None] / len(columns)
        gram += 1e-6 * np.maximum(mean, 1e-300) * np.eye(len(columns))
        step = _solve(gram, slope)
        flat = self.coefficients.reshape(starts, -1)
        flat[:, columns] -= step
        self.loss = np.nan_to_num(self.error(rows) ** 2, nan=np.inf)

    def fit(
        self,
        rows: Rows,
        steps: int,
        *,
        smooth: float = 1e-7,
        ranges: int = 3,
        tolerance: float = 1e-3,
    ) -> Splines:
        """Levenberg-Marquardt over all coefficients of all starts, in place.

        Args:
            steps: Largest number of steps.
            smooth: Weight of the curves' squared third differences, in units of their sizes.
            ranges: Hidden grids are moved after so many steps.
            tolerance: Ends when no start has decreased its loss by this share in three steps.
        """
        starts, count, width = self.coefficients.shape
        damping = np.full(starts, 1e-2)
        penalty = smooth / np.maximum(np.ptp(self.coefficients, axis=2), 1e-100) ** 2
        self._lose(rows, penalty)
        past, kept = [self.loss], self._better_of(self)
        gram, slope = self._normal(rows, penalty)
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
            trial._lose(rows, penalty)
            better = trial.loss < self.loss
            self.coefficients = np.where(
                better[:, None, None], trial.coefficients, self.coefficients
            )
            self.loss = np.where(better, trial.loss, self.loss)
            damping = np.clip(np.where(better, damping / 4, damping * 4), 1e-12, 1e8)
            if number + 1 == steps:
                break
            if ranges and number % ranges == ranges - 1 and number + 3 < steps:
                kept = self._better_of(kept)
                if self._fit_ranges(rows, 0.02):
                    self._lose(rows, penalty)
                    better[:] = True
            past.append(self.loss)
            if len(past) > 3 and (past[-4] - self.loss <= tolerance * past[-4]).all():
                break
            if better.any():
                gram, slope = self._normal(rows, penalty)
        best = self._better_of(kept)
        self.coefficients, self.low, self.high = best.coefficients, best.low, best.high
        self.loss = self.error(rows) ** 2
        return self

    def _lose(self, rows: Rows, penalty: Array) -> None:
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

    def _normal(self, rows: Rows, penalty: Array) -> tuple[Array, Array]:
        _, count, width = self.coefficients.shape
        values = self(rows, derivatives=True)
        assert values.jacobian is not None
        values.jacobian *= rows.root[:, None]
        gram, slope = _products(values.jacobian, (values.output - rows.y) * rows.root)
        rough = _roughness(width)
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


def _additive(rows: Rows, cells: int) -> Array:
    """The sums of curves of the inputs nearest to functions of y: `(functions, in, cells + 3)`."""
    columns = range(rows.x.shape[1])
    design = [rows.basis(column, cells, rows.low[column], rows.high[column]) for column in columns]
    joined = np.concatenate(design, 1) * rows.root[:, None]
    gram = joined.T @ joined
    gram.flat[:: len(gram) + 1] += 1e-6 * np.trace(gram) / len(gram) + 1e-300
    targets = np.stack(rows.seen, 1)
    targets = (targets - rows.root**2 @ targets) * rows.root[:, None]
    solution = np.linalg.solve(gram, joined.T @ targets).T
    size = np.abs(solution).max(1, keepdims=True)
    solution /= np.where(size > 0, size, 1.0)
    return solution.reshape(len(rows.seen), len(columns), cells + 3)


def _shapes(rows: Rows, column: int, cells: int, factor: bool) -> Array:
    """Simple functions of an input, from which fits start: coefficients `(k, cells + 3)`."""
    at, projection = _projection(cells)
    low, high = rows.low[column], rows.high[column]
    x = low + (high - low) * at / cells
    size = max(abs(low), abs(high))
    shapes = [x / size, (x / size) ** 2]
    if low > 0:
        shapes += [low / x, (low / x) ** 2]
        if not factor:
            shapes.append(np.log(x / low))
    if not factor:
        shapes = [2 * (shape - shape.mean()) / max(np.ptp(shape), 1e-300) for shape in shapes]
    return np.stack(shapes) @ projection.T


def random_splines(
    structure: Structure, rows: Rows, starts: int, generator: np.random.Generator, cells: int = 4
) -> Splines:
    """Random curves, with the outermost ones fitted to the rows."""
    steps = _plan(structure)
    factors = {place for step in steps if step.product for place in step.below}
    count = sum(step.curve is not None for step in steps)
    width = cells + 3
    knots = np.linspace(-1 - 2 / cells, 1 + 2 / cells, width)
    coefficients = np.empty((starts, count, width))
    low, high = np.full((starts, count), -1.0), np.full((starts, count), 1.0)
    additive = _additive(rows, cells)
    for place, step in enumerate(steps):
        if step.curve is None:
            continue
        slope = generator.uniform(-1.0, 1.0, starts)[:, None]
        bend = generator.uniform(-1.0, 1.0, starts)[:, None]
        curve = slope * knots + bend * (knots**2 - 0.5) + generator.normal(0, 0.15, (starts, width))
        if place in factors:
            curve += generator.choice([0.0, 1.5, -1.5], starts)[:, None]
        if step.column is not None:
            # Of twelve starts, six are simple functions, two each input's own part of the target.
            curve[::6] = additive[np.arange(len(curve[::6])) % len(additive), step.column]
            shapes = _shapes(rows, step.column, cells, place in factors)
            chosen = shapes[generator.integers(len(shapes), size=starts)]
            chosen *= generator.choice([-1.0, 1.0], starts)[:, None]
            curve[1::2] = chosen[1::2]
            low[:, step.curve] = rows.low[step.column]
            high[:, step.curve] = rows.high[step.column]
        else:
            curve[::2] = knots
        coefficients[:, step.curve] = curve
    splines = Splines(structure, cells, coefficients, low, high, np.full(starts, np.inf))
    # From the inputs outwards: the grid of a hidden curve lies where its argument does.
    for step in steps:
        if step.curve is not None and step.below:
            z = splines(rows).arguments[step.curve]
            margin = 0.01 * (z.max(1) - z.min(1)) + 1e-12
            splines.low[:, step.curve] = z.min(1) - margin
            splines.high[:, step.curve] = z.max(1) + margin
    splines.solve_linear(rows)
    return splines
