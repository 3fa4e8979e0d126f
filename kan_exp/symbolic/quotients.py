"""Formulas that are quotients of two polynomials with few terms, under a function of y.

`T(y) Q = P` is linear in the coefficients of both polynomials. The smallest degrees that fit leave
one solution up to a factor; terms that it does not need are taken out one at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import (
    Array,
    Call,
    Constant,
    Expression,
    Input,
    Sum,
    power_product,
    sum_of,
)
from kan_exp.symbolic.links import Link, links
from kan_exp.symbolic.problem import Problem, Proposal

_EXACT_ROWS, _NOISY_ROWS = 600, 4000
# Largest relative error of an exact fit; smallest relative size of a term in one.
_EXACT, _TERM = 1e-9, 1e-5
# Rise of chi-square for which a term stays.
_RISE = 12.0
# Degrees of numerator and denominator, for quotients and for squares of them.
_CURVE_DEGREES = ((5, 2), (5, 3), (6, 2))  # of one variable
_DEGREES = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (3, 3), (4, 2), (4, 3))
_SQUARE_DEGREES = ((2, 2), (4, 2), (4, 3), (6, 2), (6, 4))
# Most terms that are tried together: with noise, many fit anything.
_EXACT_COLUMNS, _NOISY_COLUMNS = 160, 60
# Most terms above and below that make a formula.
_EXACT_TERMS, _NOISY_TERMS = 10, 7

_Powers = tuple[int, ...]


def quotients(problem: Problem) -> Iterator[Proposal]:
    """Quotients of polynomials in up to four inputs, then with a function of one of them."""
    noise = problem.noise
    data = problem.thinned(_NOISY_ROWS if noise else _EXACT_ROWS)
    if not 1 <= len(data.varying) <= 4:
        return
    columns = _NOISY_COLUMNS if noise else _EXACT_COLUMNS
    columns = min(columns, len(np.unique(data.x, axis=0)) // 4)
    for atoms, tried in _tried(list(map(Input, data.varying)), bool(noise)):
        every = {pair for pairs in tried.values() for pair in pairs}
        for pair in sorted(every, key=lambda pair: (sum(pair), pair)):
            for link in links(data.y, noise):
                if problem.over:
                    return
                if pair in tried.get(link.name, ()):
                    formula = _quotient(data, atoms, link, pair, columns)
                    if formula is not None:
                        yield Proposal(formula, f"quotient of sums for {link.name}")


def _tried(
    inputs: Sequence[Expression], noisy: bool
) -> Iterator[tuple[Sequence[Expression], dict[str, Sequence[tuple[int, int]]]]]:
    """What polynomials are of, and their degrees for each function of y."""
    degrees = (*_DEGREES, *_CURVE_DEGREES) if len(inputs) == 1 else _DEGREES
    yield inputs, {"y": degrees, "y**2": _SQUARE_DEGREES, "exp(y)": _DEGREES[:4]}
    if noisy and len(inputs) == 4:
        return
    for place, name in itertools.product(range(len(inputs)), ("cos", "sin", "exp", "square")):
        atoms, one, is_square = list(inputs), inputs[place], name == "square"
        atoms[place] = one**2 if is_square else Call(name, one)
        yield atoms, {"y": _DEGREES[1:5], "y**2": _SQUARE_DEGREES[2 if is_square else 3 :]}


def _quotient(
    data: Problem, atoms: Sequence[Expression], link: Link, degrees: tuple[int, int], most: int
) -> Expression | None:
    """A formula with a quotient of polynomials in the atoms, with at most so many terms."""
    tops, bottoms = (_powers(len(atoms), degree) for degree in degrees)
    if len(tops) + len(bottoms) > most:
        return None
    values = np.stack([atom(data.x) for atom in atoms], 1)
    with np.errstate(all="ignore"):
        target, slope = link.forward(data.y)
        top, bottom = _products(values, tops), _products(values, bottoms)
        every = np.concatenate([top, target[:, None] * bottom, slope[:, None] * bottom], 1)
        size = np.linalg.norm(every, axis=0)
        if not (np.isfinite(size).all() and size.all()):
            return None
        solutions = (
            _noisy_solutions(data, top, bottom, target, slope)
            if data.noise
            else _exact_solutions(top, bottom, target)
        )
        for lead, coefficients in solutions:
            others = [*bottoms[:lead], *bottoms[lead + 1 :]]
            numerator = [(tops[k], c) for k, c in enumerate(coefficients[: len(tops)]) if c]
            denominator = [(others[k], c) for k, c in enumerate(coefficients[len(tops) :]) if c]
            terms = len(numerator) + len(denominator) + 1
            if (
                numerator
                and denominator
                and terms <= (_NOISY_TERMS if data.noise else _EXACT_TERMS)
            ):
                leading = power_product(zip(atoms, bottoms[lead], strict=True))
                under = Sum((leading, _polynomial(atoms, denominator)))
                return link.inverse(_polynomial(atoms, numerator) / under)
    return None


def _exact_solutions(top: Array, bottom: Array, target: Array) -> Iterator[tuple[int, Array]]:
    """Terms of the denominator whose coefficient is 1, and the other coefficients `(k + m,)`."""
    if not _dependent(np.concatenate([top, target[:, None] * bottom], 1)):
        return
    # Of the smallest degrees that fit, the highest one is needed.
    for lead in reversed(range(bottom.shape[1])):
        rest = np.delete(bottom, lead, 1)
        equation = _Equation(top, rest, bottom[:, lead], target, np.ones_like(target))
        if (coefficients := equation.exactly()) is not None:
            yield lead, coefficients


def _noisy_solutions(
    data: Problem, top: Array, bottom: Array, target: Array, slope: Array
) -> Iterator[tuple[int, Array]]:
    """The same under noise."""
    root = np.sqrt(data.weight)
    start = _denominator(top, bottom, target, slope, root)
    if start is None or start[2] > 1.1 * data.noise:
        return
    value, sizes, _ = start
    level = data.noise * math.sqrt(float(data.weight.sum()))
    for lead in np.argsort(-np.abs(sizes) * np.linalg.norm(bottom, axis=0))[:3]:
        rest = np.delete(bottom, lead, 1)
        equation = _Equation(top, rest, bottom[:, lead], target, root / slope)
        coefficients = equation.noisy(value, bottom @ sizes / sizes[lead], level)
        if coefficients is not None:
            yield int(lead), coefficients


@dataclass
class _Equation:
    """`T(y) = top a / (lead + rest b)`, to be solved for a and b."""

    top: Array  # terms of the numerator `(n, k)`
    rest: Array  # terms of the denominator `(n, m)` but the lead
    lead: Array  # the term of the denominator whose coefficient is 1 `(n,)`
    target: Array  # T(y) `(n,)`
    root: Array  # root of the weights of its errors `(n,)`

    def exactly(self) -> Array | None:
        """Coefficients `(k + m,)`, 0 where a term is not needed; None if the equation fails."""
        columns = np.concatenate([self.top, -self.target[:, None] * self.rest], 1)
        right = self.target * self.lead
        size = float(np.linalg.norm(right))
        coefficients, error = _least(columns, right)
        if error > _EXACT * size:
            return None
        kept = np.abs(coefficients) * np.linalg.norm(columns, axis=0) > _TERM * size
        result = np.zeros(len(coefficients))
        result[kept], error = _least(columns[:, kept], right)
        return result if error <= _EXACT * size else None

    def noisy(self, value: Array, under: Array, level: float) -> Array | None:
        """The same with noise of this length, from a quotient and its denominator nearby."""
        kept = np.arange(self.top.shape[1] + self.rest.shape[1])
        fit = self._fitted(kept, value, under, 4)
        if fit is None or fit.error > 1.04 * level:
            return None
        variance = max(fit.error, level) ** 2 / len(self.target)
        for _ in range(3):
            alive = _significant(fit.gram, fit.moment, variance)
            if len(alive) == len(kept):
                break
            kept = kept[alive]
            fit = self._fitted(kept, fit.value, fit.under, 4)
            if fit is None or fit.error > 1.06 * level:
                return None
        return fit.coefficients

    def _fitted(
        self, kept: NDArray[np.intp], value: Array, under: Array, steps: int
    ) -> _Fit | None:
        """Gauss-Newton over the coefficients `kept`, from quotient and denominator nearby."""
        count = self.top.shape[1]
        for _ in range(steps):
            columns = np.concatenate([self.top, -value[:, None] * self.rest], 1)[:, kept]
            columns = columns * (self.root / under)[:, None]
            right = (self.target - value + value * self.lead / under) * self.root
            scale = np.linalg.norm(columns, axis=0)
            columns = columns / scale
            gram, moment = columns.T @ columns, columns.T @ right
            gram.flat[:: len(gram) + 1] += 1e-12
            coefficients = np.zeros(count + self.rest.shape[1])
            coefficients[kept] = np.linalg.solve(gram, moment) / scale
            under = self.lead + self.rest @ coefficients[count:]
            if not np.isfinite(under).all() or under.min() <= 0 <= under.max():
                return None
            value = self.top @ coefficients[:count] / under
            if not np.isfinite(value).all():
                return None
        error = float(np.linalg.norm((value - self.target) * self.root))
        return _Fit(coefficients, error, value, under, gram, moment)


class _Fit(NamedTuple):
    """A quotient, and the linear least squares problem of its last step."""

    coefficients: Array
    error: float
    value: Array
    under: Array
    gram: Array
    moment: Array


def _significant(gram: Array, moment: Array, variance: float) -> NDArray[np.intp]:
    """The columns that stay when the least significant one leaves, one at a time."""
    alive = np.arange(len(gram))
    inverse = np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
    solution = inverse @ moment
    while len(alive) > 1:
        deviations = np.maximum(np.diag(inverse) * variance, 1e-300)
        significance = solution**2 / deviations
        weakest = int(np.argmin(significance))
        if significance[weakest] > _RISE:
            break
        # The inverse without a row and a column.
        beside = inverse[:, weakest] / inverse[weakest, weakest]
        solution = np.delete(solution - beside * solution[weakest], weakest)
        inverse = inverse - np.outer(beside, inverse[weakest])
        inverse = np.delete(np.delete(inverse, weakest, 0), weakest, 1)
        alive = np.delete(alive, weakest)
    return alive


def _denominator(
    top: Array, bottom: Array, target: Array, slope: Array, root: Array
) -> tuple[Array, Array, float] | None:
    """The quotient with the least error of y in the mean, where that error is small.

    Noise e of y makes the error `slope e Q` of `T(y) Q - P`. So the sum of its squares over that of
    `slope Q` is least: a generalized eigenvalue problem.

    Returns:
        The quotient `(n,)`, coefficients of Q, and the error of y; None where Q has a zero, or
        sums of squares are not finite.
    """
    scale = np.linalg.norm(bottom, axis=0)
    below = bottom / scale * root[:, None]
    above = top / np.linalg.norm(top, axis=0) * root[:, None]
    gram = above.T @ above
    gram.flat[:: len(gram) + 1] += 1e-12
    crossed = target[:, None] * below
    solution = np.linalg.solve(gram, above.T @ crossed)
    left = crossed - above @ solution
    metric = (slope[:, None] * below).T @ (slope[:, None] * below)
    if not 0 < np.trace(metric) < np.inf:
        return None
    metric.flat[:: len(metric) + 1] += 1e-12 * np.trace(metric)
    inverse = np.linalg.inv(np.linalg.cholesky(metric))
    relative = inverse @ (left.T @ left) @ inverse.T
    if not np.isfinite(relative).all():
        return None
    values, vectors = np.linalg.eigh(relative)
    coefficients = inverse.T @ vectors[:, 0]
    under = below @ coefficients / root
    if under.min() <= 0 <= under.max():
        return None
    quotient = above @ (solution @ coefficients) / root / under
    return quotient, coefficients / scale, math.sqrt(max(float(values[0]), 0.0))


def _dependent(columns: Array) -> bool:
    """Whether a linear combination of the columns is 0."""
    triangle = np.linalg.qr(columns / np.linalg.norm(columns, axis=0), "r")
    singular = np.linalg.svd(triangle, compute_uv=False)
    return bool(singular[-1] < 1e-12 * singular[0])


def _least(columns: Array, target: Array) -> tuple[Array, float]:
    """Least squares: coefficients, and the length of what is left."""
    scale = np.linalg.norm(columns, axis=0)
    scaled = columns / np.where(scale > 0, scale, 1.0)
    solution = np.linalg.lstsq(scaled, target, rcond=1e-14)[0]
    error = float(np.linalg.norm(scaled @ solution - target))
    return np.asarray(solution / np.where(scale > 0, scale, 1.0), float), error


def _powers(count: int, degree: int) -> list[_Powers]:
    """Exponents of monomials up to a degree; each at most 2 where there are too many."""
    most = 2 if count > 2 and degree > 4 else degree
    every = itertools.product(range(min(most, degree) + 1), repeat=count)
    return sorted((p for p in every if sum(p) <= degree), key=lambda p: (sum(p), p))


def _products(values: Array, exponents: Sequence[_Powers]) -> Array:
    return np.stack([np.prod(values ** np.array(powers), axis=1) for powers in exponents], 1)


def _polynomial(atoms: Sequence[Expression], terms: Sequence[tuple[_Powers, float]]) -> Expression:
    return sum_of(
        Constant(float(value)) * power_product(zip(atoms, powers, strict=True))
        for powers, value in terms
    )
