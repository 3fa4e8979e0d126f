"""Polynomials in several variables, fitted by least squares: how well do they explain y?

The answer needs neither starts nor steps. So thousands of changes of variables can be compared by
it, before anything is named.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import Array


def coordinate(values: Array, tail: float = 8.0) -> Array:
    """Scales a variable `(n,)` to [-1, 1]: by its logarithm, if it is positive and has a long tail.

    Args:
        tail: The ratio of the largest value to the smallest one from which a tail is long.
    """
    low, high = values.min(), values.max()
    if low > 0 and high > tail * low:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return (2 * values - low - high) / max(high - low, 1e-300)


def chebyshev(values: Array, degree: int) -> Array:
    """Chebyshev polynomials of degrees 0 to `degree` of a scaled variable: `(degree + 1, n)`."""
    result = np.empty((degree + 1, len(values)))
    result[0] = 1.0
    if degree:
        result[1] = values
    for place in range(2, degree + 1):
        result[place] = 2 * values * result[place - 1] - result[place - 2]
    return result


def line_through(values: Array, inputs: Array) -> tuple[float, float, float]:
    """Shift and slope of the nearest line, and its error in deviations of the values `(n,)`."""
    design = np.stack([np.ones_like(inputs), inputs], 1)
    shift, slope = np.linalg.lstsq(design, values, rcond=None)[0]
    error = float(np.std(values - shift - slope * inputs))
    return float(shift), float(slope), error / max(float(np.std(values)), 1e-300)


@lru_cache(maxsize=512)
def exponents(variables: int, terms: int) -> tuple[tuple[int, ...], ...]:
    """The `terms` simplest products: of low degree first, of few variables first."""
    if variables == 0:
        return ((),)
    top = {1: 24, 2: 14, 3: 9, 4: 7, 5: 6, 6: 4}.get(variables, 3)
    every = [(0,) * variables]
    frontier = [(0,) * variables]
    for _ in range(top):
        grown = {
            (*index[:place], index[place] + 1, *index[place + 1 :])
            for index in frontier
            for place in range(variables)
        }
        frontier = sorted(grown)
        every += frontier
    every.sort(key=lambda index: (sum(index) + 0.4 * (sum(map(bool, index)) - 1), index))
    return tuple(every[:terms])


class Holdout:
    """Rows of data split in two, for fits and for their errors."""

    def __init__(self, y: Array, weight: Array, fitted: int, size: float = 0.0) -> None:
        """Of the rows `(n,)`, the first `fitted` are fitted to; the others give the error.

        Errors are relative to `size`, by default the deviation of the rows that give the error.
        """
        self.y, self.fitted, self.root = y, fitted, np.sqrt(weight)
        root, y = self.root[fitted:], y[fitted:]
        total = float(root @ root)
        if not size and total:
            mean = float(root**2 @ y) / total
            size = max(math.sqrt(float(np.mean((root * (y - mean)) ** 2))), 1e-300)
        self.size = size or 1.0

    def solve(self, design: Array) -> tuple[Array, float]:
        """Coefficients of the columns `(n, k)`, and the relative error on the rows held back."""
        weighted = design * self.root[:, None]
        target = self.y * self.root
        near, far = weighted[: self.fitted], weighted[self.fitted :]
        size = np.sqrt((near**2).sum(0))
        size[size == 0] = 1.0
        near = near / size
        gram = near.T @ near
        gram.flat[:: len(gram) + 1] += 1e-13
        try:
            inverse = np.linalg.inv(gram)
        except np.linalg.LinAlgError:
            inverse = np.linalg.pinv(gram, hermitian=True)
        coefficients = inverse @ (near.T @ target[: self.fitted])
        # Once more, on what is left: the product of columns loses half of the digits.
        coefficients += inverse @ (near.T @ (target[: self.fitted] - near @ coefficients))
        coefficients = coefficients / size
        error = far @ coefficients - target[self.fitted :]
        return coefficients, float(np.sqrt(np.mean(error**2)) / self.size)

    def sum_of_parts(self, designs: Sequence[Array]) -> tuple[list[Array], Array, float]:
        """Fits a sum of linear parts, whose columns `(n, k)` are given, the last a constant's.

        Returns:
            The values of each part but the last `(n,)`, the coefficients of the last, and the
            error, see `solve`.
        """
        coefficients, error = self.solve(np.concatenate(designs, 1))
        ends = np.cumsum([design.shape[1] for design in designs[:-1]])
        *parts, last = np.split(coefficients, ends)
        return [d @ c for d, c in zip(designs[:-1], parts, strict=True)], last, error


class Polynomials:
    """Designs of polynomials in variables, at some of the rows; of splines in a single one."""

    def __init__(self, terms: int, rows: NDArray[np.intp], tail: float = 8.0) -> None:
        """
        Args:
            terms: Columns of a design.
            rows: Places of the rows `(n,)`.
            tail: See `coordinate`.
        """
        self.terms, self.tail, self.rows = terms, tail, rows
        # The array is kept beside its powers, so that no other one can have its identity.
        self._powers: OrderedDict[tuple[int, int], tuple[Array, Array]] = OrderedDict()

    def _remembered(self, values: Array, kind: int, make: Callable[[], Array]) -> Array:
        """What `make` gives for a variable; the latest ones are remembered."""
        key = id(values), kind
        if key not in self._powers:
            self._powers[key] = values, make()
            if len(self._powers) > 40:
                self._powers.popitem(last=False)
        self._powers.move_to_end(key)
        return self._powers[key][1]

    def powers(self, values: Array, degree: int) -> Array:
        """Powers 0 to `degree` of a variable `(degree + 1, n)`."""
        return self._remembered(
            values, degree, lambda: chebyshev(coordinate(values, self.tail)[self.rows], degree)
        )

    def design(self, variables: Sequence[Array]) -> Array:
        """Products of powers `(n, k)` of variables, whose values at every row are given."""
        width = len(variables)
        if width == 1:
            return self.curve(variables[0], min(len(self.rows) // 40, 40))
        indices, parents, degree = _plan(width, self.terms)
        result = np.empty((len(indices), len(self.rows)))
        result[0] = 1.0
        columns = [self.powers(values, degree) for values in variables]
        for place, (parent, variable, power) in enumerate(parents):
            if parent == 0:
                result[place + 1] = columns[variable][power]
            else:
                np.multiply(result[parent], columns[variable][power], out=result[place + 1])
        return result.T

    def curve(self, values: Array, cells: int) -> Array:
        """B-splines of one variable, with as many rows in each cell: `(n, cells + 5)`."""

        def make() -> Array:
            scaled = coordinate(values, self.tail)
            knots = np.unique(np.quantile(scaled, np.linspace(0, 1, cells + 1)))
            return b_splines(scaled[self.rows], knots)

        return self._remembered(values, -cells, make)


def b_splines(values: Array, knots: Array, degree: int = 5) -> Array:
    """B-splines `(n, len(knots) - 1 + degree)` on rising knots, by de Boor's recursion."""
    padded = np.r_[[knots[0]] * degree, knots, [knots[-1]] * degree]
    cell = np.clip(np.searchsorted(knots, values, "right") - 1, 0, len(knots) - 2) + degree
    basis = np.zeros((degree + 1, len(values)))
    basis[0] = 1.0
    for order in range(1, degree + 1):
        saved = np.zeros(len(values))
        for place in range(order):
            right = padded[cell + place + 1]
            left = padded[cell + place + 1 - order]
            share = basis[place] / (right - left)
            basis[place] = saved + (right - values) * share
            saved = (values - left) * share
        basis[order] = saved
    result = np.zeros((len(values), len(knots) - 1 + degree))
    np.put_along_axis(result, (cell - degree)[:, None] + np.arange(degree + 1), basis.T, axis=1)
    return result


@lru_cache(maxsize=512)
def _plan(variables: int, terms: int) -> tuple[Any, list[tuple[int, int, int]], int]:
    """Each product as an earlier one times a power of one more variable, and the highest power."""
    indices = exponents(variables, terms)
    place = {index: number for number, index in enumerate(indices)}
    parents = []
    for index in indices[1:]:
        # Products of fewer variables come first, so the rest of a product is always there.
        last = max(at for at in range(variables) if index[at])
        rest = (*index[:last], 0, *index[last + 1 :])
        parents.append((place[rest], last, index[last]))
    return indices, parents, max(map(max, indices), default=0) if variables else 0
