"""Smaller problems: fewer variables, expressions of the given ones, and a factor taken out of y."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kan_exp.symbolic.expression import Array, Expression, exact
from kan_exp.symbolic.problem import Problem, Proposal


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
