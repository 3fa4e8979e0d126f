"""Constants of a fitted formula: redundant ones removed, the others set to simple numbers.

A constant is removed or set only if the fit stays as good as the noise allows, with all others
fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kan_exp.symbolic.algebra import inward, normal
from kan_exp.symbolic.expression import (
    UNITS,
    Array,
    Call,
    Constant,
    Expression,
    Power,
    Product,
    Sum,
    exact,
)
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.regression import line_through

# Errors below this part of the target's size are rounding, not noise; constants are known to the
# other part.
_ROUNDING, _PRECISION = 1e-9, 1e-12
# Rows that decide under noise.
_MOST_ROWS = 20_000
# Relative singular value below which a direction changes nothing.
_NULL = 1e-8
# The rise of chi-square that one constant may cost; each further one may cost less.
_RISE, _NEXT_RISE = 9.0, 4.0
# A number of size k, numerator times denominator times rarity of its unit, is taken only if the
# relative error of the constant is below this times k**-1.5: large ones lie within any error bar.
_SURPRISE = 0.05
_RARITY = {"1": 1.0, "pi": 2.0, "1/pi": 4.0, "sqrt(2)": 4.0}
_RARE = 16.0
# A function may be a line or a parabola if its values are nearer to one than this part of their
# deviation.
_STRAIGHT = 0.01


def simplified(
    expression: Expression, x: Array, y: Array, weight: Array | None = None
) -> Expression:
    """The simplest formula that fits as well: fewer free constants, and simple numbers.

    Args:
        expression: A formula that fits, with its constants near their best values.
        x: Inputs `(n, in)`.
        y: Target `(n,)`.
        weight: Of the rows' squared errors `(n,)`; by default 1.
    """
    weight = np.ones(len(y)) if weight is None else weight
    problem = Problem(x, y, weight, 0.0, math.inf)
    fit = refit(expression, x, y, weight)
    if not np.isfinite(fit.loss) or not weight.any():
        return expression
    size = math.sqrt(float(weight @ y**2) / max(float(weight.sum()), 1e-300))
    exactly = fit.loss <= weight.sum() * (_ROUNDING * size) ** 2
    if exactly and len(y) > 400:
        # Without noise a few rows decide as well as all.
        result = _Simplifying(fit.expression, *problem.thinned(300).data).run()
        residual = result(x) - y
        if float(weight @ residual**2) <= 10 * weight.sum() * (_ROUNDING * size) ** 2:
            return result
    if len(y) <= _MOST_ROWS:
        return _Simplifying(fit.expression, x, y, weight).run()
    result = _Simplifying(fit.expression, *problem.thinned(_MOST_ROWS).data).run()
    return refit(result, x, y, weight).expression


def standard_errors(
    expression: Expression,
    x: Array,
    y: Array,
    weight: Array | None = None,
    least: float = 0.0,
) -> Array:
    """Standard errors of the free constants `(k,)`; infinite for a constant that is redundant.

    All are infinite where values or derivatives of the formula are not finite.

    Args:
        least: The smallest deviation that the errors of y are taken to have.
    """
    weight = np.ones(len(y)) if weight is None else weight
    value, jacobian = expression.jacobian(x)
    loss = float(weight @ (value - y) ** 2)
    if not math.isfinite(loss):
        return np.full(jacobian.shape[1], np.inf)
    freedom = max(int((weight > 0).sum()) - jacobian.shape[1], 1)
    deviation = max(math.sqrt(loss / freedom), least)
    return _Directions(jacobian * np.sqrt(weight)[:, None]).errors * deviation


class _Directions:
    """How far constants may move, alone and together.

    Attributes:
        covariance: Of the constants `(k, k)`, for errors of deviation 1, outside null directions.
        null: Projector on the directions `(k, k)` that change nothing.
    """

    def __init__(self, jacobian: Array) -> None:
        """From the weighted derivatives by the constants `(n, k)`.

        Where these are not finite, nothing is known of any constant.
        """
        if not np.isfinite(jacobian).all():
            jacobian = np.zeros_like(jacobian)
        size = np.sqrt((jacobian**2).sum(0))
        size[size == 0] = 1.0
        _, singular, directions = np.linalg.svd(np.linalg.qr(jacobian / size, "r"))
        singular = np.pad(singular, (0, len(directions) - len(singular)))
        known = singular > _NULL
        inverse = directions[known] / singular[known, None]
        self.covariance = inverse.T @ inverse / np.outer(size, size)
        self.null = directions[~known].T @ directions[~known] / np.outer(size, size)
        self._redundant = (directions[~known] ** 2).sum(0) > _NULL

    @property
    def errors(self) -> Array:
        """Standard errors for errors of deviation 1; infinite for redundant constants."""
        return np.where(self._redundant, np.inf, np.sqrt(np.diag(self.covariance)))

    def along(self, place: int) -> Array:
        """How all constants change with one, the loss staying as small as it can `(k,)`."""
        matrix = self.null if self._redundant[place] else self.covariance
        return matrix[:, place] / matrix[place, place]


@dataclass(frozen=True)
class _Step:
    """One constant set to a number."""

    place: int  # of the free constant
    target: Constant  # what it becomes
    rank: float  # the most promising step has the lowest one


class _Simplifying:
    """A formula on its way to the simplest one."""

    def __init__(self, expression: Expression, x: Array, y: Array, weight: Array) -> None:
        self.x, self.y, self.weight, self.root = x, y, weight, np.sqrt(weight)
        rows = int((weight > 0).sum())
        size = math.sqrt(float(weight @ y**2) / rows)
        start = refit(normal(expression, x), x, y, weight)
        self.rewritten = bool(np.isfinite(start.loss))
        if not self.rewritten:
            # At the edge of a domain, such as 0 to a free power.
            start = refit(expression, x, y, weight)
        self.expression, self.loss = start.expression, start.loss
        freedom = max(rows - len(self.expression.constants), 1)
        self.variance = max(self.loss / freedom, (_ROUNDING * size) ** 2)
        self.precision = max(self.loss / freedom, (_PRECISION * size) ** 2)
        self.noisy = self.loss / freedom > (_ROUNDING * size) ** 2
        self.first = max(_RISE, math.log(rows))
        self.count = len(self.expression.constants)
        self.highest = self.loss

    def run(self) -> Expression:
        """Straight curves first, then exponents, what can go, and numbers."""
        while self._straightened():
            pass
        for steps in (self._exponents, self._removals, self._numbers):
            while self._advanced(steps()):
                pass
        # A factor that is no simple number may be one inside the function that it stands before.
        best, self.rewritten = (self.expression, self.loss), False
        for trial in inward(best[0]):
            self.expression, self.loss = trial, best[1]
            while self._advanced(self._numbers()):
                pass
            if len(self.expression.constants) < len(best[0].constants):
                best = self.expression, self.loss
        return best[0]

    def _straightened(self) -> bool:
        """Puts a line or a parabola in the place of a curve that is one on the data."""
        for form in _straight_forms(self.expression, self.x):
            before = self.expression, self.loss, self.highest
            trial = normal(form, self.x) if self.rewritten else form
            fit = refit(trial, self.x, self.y, self.weight)
            if not fit.loss <= self.highest + self.first * self.variance:
                continue
            self.expression, self.loss = fit.expression, fit.loss
            self.highest = min(self.highest, fit.loss)
            while self._advanced(self._removals()):
                pass
            if (
                len(self.expression.constants) <= len(before[0].constants)
                and self.expression.complexity < before[0].complexity
            ):
                return True
            self.expression, self.loss, self.highest = before
        return False

    def _advanced(self, steps: list[_Step]) -> bool:
        for step in sorted(steps, key=lambda step: step.rank)[:12]:
            trial = self._taken(step)
            if trial is None:
                continue
            expression, loss = trial
            if len(expression.constants) >= len(self.expression.constants):
                continue  # the normal form has another free constant in its place
            removed = max(self.count - len(expression.constants), 1)
            allowed = (self.first + _NEXT_RISE * (removed - 1)) * self.variance
            if loss <= self.highest + allowed:
                self.expression, self.loss = expression, loss
                self.highest = min(self.highest, loss)
                return True
        return False

    def _errors(self) -> Array:
        """Standard errors of the constants `(k,)`."""
        _, jacobian = self.expression.jacobian(self.x)
        return _Directions(jacobian * self.root[:, None]).errors * math.sqrt(self.precision)

    def _taken(self, step: _Step) -> tuple[Expression, float] | None:
        """The formula with one constant set and all others fitted again, and its loss.

        A long way, along which redundant constants change each other, is gone in several moves.
        """
        start, place = self.expression.constants, step.place
        values = self._ahead(start, place, step.target.value)
        if values is None:
            return None
        far = np.abs(values - start) > 0.3 * np.maximum(np.abs(start), 0.1)
        if np.delete(far, place).any():
            values = start
            for here in np.linspace(start[place], step.target.value, 7)[1:-1]:
                values = self._ahead(values, place, here)
                if values is None:
                    return None
                fixed: list[Expression | float] = [*values]
                fixed[place] = Constant(here, Fraction(here))
                trial = self.expression.with_constants(fixed)
                fit = refit(trial, self.x, self.y, self.weight, steps=6)
                if not np.isfinite(fit.loss):
                    return None
                values = np.insert(fit.expression.constants, place, here)
            values = self._ahead(values, place, step.target.value)
            if values is None:
                return None
        final: list[Expression | float] = [*values]
        final[place] = step.target
        expression = self.expression.with_constants(final)
        if self.rewritten:
            expression = normal(expression, self.x)
        tolerance = 1e-6 if self.noisy else 1e-13
        fit = refit(expression, self.x, self.y, self.weight, steps=40, tolerance=tolerance)
        return (fit.expression, fit.loss) if np.isfinite(fit.loss) else None

    def _ahead(self, values: Array, place: int, value: float) -> Array | None:
        """The constants `(k,)` after one of them moved, as far as the slopes tell."""
        _, jacobian = self.expression.with_constants(values).jacobian(self.x)
        if not np.isfinite(jacobian).all():
            return None
        direction = _Directions(jacobian * self.root[:, None]).along(place)
        return values + direction * (value - values[place])

    def _exponents(self) -> list[_Step]:
        """Free exponents set to integers, halves, thirds and quarters."""
        errors = self._errors()
        steps = []
        for place, (node, parent, _) in enumerate(_places(self.expression)):
            if isinstance(parent, Power):
                for denominator in (1, 2, 3, 4):
                    target = exact(Fraction(round(node.value * denominator), denominator))
                    away = abs(target.value - node.value) / max(errors[place], 1e-300)
                    if away < 2 * math.sqrt(self.first):
                        steps.append(_Step(place, target, denominator + away))
        return steps

    def _removals(self) -> list[_Step]:
        """Terms set to 0 and factors to 1 or -1."""
        errors = self._errors()
        steps = []
        for place, (node, parent, above) in enumerate(_places(self.expression)):
            targets: list[Constant] = []
            if isinstance(parent, Sum) or (isinstance(parent, Product) and isinstance(above, Sum)):
                targets.append(exact(0))
            if isinstance(parent, Product):
                targets.append(exact(math.copysign(1, node.value)))
            for target in targets:
                away = abs(target.value - node.value) / max(errors[place], 1e-300)
                if away < 2 * math.sqrt(self.first):
                    steps.append(_Step(place, target, away))
        return steps

    def _numbers(self) -> list[_Step]:
        """Constants set to simple numbers within their errors."""
        errors = self._errors()
        steps = []
        for place, value in enumerate(self.expression.constants):
            error = max(errors[place], 1e-14 * abs(value))
            if not math.isfinite(error):
                continue
            for target, size in _simple(value, math.sqrt(self.first) * error):
                surprise = size**1.5 * error / max(abs(value), error)
                if surprise < _SURPRISE:
                    steps.append(_Step(place, target, surprise))
        return steps


def _straight_forms(expression: Expression, x: Array) -> Iterator[Expression]:
    """The formula with a line or a parabola in the place of each function that is nearly one."""

    def straight(node: Expression) -> Iterator[Expression]:
        if not isinstance(node, Call | Power) or not node.inputs:
            return
        values, child = node(x), node.children()[0]
        for simpler in (child, child**2):  # a cosine of small angles is a parabola
            inputs = simpler(x)
            if np.isfinite(inputs).all() and np.isfinite(values).all():
                shift, slope, error = line_through(values, inputs)
                if error <= _STRAIGHT:
                    yield Constant(shift) + Constant(slope) * simpler

    return expression.alternatives(straight)


def _places(
    expression: Expression,
) -> Iterator[tuple[Constant, Expression | None, Expression | None]]:
    """Each free constant, in the order of `walk`, with its parent and the node above that."""

    def visit(
        node: Expression, parent: Expression | None, above: Expression | None
    ) -> Iterator[tuple[Constant, Expression | None, Expression | None]]:
        for child in node.children():
            yield from visit(child, node, parent)
        if isinstance(node, Constant) and node.free:
            yield node, parent, above

    return visit(expression, None, None)


def _simple(value: float, error: float) -> Iterator[tuple[Constant, float]]:
    """Of each unit the simplest number within `error` of `value`, with a measure of its size."""
    for unit, factor in UNITS.items():
        fraction = _simplest(abs(value) / factor, error / factor)
        if fraction and fraction.denominator <= 1000 and fraction.numerator <= 10_000:
            size = fraction.numerator * fraction.denominator * _RARITY.get(unit, _RARE)
            yield exact(math.copysign(1, value) * fraction, unit), size


def _simplest(value: float, error: float) -> Fraction:
    """The fraction of the smallest denominator within `error` of `value`, from 0 up."""
    low, high = Fraction(max(value - error, 0.0)), Fraction(value + error)
    terms: list[int] = []
    while True:
        whole = math.ceil(low)
        if whole <= high:
            terms.append(whole)
            break
        whole = math.floor(low)
        terms.append(whole)
        low, high = 1 / (high - whole), 1 / (low - whole)
    result = Fraction(terms[-1])
    for term in reversed(terms[:-1]):
        result = term + 1 / result
    return result
