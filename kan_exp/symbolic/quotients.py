"""Formulas that are quotients of two polynomials with few terms, under a function of y.

`T(y) Q = P` is linear in the coefficients of both polynomials. The smallest degrees that fit leave
one solution up to a factor; terms that it does not need are taken out one at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kan_exp.symbolic.expression import (
    Array,
    Call,
    Constant,
    Expression,
    Input,
    Product,
    Sum,
    exact,
)
from kan_exp.symbolic.links import Link, links
from kan_exp.symbolic.problem import Problem, Proposal
from kan_exp.symbolic.regression import Polynomials, Rows

_EXACT_ROWS, _NOISY_ROWS = 600, 6000
# Largest relative error of an exact fit; smallest relative size of a term in one.
_EXACT, _TERM = 1e-9, 1e-5
# Rise of chi-square for which a term stays.
_RISE = 12.0
# Degrees of numerator and denominator, for quotients and for squares of them.
_DEGREES = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (3, 3), (4, 2), (4, 3))
_SQUARE_DEGREES = ((2, 2), (4, 2), (4, 4), (6, 4))
_COLUMNS = 160

_Powers = tuple[int, ...]


def quotients(problem: Problem) -> Iterator[Proposal]:
    """Quotients of polynomials in up to four inputs, then with a function of one of them."""
    used = problem.weight > 0
    x, y, weight = problem.x[used], problem.y[used], problem.weight[used]
    rows = _NOISY_ROWS if problem.noise else _EXACT_ROWS
    if len(y) > rows:
        chosen = np.linspace(0, len(y) - 1, rows).astype(int)
        x, y, weight = x[chosen], y[chosen], weight[chosen]
    count = x.shape[1]
    if not 1 <= count <= 4:
        return
    inputs: list[Expression] = [Input(place) for place in range(count)]
    finding = _Quotients(x, y, weight, problem)
    for pair in sorted({*_DEGREES, *_SQUARE_DEGREES}, key=sum):
        for link in links(y, problem.noise):
            tried = {"y": _DEGREES, "y**2": _SQUARE_DEGREES, "exp(y)": _DEGREES[:4]}
            if pair in tried.get(link.name, ()):
                if problem.over:
                    return
                yield from finding.proposals(inputs, link, *pair)
    for place, name in itertools.product(range(count), ("cos", "sin", "exp")):
        atoms: list[Expression] = [*inputs]
        atoms[place] = Call(name, inputs[place])
        for pair in _DEGREES[1:5]:
            if problem.over:
                return
            yield from finding.proposals(atoms, next(links(y, problem.noise)), *pair)


@dataclass
class _Quotients:
    """The search in one table."""

    x: Array
    y: Array
    weight: Array
    problem: Problem

    def __post_init__(self) -> None:
        self.smooth = self._smoothed() if self.problem.noise else self.y

    def _smoothed(self) -> Array:
        """y without most of its noise: a polynomial of the inputs, if one is good enough.

        Noise in the columns that hold y would bias their coefficients.
        """
        rows = Rows(self.y, self.weight, len(self.y) * 3 // 4)
        design = Polynomials().design(list(self.x.T))
        coefficients, error = rows.solve(design)
        return design @ coefficients if error * rows.size < 1.2 * self.problem.noise else self.y

    def proposals(
        self, atoms: Sequence[Expression], link: Link, above: int, below: int
    ) -> Iterator[Proposal]:
        """Quotients of polynomials in the atoms, of the degrees `above` and `below`."""
        noise = self.problem.noise
        tops, bottoms = _powers(len(atoms), above), _powers(len(atoms), below)
        if len(tops) + len(bottoms) > min(_COLUMNS, len(self.y) // 2):
            return
        values = np.stack([atom(self.x) for atom in atoms], 1)
        with np.errstate(all="ignore"):
            target, slope = link.forward(self.y)
            inside, _ = link.forward(self.smooth)
        if not np.isfinite(target).all() or not np.isfinite(slope).all():
            return
        top, bottom = _products(values, tops), _products(values, bottoms)
        for lead in range(len(bottoms)):
            others = [*bottoms[:lead], *bottoms[lead + 1 :]]
            rest = np.delete(bottom, lead, 1)
            equation = _Equation(
                columns=np.concatenate([top, -inside[:, None] * rest], 1),
                target=target * bottom[:, lead],
                denominators=np.concatenate([np.zeros_like(top), rest], 1),
                lead=bottom[:, lead],
                weight=self.weight,
                slope=slope,
            )
            coefficients = equation.noisy(noise) if noise else equation.exactly()
            if coefficients is None:
                continue
            numerator = [(tops[k], c) for k, c in enumerate(coefficients[: len(tops)]) if c]
            denominator = [(others[k], c) for k, c in enumerate(coefficients[len(tops) :]) if c]
            if numerator and denominator:
                below = Sum((_product(atoms, bottoms[lead]), _polynomial(atoms, denominator)))
                formula = link.inverse(_polynomial(atoms, numerator) / below)
                yield Proposal(formula, f"quotient of sums for {link.name}")
                return


@dataclass
class _Equation:
    """`T(y) (lead + denominators c) = top c`, linear in the coefficients c.

    Attributes:
        columns: Factors of the coefficients `(n, k)`: what stands above, and -T(y) times the rest.
        target: T(y) times the lead `(n,)`.
        denominators: Parts of the denominator `(n, k)`, 0 for coefficients above.
        lead: The term of the denominator whose coefficient is 1 `(n,)`.
        weight: Of the rows `(n,)`.
        slope: Derivative of T `(n,)`.
    """

    columns: Array
    target: Array
    denominators: Array
    lead: Array
    weight: Array
    slope: Array

    def exactly(self) -> Array | None:
        """Coefficients `(k,)`, 0 where a term is not needed; None if the equation does not hold."""
        root = np.ones(len(self.target))
        coefficients, error = _least(self.columns, self.target, root)
        size = float(np.linalg.norm(self.target))
        if error > _EXACT * size:
            return None
        kept = np.abs(coefficients) * np.linalg.norm(self.columns, axis=0) > _TERM * size
        result = np.zeros(len(coefficients))
        result[kept], error = _least(self.columns[:, kept], self.target, root)
        return result if error <= _EXACT * size else None

    def noisy(self, noise: float) -> Array | None:
        """The same for noise of this deviation in y."""
        rows, count = self.columns.shape
        allowed = noise * math.sqrt(float(self.weight.mean()) * rows)
        coefficients = np.zeros(count)
        for _ in range(4):
            # The error of y is the equation's over the denominator.
            under = self.lead + self.denominators @ coefficients
            if under.min() <= 0 <= under.max():
                return None
            root = np.sqrt(self.weight) / np.abs(self.slope * under)
            coefficients, error = _least(self.columns, self.target, root)
        if error > 1.06 * allowed:
            return None
        # Terms leave one at a time, the least significant one first.
        weighted = self.columns * root[:, None]
        scale = np.linalg.norm(weighted, axis=0)
        gram, moment = (weighted / scale).T @ (weighted / scale), weighted.T @ (self.target * root)
        kept = np.arange(count)
        while len(kept) > 1:
            inverse = np.linalg.pinv(gram[np.ix_(kept, kept)], hermitian=True)
            solution = inverse @ (moment / scale)[kept]
            deviations = np.maximum(np.diag(inverse) * error**2 / rows, 1e-300)
            significance = solution**2 / deviations
            weakest = int(np.argmin(significance))
            if significance[weakest] > _RISE:
                break
            kept = np.delete(kept, weakest)
        result = np.zeros(count)
        result[kept], error = _least(self.columns[:, kept], self.target, root)
        return result if error <= 1.08 * allowed else None


def _least(columns: Array, target: Array, root: Array) -> tuple[Array, float]:
    """Weighted least squares: coefficients, and the length of what is left."""
    weighted = columns * root[:, None]
    scale = np.linalg.norm(weighted, axis=0)
    scale[scale == 0] = 1.0
    solution = np.linalg.lstsq(weighted / scale, target * root, rcond=1e-14)[0]
    return solution / scale, float(np.linalg.norm(weighted / scale @ solution - target * root))


def _powers(count: int, degree: int) -> list[_Powers]:
    """Exponents of monomials up to a degree; each at most 2 where there are too many."""
    most = 2 if count > 2 and degree > 4 else degree
    every = itertools.product(range(min(most, degree) + 1), repeat=count)
    return sorted((p for p in every if sum(p) <= degree), key=lambda p: (sum(p), p))


def _products(values: Array, exponents: Sequence[_Powers]) -> Array:
    return np.stack([np.prod(values ** np.array(powers), axis=1) for powers in exponents], 1)


def _product(atoms: Sequence[Expression], powers: _Powers) -> Expression:
    factors = [
        atom if power == 1 else atom**power
        for atom, power in zip(atoms, powers, strict=True)
        if power
    ]
    if not factors:
        return exact(1)
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _polynomial(atoms: Sequence[Expression], terms: Sequence[tuple[_Powers, float]]) -> Expression:
    parts = [Constant(float(value)) * _product(atoms, powers) for powers, value in terms]
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))
