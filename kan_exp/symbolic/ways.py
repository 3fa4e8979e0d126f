"""Ways to find a formula: what each proposes, with its error on a few rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, Self

import numpy as np

from kan_exp.symbolic.expression import Expression
from kan_exp.symbolic.problem import Finder, Problem, Proposal
from kan_exp.symbolic.reduction import State, reductions
from kan_exp.symbolic.refit import refit

# Rows on which proposals are fitted before they are taken seriously.
_FEW_ROWS = 600


def few_rows(problem: Problem) -> Problem:
    """A problem of at most `_FEW_ROWS` rows of another one, evenly spread."""
    count = len(problem.y)
    rows = np.linspace(0, count - 1, min(_FEW_ROWS, count)).astype(int)
    x, y, weight = problem.x[rows], problem.y[rows], problem.weight[rows]
    return replace(problem, x=x, y=y, weight=weight)


class Trial(NamedTuple):
    """A proposal, fitted to a few rows.

    Attributes:
        error: Of these rows, in deviations of the target; infinite if the formula is not finite.
        expression: The formula with its fitted constants.
        origin: The way it was found, in a few words.
        has_units: Whether its units are right; if not, it was not fitted.
    """

    error: float
    expression: Expression
    origin: str
    has_units: bool = True


# What is heard of a way: its trials, and the smaller problems that it finds, by their keys.
Heard = Trial | dict[str, State]


@dataclass(frozen=True)
class Way:
    """A search in given data. It depends on no other way, and can be pickled.

    Attributes:
        doing: What is tried, in a few words.
        problem: The given data.
        size: Deviation of their target.
    """

    doing: str
    problem: Problem
    size: float

    def heard(self) -> Iterator[Heard]:
        """Goes the way."""
        raise NotImplementedError

    def until(self, deadline: float) -> Self:
        """The same way with another deadline."""
        return replace(self, problem=replace(self.problem, deadline=deadline))

    def trials(self, proposals: Iterator[Proposal]) -> Iterator[Trial]:
        """Fits proposals to a few rows."""
        few, dimensions = few_rows(self.problem), self.problem.dimensions
        for proposal in proposals:
            if dimensions is not None and not dimensions.allow(proposal.expression):
                yield Trial(math.inf, proposal.expression, proposal.origin, has_units=False)
                continue
            fit = refit(proposal.expression, few.x, few.y, few.weight)
            error = math.inf
            if math.isfinite(fit.loss):
                error = math.sqrt(fit.loss / max(few.weight.sum(), 1e-300)) / self.size
            yield Trial(error, fit.expression, proposal.origin)


@dataclass(frozen=True)
class Reducing(Way):
    """Factors and merged variables.

    Attributes:
        width: See `reductions`.
        seen: States that have been looked at, by their keys.
    """

    width: int
    seen: Mapping[str, State]

    def heard(self) -> Iterator[Heard]:
        seen, known = dict(self.seen), len(self.seen)
        for trial in self.trials(reductions(self.problem, self.width, seen)):
            yield dict(islice(seen.items(), known, None))
            known = len(seen)
            yield trial
        yield dict(islice(seen.items(), known, None))


@dataclass(frozen=True)
class Finding(Way):
    """A finder's formulas for a smaller problem, as formulas of the given columns.

    Attributes:
        finder: The finder.
        state: The smaller problem; the given one if None.
    """

    finder: Finder
    state: State | None = None

    def heard(self) -> Iterator[Heard]:
        return self.trials(self._proposals())

    def _proposals(self) -> Iterator[Proposal]:
        if self.state is None:
            yield from self.finder(self.problem)
            return
        for proposal in self.finder(self.state.smaller(self.problem)):
            origin = ", ".join((*self.state.told, proposal.origin))
            yield Proposal(self.state.given(proposal.expression), origin)
