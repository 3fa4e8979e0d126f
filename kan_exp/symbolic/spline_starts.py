"""Starts of splines in a structure: simple and random functions."""

from __future__ import annotations

import numpy as np

from kan_exp.symbolic.expression import Array
from kan_exp.symbolic.spline_basis import SplineRows, projection
from kan_exp.symbolic.splines import Splines, plan
from kan_exp.symbolic.structures import Structure


def _additive(rows: SplineRows, cells: int) -> Array:
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


def _shapes(rows: SplineRows, column: int, cells: int, factor: bool) -> Array:
    """Simple functions of an input, from which fits start: coefficients `(k, cells + 3)`."""
    at, to_coefficients = projection(cells)
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
    return np.stack(shapes) @ to_coefficients.T


def random_splines(
    structure: Structure,
    rows: SplineRows,
    starts: int,
    generator: np.random.Generator,
    cells: int = 4,
) -> Splines:
    """Random curves, with the outermost ones fitted to the rows."""
    steps = plan(structure)
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
