"""Which of the formulas that strategies propose is the formula, and whether it is one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from kan_exp.symbolic.constants import simplified, standard_errors
from kan_exp.symbolic.evidence import is_certain
from kan_exp.symbolic.expression import Array, Constant, Expression, Input, Power
from kan_exp.symbolic.problem import Problem, State
from kan_exp.symbolic.reduction import FITTED, HELD
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.residuals import leaves_noise, neighbors_agree
from kan_exp.symbolic.strategies import FEW_ROWS, Trial

# Share of the rows that is held back to compare formulas.
_HELD = 0.2
# Relative errors: below the first a formula is exact, below the second data have no noise.
_EXACT, _NOISELESS = 1e-8, 4e-4
# A larger formula says little, however well it fits: nodes, of which a free constant counts as so
# many; a formula that is exact may be twice as large.
_LARGEST, _FREE = 40, 5
# Trials after an exact one, in which a simpler form of it is looked for.
_POLISHING = 8
# Natural units of length by which a formula is clearly the shortest one. A form that comes as near
# to another, in parts of the noise, is the same one.
_CLEAR, _SAME = 10.0, 0.01
# Further strategies after a formula that holds, but has free constants.
_PATIENCE = 2


@dataclass(frozen=True)
class Candidate:
    """A formula with its errors."""

    expression: Expression  # the formula, of columns of x
    rmse: float  # of the training rows, in units of y
    validation_rmse: float  # of the validation rows, in units of y
    errors: Array  # standard errors of the free constants `(k,)`, in their order
    origin: str  # how it was found, in a few words
    carried: int = 0  # how many free constants carry a unit

    @property
    def choices(self) -> int:
        """Number of free constants; one that carries a unit counts twice."""
        return len(self.errors) + self.carried

    @property
    def complexity(self) -> int:
        return self.expression.complexity


@dataclass
class Search:
    """The result of a search."""

    candidates: list[Candidate] = field(default_factory=list)  # each better than all simpler ones
    best: Candidate | None = None  # the formula to show, or None
    found: bool = False  # whether `best` fits, is simple, and no other formula is as short
    fits: bool = False  # whether the residuals of `best` are like noise
    noise: float = 0.0  # estimated deviation of the noise, in units of y
    seconds: float = 0.0  # time of the search
    complete: bool = False  # false if time ran out, or the user stopped it
    interrupted: bool = False  # whether the user stopped it
    rejected: list[Expression] = field(default_factory=list)  # those whose units are wrong


class Judge:
    """Takes trials, and decides which of them is the formula.

    Attributes:
        problem: The training rows, with the noise as far as it is estimated.
        deviation: Standard deviation of y in these rows.
        states: Smaller problems that were found, by their keys.
        settled: Whether a formula holds, and no further strategy is needed.
    """

    def __init__(self, problem: Problem) -> None:
        order = problem.generator.permutation(len(problem.y))
        count = int(_HELD * len(order))
        self.problem, self.validation = problem.rows(order[count:]), problem.rows(order[:count])
        self.few = self.problem.thinned(FEW_ROWS)
        self.deviation = self.problem.deviation
        self.states: dict[str, State] = {}
        self.settled = False
        self._noise = problem.noise  # that is known
        self._trials: list[Trial] = []
        self._candidates: dict[str, Candidate] = {}
        # Lengths of the formulas that were fitted to all rows, and those that were simplified.
        self._lengths: dict[str, float] = {}
        self._simplified: set[str] = set()
        self._rejected: list[Expression] = []  # whose units are wrong
        self._held_since: int | None = None  # strategies since a formula holds

    @property
    def is_over(self) -> bool:
        return self.settled or self.problem.over

    def estimate_noise(self) -> None:
        """Sets the noise to the smallest error of any polynomial."""
        error = self._polynomial_error()
        noise = self.deviation * error if error > _NOISELESS else 0.0
        self.problem = replace(self.problem, noise=max(noise, self._noise))

    def _polynomial_error(self) -> float:
        """The smallest relative error of a polynomial."""
        errors = [state.error for state in self.states.values() if not state.relative]
        return min(errors, default=1.0)

    # --- taking trials -------------------------------------------------------------------------

    def take(self, trials: Iterator[Trial | State]) -> None:
        """Takes trials until one of them settles the question, or there are no more."""
        number, last = 0, math.inf
        for trial in trials:
            if isinstance(trial, State):
                self.states[trial.key] = trial
                continue
            number += 1
            if self._consider(trial) and last == math.inf:
                last = number + _POLISHING
            if number >= last or self.problem.over:
                break
            # Now and then, so that a simple formula ends the search at once.
            if last == math.inf and (number in (1, 4, 12) or number % 30 == 0):
                self._weigh()
                if self.settled:
                    return
        if last < math.inf:
            self.settled = True
            return
        self._weigh()
        if self._held_since is not None:
            self._held_since += 1
            self.settled |= self._held_since > _PATIENCE

    def _consider(self, trial: Trial) -> bool:
        """Takes a trial; returns whether it is exact."""
        if not trial.has_units:
            self._rejected.append(trial.expression)
        elif trial.error < _EXACT:
            return self.is_exact(self.add(trial.expression, trial.origin))
        elif math.isfinite(trial.error):
            self._trials.append(trial)
        return False

    def add(self, expression: Expression, origin: str) -> Candidate | None:
        """Simplifies a formula and keeps it; None if its units are wrong or it is not finite."""
        dimensions = self.problem.dimensions
        simple = self._without_idle_inputs(simplified(expression, *self.problem.data))
        carried = 0
        if dimensions is not None:
            freed = dimensions.freed(simple)
            if freed is None:
                self._rejected.append(simple)
                return None
            simple = freed
            carried = sum(any(unit) for unit in dimensions.constants(simple) or ())
        rmse = self.problem.rmse(simple)
        if not math.isfinite(rmse):
            return None
        errors = standard_errors(simple, *self.problem.data)
        validation_rmse = self.validation.rmse(simple)
        candidate = Candidate(simple, rmse, validation_rmse, errors, origin, carried)
        known = self._candidates.setdefault(str(simple), candidate)
        if rmse < known.rmse:
            self._candidates[str(simple)] = candidate
        return candidate

    def _without_idle_inputs(self, expression: Expression) -> Expression:
        """The formula without the inputs that change nothing in it."""
        problem, exact = self.problem, _EXACT * self.deviation
        for column in expression.inputs:
            inputs: list[Expression] = [Input(place) for place in range(problem.x.shape[1])]
            inputs[column] = Constant(float(problem.x[:, column].mean()))
            fixed, rmse = expression.substituted(inputs), problem.rmse(expression)
            if problem.rmse(fixed) <= 2 * rmse + exact:
                fixed = simplified(fixed, *problem.data)
                if problem.rmse(fixed) <= 1.001 * rmse + exact:
                    expression = fixed
        return expression

    def _weigh(self) -> None:
        """Simplifies the best of the trials, and settles if one of them holds."""
        if not self._trials:
            return
        self._trials.sort(key=lambda trial: trial.error)
        problem, least = self.problem, self._trials[0].error
        near = [trial for trial in self._trials if trial.error <= 1.05 * least][:40]
        lengths = []
        for trial in near:
            key = str(trial.expression)
            if key not in self._lengths:
                fit = refit(trial.expression, *problem.data, steps=15)
                # Constants that simplification will remove count little.
                free = 0.3 * len(fit.expression.constants)
                complexity = trial.expression.complexity
                self._lengths[key] = self._length(problem.root_mean(fit.loss), complexity, free)
            lengths.append((self._lengths[key], key, trial))
            if problem.over:
                break
        for _, key, trial in sorted(lengths, key=lambda entry: entry[:2])[:6]:
            if problem.over:
                break
            if key not in self._simplified:
                self._simplified.add(key)
                self.add(trial.expression, trial.origin)
        best = self._best()
        if best is not None and self.holds(best):
            self._held_since = self._held_since or 0
            self.settled = not len(best.errors)

    # --- judging -------------------------------------------------------------------------------

    def is_exact(self, candidate: Candidate | None) -> bool:
        """Whether a formula leaves no more than rounding."""
        if candidate is None or not math.isfinite(candidate.rmse):
            return False
        error = candidate.validation_rmse if len(self.validation.y) else 0.0
        return (
            candidate.rmse < 10 * _EXACT * self.deviation and error < 100 * _EXACT * self.deviation
        )

    def _length(self, rmse: float, complexity: int, free: float) -> float:
        """Length of a description of the data, in natural units."""
        rows = len(self.problem.y)
        error = max(rmse / self.deviation, 1e-12)
        return rows * math.log(error) + 1.5 * complexity + (3 + 0.5 * math.log(rows)) * free

    def _length_of(self, candidate: Candidate) -> float:
        return self._length(candidate.rmse, candidate.complexity, candidate.choices)

    def _best(self) -> Candidate | None:
        """The simplest exact formula, or the one with the shortest description of the data."""
        candidates = list(self._candidates.values())
        if exact := list(filter(self.is_exact, candidates)):
            return min(exact, key=lambda c: (c.complexity + 3 * c.choices, c.rmse))
        return min([*candidates, self._mean()], key=self._length_of) if candidates else None

    def _mean(self) -> Candidate:
        """The mean of y, as the simplest formula of all."""
        weight = self.problem.weight
        mean = Constant(float(np.average(self.problem.y, weights=weight)) if weight.any() else 0.0)
        error = np.array([self.deviation / math.sqrt(max(len(self.problem.y), 1))])
        return Candidate(mean, self.problem.rmse(mean), self.validation.rmse(mean), error, "mean")

    def holds(self, candidate: Candidate) -> bool:
        """Whether a formula leaves nothing but noise, and is simple enough to say something."""
        expression, free = candidate.expression, candidate.expression.constants
        exact, problem = self.is_exact(candidate), self.problem
        if candidate.complexity + _FREE * len(free) > _LARGEST * (2 if exact else 1):
            return False
        if not expression.inputs or len(np.unique(problem.y)) < 3:
            return False
        if not np.all(candidate.errors < 0.5 * np.abs(free)):
            return False
        if exact:
            # A constant whose effect is no larger than what counts as exact is not known.
            errors = standard_errors(expression, *problem.data, least=_EXACT * self.deviation)
            return bool(np.all(errors < 0.5 * np.abs(free)))
        # The explained part must be certain: ten standard errors of chance, or half of the whole.
        explained = 1 - (candidate.validation_rmse / self.deviation) ** 2
        if not explained > min(10 * math.sqrt(2 / max(len(self.validation.y), 1)), 0.5):
            return False
        # That error is of other rows: it is known to one part in the root of twice their number.
        rows = min(HELD, len(problem.y) * HELD // (FITTED + HELD))
        least = max(self._polynomial_error() * self.deviation, self._noise)
        if candidate.rmse > (1.05 + 3 / math.sqrt(2 * max(rows, 1))) * least:
            return False
        # Far below a known noise, what is left is what other parts of a target have left.
        if candidate.rmse < 0.5 * self._noise:
            return True
        states = sorted(self.states.values(), key=lambda state: state.error)
        return leaves_noise(expression, problem, states) and not neighbors_agree(
            expression, problem
        )

    def _is_certain(self, candidate: Candidate) -> bool:
        """Whether rows with this noise leave no other formula as likely as one that holds."""
        if self.is_exact(candidate):
            return True
        problem, length = self.problem, self._length_of(candidate)
        if not is_certain(candidate.expression, problem, candidate.rmse):
            return False
        values = candidate.expression(self.few.x)
        for rival in self._candidates.values():
            # One with more constants may be the same formula, and more.
            if len(rival.errors) > len(candidate.errors):
                continue
            if self._length_of(rival) - length < _CLEAR:
                # Another form, or this one with other numbers?
                form = with_free_numbers(rival.expression)
                if refit(form, self.few.x, values).loss > len(values) * (_SAME * rival.rmse) ** 2:
                    return False
        return True

    def result(self) -> Search:
        """What was found so far, also where the time ran out."""
        if not any(map(self.is_exact, self._candidates.values())):
            for trial in sorted(self._trials, key=lambda trial: trial.error)[:3]:
                if str(trial.expression) not in self._simplified:
                    self.add(trial.expression, trial.origin)
        best = self._best()
        fits = best is not None and self.holds(best)
        noise = self.problem.noise
        if best is not None and (fits or self.is_exact(best)):
            noise = 0.0 if self.is_exact(best) else best.rmse
        return Search(
            _front([*self._candidates.values(), self._mean()]),
            best,
            found=fits and best is not None and self._is_certain(best),
            fits=fits,
            noise=noise,
            rejected=self._rejected,
        )


def with_free_numbers(expression: Expression) -> Expression:
    """The formula with free constants in the place of exact ones, but for exponents, 1 and -1."""

    def free(node: Expression) -> Expression | None:
        match node:
            case Constant(value=value) if abs(value) != 1:
                return Constant(value)
            case Power(base, exponent):
                return Power(with_free_numbers(base), exponent)
        return None

    return expression.replaced(free)


def _front(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates by complexity, each better on validation than all simpler ones."""
    result: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.complexity, c.validation_rmse)):
        if not result or candidate.validation_rmse < 0.99 * result[-1].validation_rmse:
            result.append(candidate)
    return result
