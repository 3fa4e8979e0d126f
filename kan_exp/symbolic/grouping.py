"""Dimensionless groups: a problem with units as one of fewer variables, without units.

By the theorem of Buckingham (1914), y divided by a product of powers of its dimension depends on
dimensionless products alone, if no constant carries a unit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from kan_exp.symbolic.expression import Array, Expression, Input, power_product
from kan_exp.symbolic.problem import Problem, State
from kan_exp.symbolic.reduction import Reduction

# Exponents that are tried, the first that have a solution are taken; products of so many inputs.
_EXPONENTS = (*(np.arange(-top, top + 1.0) for top in (2, 3, 4)), np.arange(-4.0, 5.0) / 2)
_MOST_PRODUCTS = 400_000


def grouped(problem: Problem) -> State | None:
    """The problem in dimensionless groups; None if units leave it as large as it is.

    None, too, if a unit is not known, or the groups are not finite on the data.
    """
    dimensions = problem.dimensions
    if dimensions is None or dimensions.target is None or dimensions.is_logarithm:
        return None
    varying = problem.varying
    if any(dimensions.inputs[column] is None for column in varying):
        return None
    # A column of one value may be a constant of nature.
    columns = [
        column
        for column, known in enumerate(dimensions.inputs)
        if known is not None and np.abs(problem.x[:, column]).max() > 0
    ]
    if not columns:
        return None
    matrix = np.array([[float(part) for part in dimensions.inputs[c] or ()] for c in columns]).T
    target = np.array([float(part) for part in dimensions.target])
    powers = [_allowed(problem.x[:, column]) for column in columns]
    factor = next(
        (f for steps in _EXPONENTS if (f := _product(matrix, target, powers, steps))), None
    )
    if factor is None:
        return None
    count = len(columns) - int(np.linalg.matrix_rank(matrix))
    groups = _groups(matrix, powers, count)
    if len(groups) < count:
        return None
    variables = [_of(columns, group) for group in groups]
    variables = [one for one in variables if np.ptp(one(problem.x)) > 0]
    if len(variables) >= len(varying):
        return None
    empty = np.empty(0)
    return State(tuple(variables), (), empty, empty, _of(columns, factor), steps=("units",))


def grouped_error(problem: Problem, groups: State) -> float:
    """The smallest error that a polynomial leaves of y, in its units: in the groups, or in x."""
    errors = []
    for one in (problem, groups.smaller(problem)):
        search = Reduction(one, relative=False)
        errors.append(search.start.error * search.size)
    return min(errors)


def _allowed(values: Array) -> tuple[bool, bool]:
    """Whether negative powers of values are far from a pole, and fractional ones are real."""
    away = np.abs(values).min() > 1e-6 * np.abs(values).max()
    return bool(away and values.min() * values.max() > 0), bool(away and values.min() > 0)


def _every(matrix: Array, powers: Sequence[tuple[bool, bool]], steps: Array) -> Array:
    """Exponents `(k, in)`, simple ones first."""
    choices = [
        [step for step in steps if (negative or step >= 0) and (roots or step == int(step))]
        for negative, roots in powers
    ]
    if np.prod([float(len(choice)) for choice in choices]) > _MOST_PRODUCTS:
        return np.empty((0, matrix.shape[1]))
    every = np.array(list(itertools.product(*choices)))
    size = np.abs(every).sum(1) + 0.1 * (every != 0).sum(1) + 0.01 * (every < 0).sum(1)
    return every[np.argsort(size, kind="stable")]


def _product(
    matrix: Array, target: Array, powers: Sequence[tuple[bool, bool]], steps: Array
) -> tuple[float, ...] | None:
    """The simplest product of powers that has a dimension."""
    every = _every(matrix, powers, steps)
    right = np.abs(every @ matrix.T - target).max(1, initial=0.0) < 1e-9
    return tuple(every[right][0]) if right.any() else None


def _groups(
    matrix: Array, powers: Sequence[tuple[bool, bool]], count: int
) -> list[tuple[float, ...]]:
    """Independent products of powers without a dimension."""
    found: list[tuple[float, ...]] = []
    for steps in _EXPONENTS:
        every = _every(matrix, powers, steps)
        right = np.abs(every @ matrix.T).max(1, initial=0.0) < 1e-9
        for group in every[right]:
            if len(found) == count:
                return found
            if np.linalg.matrix_rank(np.array([*found, group])) > len(found):
                found.append(tuple(group))
    return found


def _of(columns: Sequence[int], exponents: Sequence[float]) -> Expression:
    return power_product(zip(map(Input, columns), exponents, strict=True))
