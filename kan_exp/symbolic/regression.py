"""Polynomials in several variables, fitted by least squares: how well do these variables explain y?

The answer needs neither starts nor steps. So thousands of changes of variables can be compared by it,
before anything is named.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from kan_exp.symbolic.expression import Array


def coordinate(values: Array) -> Array:
    """Scales a variable `(n,)` to [-1, 1]; a positive one with a long tail by its logarithm."""
    low, high = values.min(), values.max()
    if low > 0 and high > 8 * low:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return (2 * values - low - high) / max(high - low, 1e-300)


def powers(values: Array, degree: int) -> Array:
    """Chebyshev polynomials of degrees 0 to `degree` of a scaled variable: `(n, degree + 1)`."""
    columns = [np.ones_like(values), values]
    for _ in range(degree - 1):
        columns.append(2 * values * columns[-1] - columns[-2])
    return np.stack(columns[: degree + 1], 1)


@lru_cache(maxsize=512)
def exponents(variables: int, terms: int) -> tuple[tuple[int, ...], ...]:
    """The `terms` simplest products: of low degree first, of few variables first."""
    if variables == 0:
        return ((),)
    top = {1: 24, 2: 14, 3: 9, 4: 7, 5: 6}.get(variables, 4)
    if variables > 6:
        top = 3
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


class Rows:
    """Rows of data split in two, for fits and for their errors."""

    def __init__(self, y: Array, weight: Array | None, fitted: int) -> None:
        """Of the rows `(n,)`, the first `fitted` are fitted to; the others give the error."""
        self.y, self.fitted = y, fitted
        self.root = np.ones(len(y)) if weight is None else np.sqrt(weight)
        held = self.root[fitted:] * y[fitted:]
        mean = np.average(y[fitted:], weights=self.root[fitted:] ** 2)
        self.size = max(float(np.sqrt(np.mean((held - self.root[fitted:] * mean) ** 2))), 1e-300)

    def solve(self, design: Array, y: Array | None = None) -> tuple[Array, float]:
        """Coefficients of the columns `(n, k)`, and the relative error on the rows held back."""
        y = self.y if y is None else y
        weighted = design * self.root[:, None]
        target = y * self.root
        near, far = weighted[: self.fitted], weighted[self.fitted :]
        size = np.sqrt((near**2).sum(0))
        size[size == 0] = 1.0
        near = near / size
        gram = near.T @ near
        gram.flat[:: len(gram) + 1] += 1e-13
        try:
            factor = np.linalg.cholesky(gram)
            right = near.T @ target[: self.fitted]
            coefficients = np.linalg.solve(factor.T, np.linalg.solve(factor, right))
            # Once more, on what is left: the product of columns loses half of the digits.
            left = near.T @ (target[: self.fitted] - near @ coefficients)
            coefficients += np.linalg.solve(factor.T, np.linalg.solve(factor, left))
        except np.linalg.LinAlgError:
            coefficients = np.linalg.lstsq(near, target[: self.fitted], rcond=1e-12)[0]
        coefficients = coefficients / size
        error = far @ coefficients - target[self.fitted :]
        return coefficients, float(np.sqrt(np.mean(error**2)) / self.size)


class Polynomials:
    """Designs of polynomials in columns of values, each column's powers computed once."""

    def __init__(self, terms: int = 130) -> None:
        self.terms = terms
        self._powers: dict[int, tuple[Array, Array]] = {}

    def of(self, values: Array) -> Array:
        """Powers of one variable; remembered by the array's identity."""
        known = self._powers.get(id(values))
        if known is None or known[0] is not values:
            known = (values, np.ascontiguousarray(powers(coordinate(values), 24).T))
            self._powers[id(values)] = known
        return known[1]

    def design(self, variables: list[Array], terms: int | None = None, rows: int = 0) -> Array:
        """Products of powers `(n, k)` of variables `(n,)` each."""
        if not variables:
            return np.ones((rows, 1))
        columns = [self.of(values) for values in variables]
        done: dict[tuple[int, ...], Array] = {}
        width = len(variables)
        result = []
        for index in exponents(width, terms or self.terms):
            last = max((place for place in range(width) if index[place]), default=0)
            rest = (*index[:last], 0, *index[last + 1 :])
            if any(rest):
                column = done[rest] * columns[last][index[last]] if rest in done else None
                if column is None:
                    column = columns[last][index[last]].copy()
                    for place, power in enumerate(rest):
                        if power:
                            column = column * columns[place][power]
            else:
                column = columns[last][index[last]]
            done[index] = column
            result.append(column)
        return np.stack(result, 1)
