"""What every strategy of the search is given, and what it returns."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.dimensions import Dimensions
from kan_exp.symbolic.expression import Array, Expression, exact


@dataclass(frozen=True)
class Problem:
    """Data in which a formula is sought."""

    x: Array  # inputs `(n, in)`, finite
    y: Array  # target `(n,)`, finite
    weight: Array  # of the rows' squared errors `(n,)`
    noise: float  # deviation of the noise of y, as far as known; 0: none
    deadline: float  # when to stop, on the clock of `time.monotonic`
    seed: int = 0  # of random starts
    dimensions: Dimensions | None = None  # of the inputs and the target, if units are known

    @property
    def data(self) -> tuple[Array, Array, Array]:
        """Inputs, target and weights."""
        return self.x, self.y, self.weight

    @property
    def varying(self) -> list[int]:
        """The columns of x with more than one value."""
        return list(np.flatnonzero(np.ptp(self.x, axis=0) > 0)) if len(self.x) else []

    @property
    def deviation(self) -> float:
        """Weighted standard deviation of y; 0 where no row has a weight."""
        if not self.weight.any():
            return 0.0
        squares = (self.y - np.average(self.y, weights=self.weight)) ** 2
        return self.root_mean(float(self.weight @ squares))

    @property
    def over(self) -> bool:
        """Whether the time has run out."""
        return time.monotonic() > self.deadline

    @property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def root_mean(self, squares: float) -> float:
        """The root mean square, from a weighted sum of squares; NaN where no row has a weight."""
        return math.sqrt(squares / float(self.weight.sum())) if self.weight.any() else math.nan

    def rmse(self, expression: Expression) -> float:
        """Weighted root mean squared error of a formula, in units of y."""
        return self.root_mean(float(self.weight @ (expression(self.x) - self.y) ** 2))

    def has_units(self, expression: Expression) -> bool:
        """Whether an expression of the inputs is consistent, as far as units are known."""
        return self.dimensions is None or self.dimensions.has_units(expression)

    def rows(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Problem:
        """The same problem with some of the rows."""
        return replace(self, x=self.x[chosen], y=self.y[chosen], weight=self.weight[chosen])

    def thinned(self, most: int) -> Problem:
        """The rows of positive weight, evenly spread where there are more than `most`."""
        used = np.flatnonzero(self.weight > 0)
        if len(used) > most:
            used = used[np.linspace(0, len(used) - 1, most).astype(int)]
        return self.rows(used)


@dataclass(frozen=True)
class Proposal:
    """A formula that may be right. Its form counts: the constants are fitted again on all rows."""

    expression: Expression  # of columns of x
    origin: str  # how it was found, in a few words


@dataclass(frozen=True)
class State:
    """A smaller problem, and the way back to the given one."""

    variables: tuple[Expression, ...]  # expressions of the columns of x, whose values are `values`
    values: tuple[Array, ...]  # of each variable `(n,)`
    y: Array  # target of the smaller problem `(n,)`: the given one, divided by `factor`
    slope: Array  # size of `factor` `(n,)`; 0 where y says nothing about the smaller problem
    factor: Expression  # an expression of the columns of x
    error: float = np.inf  # of the polynomial fit, in standard deviations of the given target
    steps: tuple[str, ...] = ()  # how it was reached, in words
    relative: bool = False  # whether the error is of the logarithm of y

    @property
    def key(self) -> str:
        """States with the same variables and the same target are one."""
        deviations = sorted(round(float(np.std(z)), 9) for z in self.values)
        return f"{self.relative} {deviations} {np.std(self.y):.9g}"

    def times(self, factor: Expression) -> Expression:
        """The state's factor times another one."""
        return factor if self.factor == exact(1) else self.factor * factor

    def given(self, expression: Expression) -> Expression:
        """The formula of the given target, from one of `y` in the variables."""
        return self.times(expression.substituted(self.variables))

    def proposal(self, expression: Expression, step: str) -> Proposal:
        """Proposes a formula of the smaller problem, and says how it was found."""
        return Proposal(self.given(expression), ", ".join((*self.steps, step)))

    def smaller(self, problem: Problem) -> Problem:
        """The smaller problem, of all rows of the given one."""
        values = [variable(problem.x) for variable in self.variables]
        x = np.stack(values, 1) if values else np.empty((len(problem.y), 0))
        factor = self.factor(problem.x)
        known = np.isfinite(x).all(1) & np.isfinite(factor)
        known &= np.abs(factor) > 1e-9 * np.abs(factor[known]).max()
        factor, rows = factor[known], replace(problem, x=x).rows(known)
        return replace(
            rows,
            y=rows.y / factor,
            weight=rows.weight * factor**2,
            # Of the mean size, as the weights have it.
            noise=problem.noise / float(np.sqrt(np.mean(factor**2))),
            dimensions=problem.dimensions
            and problem.dimensions.smaller(self.variables, self.factor),
        )

    def without(self, *places: int) -> State:
        """The same state without some of its variables."""
        kept = [place for place in range(len(self.variables)) if place not in places]
        return replace(
            self,
            variables=tuple(self.variables[place] for place in kept),
            values=tuple(self.values[place] for place in kept),
        )


class Finder(Protocol):
    """Yields formulas of a problem, the most promising ones first, and smaller problems.

    It is not continued once one of them is right, and checks `problem.over` between pieces of work
    of a tenth of a second.
    """

    def __call__(self, problem: Problem) -> Iterator[Proposal | State]: ...
