"""Strategies of the search: what each proposes, with its error on a few rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from kan_exp.symbolic.expression import Expression
from kan_exp.symbolic.problem import Finder, Problem, Proposal, State
from kan_exp.symbolic.refit import refit

# Rows to which proposals are fitted at first.
FEW_ROWS = 600


class Trial(NamedTuple):
    """A proposal, fitted to a few rows."""

    error: float  # in deviations of the target; infinite if not finite
    expression: Expression  # the formula with its fitted constants
    origin: str  # how it was found, in a few words
    has_units: bool = True  # whether its units are right; if not, it was not fitted


@dataclass(frozen=True)
class Strategy:
    """A finder and its data. It depends on no other strategy, and can be pickled."""

    name: str  # what is tried, in a few words
    problem: Problem  # the data
    finder: Finder  # yields formulas of these data

    def until(self, deadline: float) -> Strategy:
        """The same strategy with another deadline."""
        return replace(self, problem=replace(self.problem, deadline=deadline))

    def run(self) -> Iterator[Trial | State]:
        """Fits what is proposed to a few rows; smaller problems that are found are passed on."""
        few, size = self.problem.thinned(FEW_ROWS), self.problem.deviation
        dimensions = self.problem.dimensions
        for found in self.finder(self.problem):
            if isinstance(found, State):
                yield found
            elif dimensions is not None and not dimensions.allow(found.expression):
                yield Trial(math.inf, found.expression, found.origin, has_units=False)
            else:
                fit = refit(found.expression, *few.data)
                error = few.root_mean(fit.loss) / size if math.isfinite(fit.loss) else math.inf
                yield Trial(error, fit.expression, found.origin)


def in_state(problem: Problem, finder: Finder, state: State) -> Iterator[Proposal]:
    """A finder's formulas of a smaller problem, as formulas of the given columns."""
    for found in finder(state.smaller(problem)):
        if isinstance(found, Proposal):
            yield state.proposal(found.expression, found.origin)
