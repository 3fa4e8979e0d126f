"""The search for a formula: from simple structures to larger ones, within a limit of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from threadpoolctl import threadpool_limits

from kan_exp.symbolic.constants import simplified, standard_errors
from kan_exp.symbolic.dimensions import Dimensions
from kan_exp.symbolic.evidence import is_certain
from kan_exp.symbolic.expression import Array, Constant, Expression, Input, Power
from kan_exp.symbolic.grouping import grouped, grouped_error
from kan_exp.symbolic.problem import Finder, Problem, Proposal, weighed_rows
from kan_exp.symbolic.quotients import quotients
from kan_exp.symbolic.reduction import FITTED, HELD, State, reductions
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.regression import Polynomials
from kan_exp.symbolic.separation import separations
from kan_exp.symbolic.sums import sums, sums_of_functions, sums_of_one_unit
from kan_exp.symbolic.trees import find_trees, find_trees_again
from kan_exp.symbolic.waves import waves
from kan_exp.symbolic.ways import Finding, Heard, Reducing, Trial, Way, few_rows
from kan_exp.symbolic.workers import Workers

# Part of the rows that is held back to compare formulas.
_HELD = 0.2
# Relative errors: below the first a formula is exact, below the second data have no noise.
_EXACT, _NOISELESS = 1e-8, 4e-4
# A larger formula says little, however well it fits: nodes, of which a free constant counts as so
# many; a formula that is exact may be twice as large.
_LARGEST, _FREE = 40, 5
# Proposals after an exact one, in which a simpler form of it is looked for.
_POLISHING = 8
# Natural units of length by which a formula is clearly the shortest one. A form that comes as near
# to another, in parts of the noise, is the same one.
_CLEAR, _SAME = 10.0, 0.01
# Further ways that are gone after a formula that holds, but has free constants.
_PATIENCE = 2
# Rows whose nearest neighbors are compared.
_NEIGHBORS = 1000
# A target of fewer different values is no rounded curve.
_LEVELS = 20


@dataclass(frozen=True)
class Candidate:
    """A formula with its errors.

    Attributes:
        expression: The formula, of columns of x.
        rmse: Of the training rows, in units of y.
        validation_rmse: Of the validation rows, in units of y.
        errors: Standard errors of the free constants `(k,)`, in their order.
        origin: What found it, in a few words.
        carried: How many free constants carry a unit.
    """

    expression: Expression
    rmse: float
    validation_rmse: float
    errors: Array
    origin: str
    carried: int = 0

    @property
    def choices(self) -> int:
        """Number of free constants; one that carries a unit counts twice."""
        return len(self.errors) + self.carried

    @property
    def complexity(self) -> int:
        return self.expression.complexity


@dataclass
class Search:
    """What a search has found so far.

    Attributes:
        candidates: Every formula worth showing: none of them is worse than a simpler one.
        best: The formula to show, or None.
        found: Whether `best` is claimed: what it leaves is like noise, it is simple, and no other
            curve or formula that was tried describes the rows as briefly.
        fits: Whether what `best` leaves is like noise; not found, it may be one of many.
        noise: Estimated deviation of the noise in units of y; 0 where y has none.
        seconds: What the search took.
        complete: False if time ran out, or the user stopped it.
        interrupted: Whether the user stopped it.
        rejected: Formulas whose units are wrong, with their constants as proposed.
    """

    candidates: list[Candidate] = field(default_factory=list)
    best: Candidate | None = None
    found: bool = False
    fits: bool = False
    noise: float = 0.0
    seconds: float = 0.0
    complete: bool = False
    interrupted: bool = False
    rejected: list[Expression] = field(default_factory=list)


def search(
    x: Array,
    y: Array,
    *,
    weight: Array | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    noise: float = 0.0,
    dimensions: Dimensions | None = None,
    told: Callable[[str], None] = lambda doing: None,
    workers: Workers | None = None,
) -> Search:
    """Finds a formula of the columns of `x` `(n, in)` for `y` `(n,)`.

    Args:
        weight: Weights of the rows `(n,)`; by default 1.
        seconds: Limit of time. The best so far is the result, also on Ctrl-C.
        seed: Of the split into training and validation rows, and of random starts.
        noise: The least deviation that the noise of y has, in its units, where that is known.
        dimensions: Of the columns and of y; formulas whose units are wrong are not taken.
        told: Called with what is being tried.
        workers: Processes that try things side by side; by default this process tries all. Unless
            time runs out, the result is the same.
    """
    began = time.monotonic()
    result = Search()
    workers = workers or Workers(1)
    # Trials leave the domains of functions all the time: what is not finite is not taken. With
    # other numbers of BLAS threads, as in a worker, the last bits of results may differ.
    with np.errstate(all="ignore"), threadpool_limits(1, "blas"):
        weight = np.ones(len(y)) if weight is None else weight
        judge = _Judge(x, y, weight, began + seconds, seed, noise, dimensions)
        try:
            for way in judge.first_ways():
                told(way.doing)
                judge.hear(way.heard())
                if judge.is_over:
                    break
            else:
                ways = [*judge.later_ways()]
                with closing(workers.heard(ways, began + seconds, told)) as later:
                    for heard in later:
                        judge.hear(heard)
                        if judge.is_over:
                            break
            result.complete = judge.settled or not judge.problem.over
        except KeyboardInterrupt:
            result.interrupted = True
        judge.conclude(result)
    result.seconds = time.monotonic() - began
    return result


class _Judge:
    """Hears proposals, and decides which of them is the formula."""

    def __init__(
        self,
        x: Array,
        y: Array,
        weight: Array,
        deadline: float,
        seed: int,
        noise: float,
        dimensions: Dimensions | None,
    ) -> None:
        order = np.random.default_rng(seed).permutation(len(y))
        held = order[: int(_HELD * len(y))]
        kept = order[len(held) :]
        self.noise = noise
        self.problem = Problem(x[kept], y[kept], weight[kept], noise, deadline, seed, dimensions)
        self.held = Problem(x[held], y[held], weight[held], 0.0, deadline, seed)
        total = max(self.problem.weight.sum(), 1e-300)
        self.mean = float(self.problem.weight @ self.problem.y) / total
        squares = (self.problem.y - self.mean) ** 2
        self.size = math.sqrt(float(self.problem.weight @ squares) / total)
        self.states: dict[str, State] = {}
        self.heard: list[Trial] = []
        self.candidates: dict[str, Candidate] = {}
        # Lengths of the formulas that were fitted to all rows, and those that were simplified.
        self.weighed: dict[str, float] = {}
        self.simple: set[str] = set()
        self.rejected: list[Expression] = []  # whose units are wrong
        # Ways gone since a formula holds.
        self.held_since: int | None = None
        self.settled = False
        self.few = few_rows(self.problem)

    @property
    def is_over(self) -> bool:
        return self.settled or self.problem.over

    @property
    def nothing_to_explain(self) -> bool:
        return self.size == 0 or not self.problem.x.shape[1]

    # --- what is tried ----------------------------------------------------------------------

    def first_ways(self) -> Iterator[Way]:
        """The quick ways, which find most formulas. Each is made of what is known by then."""
        if self.nothing_to_explain:
            return
        if (groups := grouped(self.problem)) is not None:
            yield self.finding("dimensionless groups", reductions, groups)
            error = grouped_error(self.problem, groups) / self.size
            self.states["units"] = replace(groups, error=error)
            self.estimate_noise()
            if self.problem.noise:
                yield self.finding("dimensionless groups, with noise", reductions, groups)
            yield self.finding("sums of products of one unit", sums_of_one_unit)
        early = self.problem.noise
        yield self.reducing("factors and merged variables", 1)
        self.estimate_noise()
        if groups is None and self.problem.dimensions is not None:
            yield self.finding("sums of products of one unit", sums_of_one_unit)
        if self.problem.noise and not early:
            self.states.clear()
            yield self.reducing("factors and merged variables, with noise", 1)
            self.estimate_noise()

    def later_ways(self) -> Iterator[Way]:
        """The other ways, the quick ones first: trees take 20 s and more where no formula holds."""
        if self.nothing_to_explain:
            return
        smaller = self.smaller_problems()

        def each(doing: str, finder: Finder, most: int) -> Iterator[Way]:
            for state in smaller:
                if len(state.variables) <= most:
                    yield self.finding(doing, finder, state)

        def whole(doing: str, finder: Finder, most: int) -> Iterator[Way]:
            if all(len(state.variables) <= most for state in smaller):
                return  # it is among the smaller ones
            yield self.finding(doing, finder)

        products = "sums of products", sums, 6
        trees = "curves in a tree", find_trees, 3
        more_trees = "curves in a tree, with more starts", find_trees_again, 3
        yield from each(*products)
        yield from each("waves", waves, 1)
        yield from each("quotients", quotients, 5)
        yield from each("sums of functions", sums_of_functions, 5)
        yield self.reducing("alternatives of merged variables", 3)
        for state in smaller:
            if len(state.variables) > 1:
                yield Separating("parts of fewer variables", self.problem, self.size, state)
        yield from whole(*products)
        for ways in (each, whole):
            yield from ways(*trees)
            yield from ways(*more_trees)

    def reducing(self, doing: str, width: int) -> Way:
        return Reducing(doing, self.problem, self.size, width, dict(self.states))

    def finding(self, doing: str, finder: Finder, state: State | None = None) -> Way:
        return Finding(doing, self.problem, self.size, finder, state)

    def smaller_problems(self) -> list[State]:
        """The states with the fewest variables that still explain y, and the given problem."""
        states = [state for state in self.states.values() if state.variables]
        states.sort(key=lambda state: (len(state.variables), state.error))
        good = max(10 * min((state.error for state in states), default=0.0), 1e-4)
        chosen = [state for state in states if state.error <= good][:2]
        whole = max(states, key=lambda state: len(state.variables), default=None)
        if whole is not None and whole not in chosen:
            chosen.append(whole)
        return chosen

    def estimate_noise(self) -> None:
        """Sets the noise to the smallest error that any polynomial has left."""
        left = self.least()
        noise = self.size * left if left > _NOISELESS else 0.0
        self.problem = replace(self.problem, noise=max(noise, self.noise))

    def least(self) -> float:
        """The smallest relative error that a polynomial has left."""
        errors = [state.error for state in self.states.values() if not state.relative]
        return min(errors, default=1.0)

    # --- what is heard ----------------------------------------------------------------------

    def hear(self, heard: Iterator[Heard]) -> None:
        """Takes trials until one of them settles the question, or there are no more."""
        number, last = 0, math.inf
        for trial in heard:
            if isinstance(trial, dict):
                self.states.update(trial)
                continue
            number += 1
            if self.consider(trial) and last == math.inf:
                last = number + _POLISHING
            if number >= last or self.problem.over:
                break
            # Now and then, so that a simple formula ends the search at once.
            if last == math.inf and (number in (1, 4, 12) or number % 30 == 0):
                self.weigh()
                if self.settled:
                    return
        if last < math.inf:
            self.settled = True
            return
        self.weigh()
        if self.held_since is not None:
            self.held_since += 1
            self.settled |= self.held_since > _PATIENCE

    def consider(self, trial: Trial) -> bool:
        """Takes a trial; returns whether it is exact."""
        if not trial.has_units:
            self.rejected.append(trial.expression)
            return False
        if trial.error < _EXACT:
            return self.is_exact(self.add(trial.expression, trial.origin))
        if math.isfinite(trial.error):
            self.heard.append(trial)
        return False

    def add(self, expression: Expression, origin: str) -> Candidate | None:
        """Simplifies a formula and keeps it."""
        problem, held = self.problem, self.held
        simple = simplified(expression, problem.x, problem.y, problem.weight)
        simple = self.without_idle_inputs(simple)
        if problem.dimensions is not None:
            freed = problem.dimensions.freed(simple)
            if freed is None:
                self.rejected.append(simple)
                return None
            simple = freed
        rmse, held_rmse = _rmse(simple, problem), _rmse(simple, held)
        if not math.isfinite(rmse):
            return None
        errors = standard_errors(simple, problem.x, problem.y, problem.weight)
        units = problem.dimensions and problem.dimensions.constants(simple)
        carried = sum(any(unit) for unit in units or ())
        candidate = Candidate(simple, rmse, held_rmse, errors, origin, carried)
        known = self.candidates.setdefault(str(simple), candidate)
        if rmse < known.rmse:
            self.candidates[str(simple)] = candidate
        return candidate

    def without_idle_inputs(self, expression: Expression) -> Expression:
        """The formula without the inputs that change nothing in it."""
        problem = self.problem
        for column in expression.inputs:
            mean = Constant(float(problem.x[:, column].mean()))
            inputs: list[Expression] = [Input(i) for i in range(problem.x.shape[1])]
            inputs[column] = mean
            fixed = expression.substituted(inputs)
            rmse = _rmse(expression, problem)
            if _rmse(fixed, problem) <= 2 * rmse + _EXACT * self.size:
                fixed = simplified(fixed, problem.x, problem.y, problem.weight)
                if _rmse(fixed, problem) <= 1.001 * rmse + _EXACT * self.size:
                    expression = fixed
        return expression

    def is_exact(self, candidate: Candidate | None) -> bool:
        if candidate is None or not math.isfinite(candidate.rmse):
            return False
        held = candidate.validation_rmse if len(self.held.y) else 0.0
        return candidate.rmse < 10 * _EXACT * self.size and held < 100 * _EXACT * self.size

    def weigh(self) -> None:
        """Simplifies the best of what was heard, and settles if one of them holds."""
        if not self.heard:
            return
        self.heard.sort(key=lambda heard: heard[0])
        least = self.heard[0][0]
        near = [heard for heard in self.heard if heard[0] <= 1.05 * least][:40]
        problem = self.problem
        lengths = []
        for _, expression, origin, _ in near:
            key = str(expression)
            if key not in self.weighed:
                fit = refit(expression, problem.x, problem.y, problem.weight, steps=15)
                rmse = math.sqrt(fit.loss / max(problem.weight.sum(), 1e-300))
                free = len(fit.expression.constants)
                # Constants that simplification will remove count little.
                self.weighed[key] = self.length(rmse, expression.complexity, 0.3 * free)
            lengths.append((self.weighed[key], key, expression, origin))
            if problem.over:
                break
        lengths.sort(key=lambda entry: entry[:2])
        for _, key, expression, origin in lengths[:6]:
            if problem.over:
                break
            if key not in self.simple:
                self.simple.add(key)
                self.add(expression, origin)
        best = self.best()
        if best is not None and self.holds(best):
            self.held_since = self.held_since or 0
            self.settled = not len(best.errors)

    # --- what is concluded ------------------------------------------------------------------

    def length(self, rmse: float, complexity: int, free: float) -> float:
        """Length of a description of the data, in natural units."""
        rows = len(self.problem.y)
        error = max(rmse / self.size, 1e-12)
        return rows * math.log(error) + 1.5 * complexity + (3 + 0.5 * math.log(rows)) * free

    def best(self) -> Candidate | None:
        """The simplest exact formula, or the one with the shortest description of the data."""
        exact = [candidate for candidate in self.candidates.values() if self.is_exact(candidate)]
        if exact:
            return min(exact, key=lambda c: (c.complexity + 3 * c.choices, c.rmse))
        if not self.candidates:
            return None
        return min(
            [*self.candidates.values(), self.constant()],
            key=lambda c: self.length(c.rmse, c.complexity, c.choices),
        )

    def holds(self, candidate: Candidate) -> bool:
        """Whether a formula leaves nothing but noise, and is simple enough to say something."""
        expression, free = candidate.expression, candidate.expression.constants
        largest = _LARGEST * (2 if self.is_exact(candidate) else 1)
        if candidate.complexity + _FREE * len(free) > largest or not expression.inputs:
            return False
        if not np.all(candidate.errors < 0.5 * np.abs(free)) or len(np.unique(self.problem.y)) < 3:
            return False
        if self.is_exact(candidate):
            # A constant whose effect is no larger than what counts as exact is not known.
            problem, least = self.problem, _EXACT * self.size
            errors = standard_errors(expression, problem.x, problem.y, problem.weight, least)
            return bool(np.all(errors < 0.5 * np.abs(free)))
        # The explained part must be certain: ten standard errors of chance, or half of the whole.
        explained = 1 - (candidate.validation_rmse / self.size) ** 2
        if not explained > min(10 * math.sqrt(2 / max(len(self.held.y), 1)), 0.5):
            return False
        # That error is of other rows: it is known to one part in the root of twice their number.
        rows = min(HELD, len(self.problem.y) * HELD // (FITTED + HELD))
        least = max(self.least() * self.size, self.noise)
        if candidate.rmse > (1.05 + 3 / math.sqrt(2 * max(rows, 1))) * least:
            return False
        # Far below a known noise, what is left is what other parts of a target have left.
        if candidate.rmse < 0.5 * self.noise:
            return True
        return self.leaves_noise(expression) and not self.neighbors_agree(expression)

    def is_certain(self, candidate: Candidate) -> bool:
        """Whether rows with this noise leave no other formula as likely as one that holds."""
        if self.is_exact(candidate):
            return True
        problem = self.problem
        if not is_certain(candidate.expression, problem.x, problem.weight, candidate.rmse):
            return False
        length = self.length(candidate.rmse, candidate.complexity, candidate.choices)
        values = candidate.expression(self.few.x)
        for rival in self.candidates.values():
            # One with more constants may be the same formula, and more.
            if len(rival.errors) > len(candidate.errors):
                continue
            longer = self.length(rival.rmse, rival.complexity, rival.choices) - length
            if longer < _CLEAR:
                # Another form, or this one with other numbers?
                form = _freed(rival.expression)
                if refit(form, self.few.x, values).loss > len(values) * (_SAME * rival.rmse) ** 2:
                    return False
        return True

    def leaves_noise(self, expression: Expression) -> bool:
        """Whether polynomials of the inputs, or of merged variables, explain what a formula leaves.

        Each is an F test at about 1 in 20,000, with the cube root of Wilson and Hilferty (1931).
        """
        problem = self.problem
        value = expression(problem.x)
        root = np.sqrt(problem.weight)
        left = (value - problem.y) * root
        inputs = [np.ascontiguousarray(column) for column in problem.x.T if np.ptp(column) > 0]
        trials = [([*inputs, value], terms) for terms in (12, 40, 120)]
        states = sorted(self.states.values(), key=lambda state: state.error)
        for state in states[:6]:
            if len(state.variables) < len(inputs):
                trials.append(([variable(problem.x) for variable in state.variables], 15))
        rows = np.arange(len(left))
        for variables, terms in trials:
            terms = max(min(terms, len(left) // 8), 4)
            if not all(np.isfinite(variable).all() for variable in variables):
                continue
            q, _ = np.linalg.qr(Polynomials(terms, rows).design(variables) * root[:, None])
            count = q.shape[1]
            explained = float(((q.T @ left) ** 2).sum())
            rest = max(float(left @ left) - explained, 1e-300) / max(len(left) - count, 1)
            share = 2 / (9 * count)
            if explained / count / rest > (1 - share + 3.9 * math.sqrt(share)) ** 3:
                return False
        return True

    def neighbors_agree(self, expression: Expression) -> bool:
        """Whether what a formula leaves is alike in rows next to each other, and so no noise.

        They are next to each other in one input or in all. What rounding leaves of y is alike, and
        no reason to doubt.
        """
        x, y, weight = weighed_rows(self.problem.x, self.problem.y, self.problem.weight, _NEIGHBORS)
        left = (expression(x) - y) * np.sqrt(weight)
        if _is_rounding(y, left):
            return False
        points = x[:, np.ptp(x, 0) > 0]
        orders = [np.argsort(column, kind="stable") for column in points.T]
        trials = [(left[order][1:] * left[order][:-1], 1) for order in orders]
        points = (points - points.mean(0)) / points.std(0)
        squares = (points**2).sum(1)
        distances = squares[:, None] + squares - 2 * points @ points.T
        np.fill_diagonal(distances, np.inf)
        trials.append((left * left[distances.argmin(1)], 2))  # most pairs are there twice
        # Chance exceeds four deviations once in 30,000.
        return any(
            bool(products.sum() > 4 * math.sqrt(times * float(products @ products)))
            for products, times in trials
        )

    def conclude(self, result: Search) -> None:
        """Writes down what was found so far, also where the time ran out."""
        if not any(map(self.is_exact, self.candidates.values())):
            for _, expression, origin, _ in sorted(self.heard, key=lambda heard: heard[0])[:3]:
                if str(expression) not in self.simple:
                    self.add(expression, origin)
        result.best = self.best()
        result.fits = result.best is not None and self.holds(result.best)
        result.found = result.fits and result.best is not None and self.is_certain(result.best)
        if result.best is None or not self.is_exact(result.best):
            result.noise = self.problem.noise
            if result.fits and result.best is not None:
                result.noise = result.best.rmse
        result.rejected = self.rejected
        result.candidates = _front([*self.candidates.values(), self.constant()])

    def constant(self) -> Candidate:
        """The mean, as the simplest formula of all."""
        mean = Constant(self.mean)
        error = np.array([self.size / math.sqrt(max(len(self.problem.y), 1))])
        return Candidate(mean, _rmse(mean, self.problem), _rmse(mean, self.held), error, "mean")


@dataclass(frozen=True)
class Separating(Way):
    """Terms or factors of fewer variables, each of which is searched on its own."""

    state: State

    def heard(self) -> Iterator[Heard]:
        return self.trials(self._proposals())

    def _proposals(self) -> Iterator[Proposal]:
        smaller = self.state.smaller(self.problem)
        for separation in separations(smaller):
            choices: list[list[Expression]] = []
            for number, part in enumerate(separation.parts):
                left = self.problem.deadline - time.monotonic()
                found = search(
                    part.x,
                    part.y,
                    weight=part.weight,
                    seconds=left / (len(separation.parts) - number + 1),
                    seed=self.problem.seed,
                    noise=part.noise,
                )
                if found.interrupted:  # so is the search of the whole
                    raise KeyboardInterrupt
                if not found.fits:
                    break
                choices.append(_choices(found))
            else:
                origin = "product of parts" if separation.is_product else "sum of parts"
                for formulas in product(*choices):
                    combined = separation.combined([_freed(formula) for formula in formulas])
                    told = ", ".join((*self.state.told, origin))
                    yield Proposal(self.state.given(combined), told)


def _choices(found: Search) -> list[Expression]:
    """The formula of a part, and the simpler and larger ones that are nearly as good."""
    assert found.best is not None
    near = [c for c in found.candidates if c.validation_rmse < 1.2 * found.best.validation_rmse]
    expressions = dict.fromkeys([found.best.expression, *(c.expression for c in near)])
    return list(expressions)[:2]


def _rmse(expression: Expression, problem: Problem) -> float:
    if not problem.weight.any():
        return math.nan
    squares = (expression(problem.x) - problem.y) ** 2
    return math.sqrt(float(problem.weight @ squares) / float(problem.weight.sum()))


def _is_rounding(y: Array, left: Array) -> bool:
    """Whether all y are multiples of a step, and what is left of them `(n,)` lies within one."""
    levels = np.unique(y)
    if len(levels) < _LEVELS:
        return False  # steps rather than a rounded curve
    step = float(np.diff(levels).min())
    places = (y - y.min()) / step
    return bool(np.abs(places - places.round()).max() < 1e-3 and np.std(left) < 0.35 * step)


def _freed(expression: Expression) -> Expression:
    """The formula with free constants in the place of exact ones, but for exponents, 1 and -1."""
    match expression:
        case Constant(value=value) if abs(value) != 1:
            return Constant(value)
        case Power(base, exponent):
            return Power(_freed(base), exponent)
    return expression.rebuilt([_freed(child) for child in expression.children()])


def _front(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates by complexity, each better on validation than all simpler ones."""
    result: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.complexity, c.validation_rmse)):
        if not result or candidate.validation_rmse < 0.99 * result[-1].validation_rmse:
            result.append(candidate)
    return result
