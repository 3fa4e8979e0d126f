"""The search for a formula: from simple structures to larger ones, within a limit of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from kan_exp.symbolic.constants import simplified, standard_errors
from kan_exp.symbolic.expression import Array, Constant, Expression
from kan_exp.symbolic.problem import Finder, Problem, Proposal
from kan_exp.symbolic.quotients import quotients
from kan_exp.symbolic.reduction import State, reductions
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.regression import Polynomials, Rows
from kan_exp.symbolic.sums import sums, sums_of_functions
from kan_exp.symbolic.trees import find_trees

# Part of the rows that is held back to compare formulas.
_HELD = 0.2
# Relative errors: below the first a formula is exact, below the second data have no noise.
_EXACT, _NOISELESS = 1e-8, 4e-4
# Rows on which proposals are fitted before they are taken seriously.
_FIRST_ROWS = 600
# A formula with more free constants says little, however well it fits.
_MOST_FREE, _MOST_COMPLEX = 4, 60
# Seconds for which a better form of an exact formula is looked for.
_POLISHING = 0.6


@dataclass(frozen=True)
class Candidate:
    """A formula with its errors.

    Attributes:
        expression: The formula, of columns of x.
        rmse: Of the training rows, in units of y.
        validation_rmse: Of the validation rows, in units of y.
        errors: Standard errors of the free constants `(k,)`, in their order.
        origin: What found it, in a few words.
    """

    expression: Expression
    rmse: float
    validation_rmse: float
    errors: Array
    origin: str

    @property
    def complexity(self) -> int:
        return self.expression.complexity


@dataclass
class Search:
    """What a search has found so far.

    Attributes:
        candidates: Every formula worth showing: none of them is worse than a simpler one.
        best: The formula to show, or None.
        found: Whether `best` holds to the noise: what it leaves is like noise, and it is simple.
        noise: Estimated deviation of the noise in units of y; 0 where y has none.
        seconds: What the search took.
        complete: False if time ran out, or the user stopped it.
    """

    candidates: list[Candidate] = field(default_factory=list)
    best: Candidate | None = None
    found: bool = False
    noise: float = 0.0
    seconds: float = 0.0
    complete: bool = False


def search(
    x: Array,
    y: Array,
    *,
    weight: Array | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    told: Callable[[str], None] = lambda doing: None,
) -> Search:
    """Finds a formula of the columns of `x` `(n, in)` for `y` `(n,)`.

    Args:
        weight: Weights of the rows `(n,)`; by default 1.
        seconds: Limit of time. The best so far is the result, also on Ctrl-C.
        seed: Of the split into training and validation rows, and of random starts.
        told: Called with what is being tried.
    """
    began = time.monotonic()
    result = Search()
    judge = _Judge(x, y, np.ones(len(y)) if weight is None else weight, began + seconds, seed)
    try:
        for doing, proposals in judge.ways():
            told(doing)
            judge.hear(proposals)
            if judge.settled or judge.problem.over:
                break
        result.complete = judge.settled or not judge.problem.over
    except KeyboardInterrupt:
        result.complete = False
    judge.conclude(result)
    result.seconds = time.monotonic() - began
    return result


class _Judge:
    """Hears proposals, and decides which of them is the formula."""

    def __init__(self, x: Array, y: Array, weight: Array, deadline: float, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(y))
        held = order[: int(_HELD * len(y))]
        kept = order[len(held) :]
        self.problem = Problem(x[kept], y[kept], weight[kept], 0.0, deadline, seed)
        self.held = Problem(x[held], y[held], weight[held], 0.0, deadline, seed)
        total = max(self.problem.weight.sum(), 1e-300)
        mean = float(self.problem.weight @ self.problem.y) / total
        self.size = math.sqrt(float(self.problem.weight @ (self.problem.y - mean) ** 2) / total)
        self.states: dict[str, tuple[State, bool]] = {}
        # Of each proposal its relative error on a few rows, the fitted formula and where it is from.
        self.heard: list[tuple[float, Expression, str]] = []
        self.candidates: dict[str, Candidate] = {}
        self.exact_since: float | None = None
        self.settled = False
        few = np.linspace(0, len(kept) - 1, min(_FIRST_ROWS, len(kept))).astype(int)
        self.few = replace(
            self.problem,
            x=self.problem.x[few],
            y=self.problem.y[few],
            weight=self.problem.weight[few],
        )

    # --- what is tried ----------------------------------------------------------------------

    def ways(self) -> Iterator[tuple[str, Iterator[Proposal]]]:
        """Ways to find a formula, the quick and simple ones first, each with what it does."""
        if self.size == 0 or not self.problem.x.shape[1]:
            return
        yield "factors and merged variables", reductions(self.problem, 1, self.states)
        self.estimate_noise()
        if self.problem.noise:
            self.states.clear()
            yield "factors and merged variables, with noise", reductions(
                self.problem, 1, self.states
            )
            self.estimate_noise()
        smaller = self.smaller_problems()
        for doing, finder, most in (
            ("sums of products", sums, 6),
            ("curves in a tree", find_trees, 3),
            ("quotients", quotients, 5),
            ("sums of functions", sums_of_functions, 5),
        ):
            for state in smaller:
                if len(state.variables) <= most:
                    yield doing, self.within(finder, state)
        yield "alternatives of merged variables", reductions(self.problem, 3, self.states)
        for doing, finder in (("sums of products", sums), ("curves in a tree", find_trees)):
            yield doing, finder(self.problem)

    def within(self, finder: Finder, state: State) -> Iterator[Proposal]:
        """A finder's proposals for a smaller problem, as formulas of the given columns."""
        share = time.monotonic() + (self.problem.deadline - time.monotonic()) / 3
        for proposal in finder(replace(state.smaller(self.problem), deadline=share)):
            origin = ", ".join((*state.told, proposal.origin))
            yield Proposal(state.given(proposal.expression), origin)

    def smaller_problems(self) -> list[State]:
        """The states with the fewest variables that still explain y, and the given problem."""
        states = [state for state, relative in self.states.values() if state.variables]
        states.sort(key=lambda state: (len(state.variables), state.error))
        good = max(10 * min((state.error for state in states), default=0.0), 1e-4)
        chosen = [state for state in states if state.error <= good][:2]
        whole = max(states, key=lambda state: len(state.variables), default=None)
        if whole is not None and whole not in chosen:
            chosen.append(whole)
        return chosen

    def estimate_noise(self) -> None:
        """Sets the noise to the smallest error that any polynomial has left."""
        left = min((state.error for state, relative in self.states.values() if not relative), default=1.0)
        noise = self.size * left if left > _NOISELESS else 0.0
        self.problem = replace(self.problem, noise=noise)
        self.few = replace(self.few, noise=noise)

    # --- what is heard ----------------------------------------------------------------------

    def hear(self, proposals: Iterator[Proposal]) -> None:
        """Takes proposals until one of them settles the question, or there are no more."""
        seen = 0
        for proposal in proposals:
            self.consider(proposal)
            seen += 1
            if self.exact_since is not None:
                late = time.monotonic() - self.exact_since > _POLISHING
                if late or seen > 12 or self.plainest().complexity < 12:
                    self.settled = True
            if self.settled or self.problem.over:
                break
        if self.exact_since is not None:
            self.settled = True
        elif self.problem.noise:
            self.weigh()

    def consider(self, proposal: Proposal) -> None:
        few = self.few
        fit = refit(proposal.expression, few.x, few.y, few.weight)
        if not math.isfinite(fit.loss):
            return
        error = math.sqrt(fit.loss / max(few.weight.sum(), 1e-300)) / self.size
        if error < _EXACT:
            if self.add(fit.expression, proposal.origin) and self.exact_since is None:
                self.exact_since = time.monotonic()
            return
        self.heard.append((error, fit.expression, proposal.origin))

    def add(self, expression: Expression, origin: str) -> bool:
        """Simplifies a formula and keeps it; returns whether it is exact."""
        problem, held = self.problem, self.held
        simple = simplified(expression, problem.x, problem.y, problem.weight)
        rmse, held_rmse = _rmse(simple, problem), _rmse(simple, held)
        if not math.isfinite(rmse):
            return False
        errors = standard_errors(simple, problem.x, problem.y, problem.weight)
        candidate = Candidate(simple, rmse, held_rmse, errors, origin)
        known = self.candidates.get(str(simple))
        if known is None or rmse < known.rmse:
            self.candidates[str(simple)] = candidate
        return max(rmse, held_rmse if len(held.y) else 0.0) < 10 * _EXACT * self.size

    def plainest(self) -> Candidate:
        """The simplest exact formula."""
        exact = [c for c in self.candidates.values() if c.rmse < 10 * _EXACT * self.size]
        return min(exact, key=lambda c: (c.complexity + 3 * len(c.errors), c.rmse))

    def weigh(self) -> None:
        """Simplifies the best of what was heard under noise, and settles if one holds."""
        if not self.heard:
            return
        self.heard.sort(key=lambda heard: heard[0])
        best = self.heard[0][0]
        near = [heard for heard in self.heard if heard[0] <= 1.03 * best]
        near.sort(key=lambda heard: heard[1].complexity)
        for _, expression, origin in near[:5]:
            if self.problem.over:
                break
            self.add(expression, origin)
        self.heard = self.heard[:20]
        best_candidate = self.best()
        self.settled = best_candidate is not None and self.holds(best_candidate)

    # --- what is concluded ------------------------------------------------------------------

    def best(self) -> Candidate | None:
        """The formula with the shortest description of the data."""
        if self.exact_since is not None:
            return self.plainest()
        rows = len(self.problem.y)

        def length(candidate: Candidate) -> float:
            error = max(candidate.rmse / self.size, 1e-12)
            free = len(candidate.errors)
            return rows * math.log(error) + 1.5 * candidate.complexity + (3 + 0.5 * math.log(rows)) * free

        return min(self.candidates.values(), key=length, default=None)

    def holds(self, candidate: Candidate) -> bool:
        """Whether what a formula leaves is noise, and the formula is simple enough to say something."""
        if len(candidate.errors) > _MOST_FREE or candidate.complexity > _MOST_COMPLEX:
            return False
        if not candidate.expression.inputs:
            return False
        if candidate.rmse < 10 * _EXACT * self.size:
            return candidate.validation_rmse < 100 * _EXACT * self.size
        if not self.problem.noise:
            return False
        # The explained part must be certain: ten standard errors of chance.
        explained = 1 - (candidate.validation_rmse / self.size) ** 2
        if explained < 10 * math.sqrt(2 / max(len(self.held.y), 1)):
            return False
        return _like_noise(candidate.expression, self.problem)

    def conclude(self, result: Search) -> None:
        if not self.candidates and self.heard:
            self.heard.sort(key=lambda heard: heard[0])
            for _, expression, origin in self.heard[:3]:
                self.add(expression, origin)
        elif self.exact_since is None and self.heard and not self.problem.noise:
            for _, expression, origin in sorted(self.heard, key=lambda heard: heard[0])[:3]:
                self.add(expression, origin)
        result.best = self.best()
        result.found = result.best is not None and self.holds(result.best)
        result.noise = self.problem.noise
        if result.best is not None and result.best.rmse < 10 * _EXACT * self.size:
            result.noise = 0.0
        result.candidates = _front([*self.candidates.values(), *self.constant()])

    def constant(self) -> list[Candidate]:
        """The mean, as the simplest formula of all."""
        problem = self.problem
        mean = float(problem.weight @ problem.y) / max(problem.weight.sum(), 1e-300)
        expression = Constant(mean)
        error = np.array([self.size / math.sqrt(max(len(problem.y), 1))])
        return [
            Candidate(
                expression, _rmse(expression, problem), _rmse(expression, self.held), error, "mean"
            )
        ]


def _rmse(expression: Expression, problem: Problem) -> float:
    if not problem.weight.any():
        return math.nan
    with np.errstate(all="ignore"):
        squares = (expression(problem.x) - problem.y) ** 2
    return math.sqrt(float(problem.weight @ squares) / float(problem.weight.sum()))


def _like_noise(expression: Expression, problem: Problem) -> bool:
    """Whether polynomials of the inputs explain nothing of what a formula leaves (an F test)."""
    left = expression(problem.x) - problem.y
    rows = len(left)
    inputs = [np.ascontiguousarray(column) for column in problem.x.T if np.ptp(column) > 0]
    inputs.append(expression(problem.x))
    terms = max(min(120, rows // 8), 4)
    design = Polynomials(terms, np.arange(rows)).design(inputs)
    fitted = Rows(left, problem.weight, rows)
    weighted = design * fitted.root[:, None]
    q, _ = np.linalg.qr(weighted)
    target = left * fitted.root
    explained = float(((q.T @ target) ** 2).sum())
    rest = max(float(target @ target) - explained, 1e-300)
    count = q.shape[1]
    ratio = (explained / count) / (rest / max(rows - count, 1))
    # Four deviations above the mean of F: chance exceeds it about once in ten thousand.
    return ratio < 1 + 4 * math.sqrt(2 / count)


def _front(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates by complexity, each better on validation than all simpler ones."""
    result: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.complexity, c.validation_rmse)):
        if not result or candidate.validation_rmse < 0.99 * result[-1].validation_rmse:
            result.append(candidate)
    return result
