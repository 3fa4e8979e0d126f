"""Parts of a target that depend on fewer variables each: the terms of a sum, or two factors.

A formula of each part makes one of the target: divide and conquer, as AI Feynman does it (Udrescu
and Tegmark 2020), with polynomials and splines in the place of a trained network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import Array, Constant, Expression, Input, Product, Sum
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.reduction import Reduction
from kan_exp.symbolic.regression import Holdout, Polynomials

# Most variables of a sum, and of a product.
_MOST_ADDED, _MOST_MULTIPLIED = 6, 4
# The largest relative error of parts that are worth a search.
_WORTH = 0.02
# Separations that are tried, and their errors, in those of the best one.
_MOST, _AS_GOOD = 3, 3.0
# Random starts of a product, rounds of each, and steps after them where the error is not hopeless.
_STARTS, _ROUNDS, _STEPS, _HOPELESS = 4, 6, 12, 0.9
# Cells of a variable's splines; more are taken if their error is clearly smaller.
_CELLS, _CLEARLY = (4, 7, 12, 20, 35, 60), 0.95
# From as many cells on, polynomials of several variables have splines of each beside them.
_BESIDE = 12
# One in so many rows is held back for the error.
_HELD = 6
# The least relative noise of a part.
_LEAST = 1e-7


@dataclass(frozen=True)
class Part:
    """A target that depends on some of the columns."""

    columns: tuple[int, ...]  # places in the given x
    x: Array  # these columns, at some of the rows `(m, k)`
    y: Array  # what the other parts leave of the target `(m,)`
    weight: Array  # of the rows' squared errors `(m,)`
    noise: float  # deviation of `y` from the part, in its units

    def given(self, expression: Expression) -> Expression:
        """A formula of the given columns, from one of the part's."""
        return expression.substituted([Input(column) for column in self.columns])


@dataclass(frozen=True)
class Separation:
    """Parts whose sum, or whose product and a constant, is the target."""

    parts: tuple[Part, ...]  # the terms or factors
    is_product: bool  # whether they are factors
    error: float  # of the fit, in deviations of the target

    def combined(self, formulas: Sequence[Expression]) -> Expression:
        """The target's formula from those of the parts."""
        given = [part.given(formula) for part, formula in zip(self.parts, formulas, strict=True)]
        return Product(tuple(given)) + Constant(0.0) if self.is_product else Sum(tuple(given))


class _Factors(NamedTuple):
    """Two factors `(m,)` and a constant, and their error in parts of the target's deviation."""

    left: Array
    right: Array
    constant: float
    error: float


def separations(problem: Problem) -> list[Separation]:
    """The finest sum of parts that explains the target, and products of two parts, best first.

    None if there are too few rows to hold some back.
    """
    if len(problem.y) < _HELD:
        return []
    data = _Data(problem)
    if not 1 < len(data.columns) <= _MOST_ADDED:
        return []
    found = [data.added()]
    if len(data.columns) <= _MOST_MULTIPLIED:
        first, *others = range(len(data.columns))
        for size in range(len(others)):
            for beside in combinations(others, size):
                if problem.over:
                    break
                rest = tuple(place for place in others if place not in beside)
                found.append(data.multiplied((first, *beside), rest))
    good = sorted((one for one in found if one), key=lambda one: one.error)
    return [one for one in good if one.error <= _AS_GOOD * good[0].error][:_MOST]


class _Data:
    """Rows to which parts are fitted."""

    def __init__(self, problem: Problem) -> None:
        self.generator = problem.generator
        self.search = Reduction(problem, relative=False)
        state = self.search.start
        self.columns = [place for variable in state.variables for place in variable.inputs]
        self.values = state.values
        self.bound = self.search.bound(state)
        if not problem.noise:
            self.bound = min(self.bound, _WORTH)
        y, weight = self.search.y, self.search.weight
        fitted = len(y) - len(y) // _HELD
        self.rows = Holdout(y, weight, fitted)
        self.few_rows = self.search.rows(state, few=True)
        most = fitted // (5 * len(self.values))
        self.choices = [cells for cells in _CELLS if cells <= most] or [1]
        self.cells = self.choices[0]

    def design(self, places: Sequence[int], few: bool = False) -> Array:
        """Columns `(m, k)` for functions of some variables."""
        polynomials: Polynomials = self.search.few_polynomials if few else self.search.polynomials
        if len(places) > 1:
            values = [self.values[place] for place in places]
            designs = [polynomials.design(values)]
            if self.cells >= _BESIDE:
                designs += [polynomials.curve(one, _BESIDE)[:, :-1] for one in values]
            return np.concatenate(designs, 1)
        cells = min(self.cells, self.search.few_fitted // 20) if few else self.cells
        return polynomials.curve(self.values[places[0]], cells)

    # --- sums ----------------------------------------------------------------------------------

    def added_groups(self) -> list[tuple[int, ...]]:
        """The smallest groups of variables that do not interact: the target is a sum of them."""
        every = range(len(self.values))
        group = list(every)  # each variable's, by the first of its members
        for i, j in combinations(every, 2):
            if group[i] != group[j] and self.interact(i, j):
                joined, kept = max(group[i], group[j]), min(group[i], group[j])
                group = [kept if name == joined else name for name in group]
        names = sorted({*group})
        return [tuple(place for place in every if group[place] == name) for name in names]

    def interact(self, i: int, j: int) -> bool:
        """Whether functions without one of two variables each do not add up to the target."""
        every = range(len(self.values))
        without = [[place for place in every if place != left] for left in (i, j)]
        designs = [self.design(places) for places in without]
        return self.rows.solve(np.concatenate(designs, 1))[1] > self.bound

    def added(self) -> Separation | None:
        """The finest sum."""
        best: Separation | None = None
        for cells in self.choices:
            self.cells = cells
            groups = self.added_groups()
            if len(groups) == 1:
                continue
            ones = np.ones((len(self.search.y), 1))
            designs = [self.design(group) for group in groups]
            terms, _, error = self.rows.sum_of_parts([*designs, ones[:, :0]])
            if error <= self.bound and (best is None or error < _CLEARLY * best.error):
                total = np.sum(terms, 0)
                targets = [self.search.y - total + term + (total - term).mean() for term in terms]
                parts = [
                    self.part(group, y, ones[:, 0], error)
                    for group, y in zip(groups, targets, strict=True)
                ]
                best = Separation(tuple(parts), is_product=False, error=error)
        return best

    def part(self, group: Sequence[int], y: Array, factor: Array, error: float) -> Part:
        """The part of some variables; `factor` is what it is multiplied by in the target."""
        size = np.abs(factor)
        known = size > 1e-3 * size.max()
        weight = (self.search.weight * size**2)[known]
        mean = float(weight.mean() / self.search.weight.mean())
        columns = tuple(self.columns[place] for place in group)
        return Part(
            columns,
            self.search.x[known][:, columns],
            y[known],
            weight / mean,
            max(error, _LEAST) * self.search.size / math.sqrt(mean),
        )

    # --- products ------------------------------------------------------------------------------

    def multiplied(self, one: Sequence[int], other: Sequence[int]) -> Separation | None:
        """Two factors and a constant."""
        best: _Factors | None = None
        few = 2 * max(self.search.error(self.search.start, few=True), self.bound)
        for cells in self.choices if min(len(one), len(other)) == 1 else self.choices[:1]:
            self.cells = cells
            designs = self.design(one, few=True), self.design(other, few=True)
            if self.alternated(self.few_rows, *designs, few) is None:
                continue
            fit = self.alternated(self.rows, self.design(one), self.design(other), self.bound)
            if fit and (best is None or fit.error < _CLEARLY * best.error):
                best = fit
        if best is None:
            return None
        y, (left, right, _, error) = self.search.y - best.constant, best
        with np.errstate(all="ignore"):
            parts = self.part(one, y / right, right, error), self.part(other, y / left, left, error)
        return Separation(parts, is_product=True, error=error)

    def alternated(self, rows: Holdout, one: Array, other: Array, bound: float) -> _Factors | None:
        """Least squares for one factor at a time from random ones, then for both at once."""
        for number in range(_STARTS):
            # A factor of one sign is found from 1. A constant disturbs the first rounds.
            right = np.ones(len(other))
            if number:
                right = other @ self.generator.normal(size=other.shape[1])
            beside = np.ones((len(one), int(number > 1)))
            for _ in range(_ROUNDS):
                design = np.concatenate([one * right[:, None], beside], 1)
                left = one @ rows.solve(design)[0][: one.shape[1]]
                left /= max(math.sqrt(float(np.mean(left**2))), 1e-300)
                design = np.concatenate([other * left[:, None], beside], 1)
                coefficients, error = rows.solve(design)
                right = other @ coefficients[: other.shape[1]]
                if error <= 0.1 * bound:
                    break
            fit = _Factors(left, right, float(coefficients[other.shape[1] :].sum()), error)
            for _ in range(_STEPS):
                if not fit.error < _HOPELESS:
                    break
                step = _stepped(rows, one, other, fit)
                if not step.error < _CLEARLY * fit.error:
                    break
                fit = step
            if fit.error <= bound:
                return fit
        return None


def _stepped(rows: Holdout, one: Array, other: Array, fit: _Factors) -> _Factors:
    """A step of Gauss and Newton on both factors and the constant."""
    ones = np.ones((len(one), 1))
    design = np.concatenate([one * fit.right[:, None], other * fit.left[:, None], ones], 1)
    residual = rows.y - fit.left * fit.right - fit.constant
    root = rows.root[: rows.fitted]
    size = np.sqrt(((design[: rows.fitted] * root[:, None]) ** 2).sum(0))
    size[size == 0] = 1.0
    # The factors may exchange a number, which takes one rank from the columns.
    weighted = design[: rows.fitted] * root[:, None] / size
    step = np.linalg.lstsq(weighted, residual[: rows.fitted] * root, rcond=1e-10)[0] / size
    width = one.shape[1]
    left = fit.left + one @ step[:width]
    right = fit.right + other @ step[width:-1]
    constant = fit.constant + float(step[-1])
    far = (left * right + constant - rows.y) * rows.root
    error = math.sqrt(float(np.mean(far[rows.fitted :] ** 2))) / rows.size
    return _Factors(left, right, constant, error)
