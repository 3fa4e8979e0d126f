"""Formulas that are sums of few terms, under a function of y.

`T(y) = sum of c_k m_k`: a linear least squares problem with few nonzero coefficients. The terms m_k
come from dictionaries. Pairs are tried exhaustively; larger sets grow from the best pairs by
additions and exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import (
    Array,
    Constant,
    Expression,
    sum_of,
)
from kan_exp.symbolic.links import links
from kan_exp.symbolic.problem import Problem, Proposal
from kan_exp.symbolic.terms import Dictionary, Term

# Rows used: without noise few decide, with noise more make terms distinct.
_EXACT_ROWS, _NOISY_ROWS = 500, 4000
# Largest relative error of an exact fit.
_EXACT = 1e-9
# Most terms, sets kept of each size, and columns of a dictionary.
_TERMS, _WIDTH, _COLUMNS = 5, 60, 2000
# Most terms for each function of y: with many, some function fits anything under noise.
_TERMS_FOR = {
    **{"y": 5, "y**2": 5, "1/y": 5, "1/y**2": 4, "log(y)": 4, "exp(y)": 4, "sqrt(y)": 3},
    **{"sin(y)": 2, "cos(y)": 2, "tan(y)": 2},
}
# Functions of y that have a unit where y has one.
_POWERS = {
    name: Fraction(power)
    for name, power in (("y", 1), ("y**2", 2), ("1/y", -1), ("1/y**2", -2), ("sqrt(y)", 0.5))
}

_Index = NDArray[np.intp]


class _Design(NamedTuple):
    """Columns `(n, k)` of terms, divided by their lengths."""

    terms: list[Term]
    size: Array  # the lengths `(k,)`
    columns: Array
    gram: Array  # of the columns `(k, k)`


def sums(problem: Problem) -> Iterator[Proposal]:
    """Sums of products of powers, of squared differences, of products of roots."""
    if problem.weight.any():
        yield from _Finding(problem).products()


def sums_of_one_unit(problem: Problem) -> Iterator[Proposal]:
    """Sums of products of powers that have the unit of the target, if it is known."""
    dimensions = problem.dimensions
    if dimensions is not None and dimensions.target is not None and problem.weight.any():
        finding = _Finding(problem)
        if 1 < finding.count <= 8:
            yield from finding.of_one_unit()


def sums_of_functions(problem: Problem) -> Iterator[Proposal]:
    """Sums of products of powers with sine, cosine, exp or log."""
    if problem.weight.any():
        yield from _Finding(problem).functions()


class _Finding:
    """The search in one table."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        rows = _NOISY_ROWS if problem.noise else _EXACT_ROWS
        self.x, self.y, self.weight = problem.thinned(rows).data
        self.distinct = len(np.unique(self.x, axis=0))
        self.dictionary = Dictionary(self.x)
        self.count = len(self.dictionary.varying)

    def products(self) -> Iterator[Proposal]:
        made, noisy = self.dictionary, bool(self.problem.noise)
        large = 2 if self.count > 7 and noisy else 3
        degree = {1: 2, 2: 4, 3: 6, 4: 4}.get(self.count, large)
        most = _TERMS_FOR
        if self.count > 4 and noisy:
            most = {name: most[name] for name in ("y", "y**2", "1/y", "log(y)")}
        terms = made.monomials(degree) + made.powers_of_one()
        yield from self.proposals("sum of products", terms, most)
        if 1 < self.count <= 4:
            roots = made.monomials(min(degree, 3), halves=True)
            few = {"y": _TERMS, "y**2": _TERMS}
            yield from self.proposals("sum of products of roots", roots, few)
        if self.count > 1:
            terms = made.monomials(2) + made.differences()
            yield from self.proposals("sum of squared differences", terms, most)

    def of_one_unit(self) -> Iterator[Proposal]:
        """Products of many factors, of which units leave few."""
        made, count = self.dictionary, self.count
        terms = made.monomials(6 if count <= 4 else 5 if count <= 6 else 4)
        terms += made.powers_of_one() + made.differences()
        yield from self.proposals("sum of products of one unit", terms, _TERMS_FOR, one_unit=True)

    def functions(self) -> Iterator[Proposal]:
        if 1 <= self.count <= 6:
            few = self.dictionary.monomials(2 if self.count > 2 else 3)
            terms = (few + self.dictionary.functions())[:_COLUMNS]
            most = {"y": _TERMS, "y**2": _TERMS, "1/y": 3, "log(y)": 2, "sin(y)": 1}
            yield from self.proposals("sum with functions", terms, most)

    def _values(self, terms: list[Term]) -> Array:
        """Columns `(n, k)` of the terms."""
        powers: dict[tuple[int, Fraction], Array] = {}
        calls: dict[Expression, Array] = {}
        columns = []
        for term in terms:
            column = np.ones(len(self.x))
            for place, power in enumerate(term.powers):
                if power:
                    if (place, power) not in powers:
                        powers[place, power] = self.x[:, place] ** float(power)
                    column = column * powers[place, power]
            if term.factor is not None:
                if term.factor not in calls:
                    calls[term.factor] = term.factor(self.x)
                column = column * calls[term.factor]
            columns.append(column)
        return np.stack(columns, 1)

    def proposals(
        self, origin: str, every: list[Term], most: dict[str, int], one_unit: bool = False
    ) -> Iterator[Proposal]:
        """Sums of few terms, the simplest ones first.

        Args:
            every: The terms.
            most: How many are added at most for each function of y.
            one_unit: Whether only terms of the target's unit are added.
        """
        noise, dimensions = self.problem.noise, self.problem.dimensions if one_unit else None
        units = [] if dimensions is None else [dimensions.dimension(t.expression()) for t in every]
        found: list[tuple[float, Expression, str]] = []
        terms, design = every, None
        for link in links(self.y, noise):
            if self.problem.over:
                return
            if link.name not in most:
                continue
            if dimensions is not None:
                wanted = dimensions.of_power(_POWERS.get(link.name))
                terms = [one for one, unit in zip(every, units, strict=True) if unit == wanted]
                if wanted is None or not terms:
                    continue
            with np.errstate(all="ignore"):
                target, slope = link.forward(self.y)
            weight = self.weight / slope**2 if noise else np.ones(len(target))
            if not (np.isfinite(target).all() and 0 < weight.sum() < np.inf):
                continue
            root = np.sqrt(weight / weight.mean())
            if design is None or noise or one_unit:
                design = self._design(terms, root)
            with np.errstate(all="ignore"):
                target = target * root
                scale = float(np.sqrt(target @ target))
            if not 0 < scale < np.inf or not design.terms:
                continue
            allowed = _EXACT
            if noise:
                level = noise * math.sqrt(float(self.weight.mean() / weight.mean()))
                above = 1.03 + 1.5 / math.sqrt(len(target))
                allowed = above * level * math.sqrt(len(target)) / scale
            sums = self._good_sums(design, target / scale, allowed, most[link.name])
            for error, chosen, coefficients in sums:
                parts = [
                    Constant(float(factor)) * design.terms[place].expression()
                    for place, factor in zip(
                        chosen, coefficients * scale / design.size[chosen], strict=True
                    )
                ]
                expression = link.inverse(sum_of(parts))
                # Simple formulas first; with noise, as likelihood and size weigh up.
                rank = 3.0 * expression.complexity
                if noise:
                    rank += 2 * len(target) * math.log(max(error / allowed, 1e-300))
                found.append((rank, expression, link.name))
            if found and not noise:
                break
        for _, expression, name in sorted(found, key=lambda each: each[0])[:6]:
            yield Proposal(expression, f"{origin} for {name}")

    def _design(self, terms: list[Term], root: Array) -> _Design:
        """The columns of terms, of length 1; without those that are not finite."""
        with np.errstate(all="ignore"):
            columns = self._values(terms) * root[:, None]
            size = np.sqrt((columns**2).sum(0))
        usable = np.isfinite(size) & (size > 0)
        kept = [term for term, use in zip(terms, usable, strict=True) if use]
        columns = columns[:, usable] / size[usable]
        return _Design(kept, size[usable], columns, columns.T @ columns)

    def _good_sums(
        self, design: _Design, target: Array, allowed: float, most: int
    ) -> list[tuple[float, _Index, Array]]:
        """The smallest sums that are near enough to the target: errors, terms and factors."""
        moment = design.columns.T @ target
        for sets in _subsets(design.gram, moment, min(most, self.distinct // 4)):
            fits = [self._fit(design.columns, chosen, target) for chosen in sets[:20]]
            good = sorted((fit for fit in fits if fit[0] <= allowed), key=lambda fit: fit[0])
            if good or self.problem.over:
                return good[:3]
        return []

    @staticmethod
    def _fit(columns: Array, chosen: _Index, target: Array) -> tuple[float, _Index, Array]:
        part = columns[:, chosen]
        coefficients = np.asarray(np.linalg.lstsq(part, target, rcond=None)[0], float)
        return float(np.linalg.norm(part @ coefficients - target)), chosen, coefficients


def _subsets(gram: Array, moment: Array, most: int) -> Iterator[_Index]:
    """Sets of columns `(sets, size)`, of one more column each time, the best set first.

    Columns and target have length 1. Pairs are exhaustive; larger sets are the best ones grown by
    a column, and those with one column exchanged.
    """
    count = len(gram)
    best = np.argsort(-(moment**2), kind="stable")[:_WIDTH, None]
    yield best
    if min(count, most) < 2:
        return
    best = _pairs(gram, moment)
    yield best
    for size in range(3, min(most, count) + 1):
        sets, left = _grown(best, gram, moment)
        for _ in range(2):
            # Each column in turn is taken out, and the best ones put in.
            without = [np.delete(sets[:15], place, 1) for place in range(size)]
            exchanged, left_too = _grown(np.unique(np.concatenate(without), axis=0), gram, moment)
            sets, which = np.unique(np.concatenate([sets, exchanged]), axis=0, return_index=True)
            left = np.concatenate([left, left_too])[which]
            order = np.argsort(left, kind="stable")[:_WIDTH]
            sets, left = sets[order], left[order]
        best = sets
        yield best


def _pairs(gram: Array, moment: Array) -> _Index:
    with np.errstate(all="ignore"):
        explained = moment[:, None] ** 2 + moment**2 - 2 * gram * moment[:, None] * moment
        explained /= 1 - gram**2
    explained[~(gram**2 < 1 - 1e-10)] = -np.inf
    explained[np.tri(len(gram), dtype=bool)] = -np.inf
    flat = explained.ravel()
    most = min(_WIDTH, len(flat))
    chosen = np.argpartition(-flat, most - 1)[:most]
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")]
    return np.stack(np.unravel_index(chosen, gram.shape), 1)


def _grown(sets: _Index, gram: Array, moment: Array) -> tuple[_Index, Array]:
    """The best sets with one column more, and what they leave of the target's square."""
    inner = gram[sets[:, :, None], sets[:, None, :]] + 1e-13 * np.eye(sets.shape[1])
    inverse = np.linalg.inv(inner)
    beside = gram[sets]  # (sets, size, columns)
    through = inverse @ beside
    free = 1 - (beside * through).sum(1)
    own = moment[sets]
    left = 1 - np.einsum("ki,kij,kj->k", own, inverse, own)
    gain = moment - np.einsum("ki,kim->km", own, through)
    with np.errstate(all="ignore"):
        remaining = left[:, None] - gain**2 / free
    remaining[~(free > 1e-9)] = np.inf
    np.put_along_axis(remaining, sets, np.inf, 1)
    flat = remaining.ravel()
    most = min(4 * _WIDTH, len(flat))
    chosen = np.argpartition(flat, most - 1)[:most]
    which, column = np.unravel_index(chosen, remaining.shape)
    grown = np.sort(np.concatenate([sets[which], column[:, None]], 1), 1)
    grown, first = np.unique(grown, axis=0, return_index=True)
    left = flat[chosen][first]
    order = np.argsort(left, kind="stable")[:_WIDTH]
    return grown[order], left[order]
