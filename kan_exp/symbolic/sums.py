"""Formulas that are sums of few terms, under a function of y.

`T(y) = sum of c_k m_k`: a linear least squares problem with few nonzero coefficients. The terms m_k
come from dictionaries. Pairs are tried exhaustively; larger sets grow from the best pairs by
additions and exchanges.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import (
    Array,
    Call,
    Constant,
    Expression,
    Input,
    exact,
    power_product,
    sum_of,
)
from kan_exp.symbolic.links import links
from kan_exp.symbolic.problem import Problem, Proposal

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


@dataclass(frozen=True)
class _Term:
    """A candidate term."""

    powers: tuple[Fraction, ...]  # exponents of the inputs
    factor: Expression | None = None  # what else is multiplied

    def expression(self) -> Expression:
        powers = ((Input(place), power) for place, power in enumerate(self.powers))
        return power_product(powers if self.factor is None else [*powers, (self.factor, 1)])


class _Dictionary:
    """Candidate terms for columns x, simple ones first."""

    def __init__(self, x: Array) -> None:
        self.x, self.count = x, x.shape[1]
        self.varying = [place for place in range(self.count) if np.ptp(x[:, place]) > 0]
        self.nonzero = np.abs(x).min(0) > 1e-3 * np.abs(x).max(0)
        self.positive = (x.min(0) > 0) & self.nonzero

    def monomials(self, degree: int, halves: bool = False) -> list[_Term]:
        """Products of powers up to 2, the exponents' sizes summing to at most `degree`."""
        choices = []
        for place in range(self.count):
            steps = (0.5, 1.0, 1.5, 2.0) if halves and self.positive[place] else (1.0, 2.0)
            powers = [0.0, *steps]
            powers += [-step for step in steps] if self.nonzero[place] else []
            powers = powers if place in self.varying else [0.0]
            choices.append([Fraction(power) for power in powers])
        found: list[tuple[Fraction, ...]] = [()]
        for powers_ in choices:
            found = [
                (*done, power)
                for done in found
                for power in powers_
                if sum(map(abs, done)) + abs(power) <= degree
            ]
        return [_Term(powers) for powers in sorted(found, key=_size)]

    def alone(self) -> list[_Term]:
        """Powers of one input beyond the products'."""
        terms = []
        for place in self.varying:
            powers = [Fraction(3), Fraction(4)]
            powers += [Fraction(5), Fraction(6)] if len(self.varying) == 1 else []
            powers += [Fraction(-3), Fraction(-4)] if self.nonzero[place] else []
            if self.positive[place]:
                powers += [Fraction(power, 2) for power in (1, -1, 3, -3)]
            terms += [_Term(self._unit(place, power)) for power in powers]
        return terms

    def _unit(self, place: int, power: Fraction = Fraction(1)) -> tuple[Fraction, ...]:
        return tuple(power if other == place else Fraction(0) for other in range(self.count))

    def differences(self) -> list[_Term]:
        """Squares and reciprocals of differences and sums of two inputs."""
        none = (Fraction(0),) * self.count
        terms = []
        for one, other in itertools.combinations(self.varying, 2):
            for sign in (-1, 1):
                pair = Input(one) + (Input(other) if sign > 0 else exact(-1) * Input(other))
                value = np.abs(pair(self.x))
                terms.append(_Term(none, pair**2))
                if value.min() > 1e-3 * value.max():
                    terms += [_Term(none, pair**-1), _Term(none, pair**-2)]
        return terms

    def functions(self) -> list[_Term]:
        """Sine, cosine, exp and log of inputs, times products of the other inputs."""
        small = len(self.varying) <= 4
        arguments: list[tuple[Expression, set[int]]] = [
            (Input(place), {place}) for place in self.varying
        ]
        for one, other in itertools.combinations(self.varying, 2):
            arguments.append((Input(one) - Input(other), {one, other}))
            if small:
                arguments.append((Input(one) * Input(other), {one, other}))
                if self.nonzero[other]:
                    arguments.append((Input(one) / Input(other), {one, other}))
                if self.nonzero[one]:
                    arguments.append((Input(other) / Input(one), {one, other}))
        if len(self.varying) <= 2:
            squares = [(Input(place) ** 2, {place}) for place in self.varying]
            arguments += squares
            if len(self.varying) == 1:
                arguments.append((Input(self.varying[0]) + squares[0][0], {self.varying[0]}))
        terms = []
        for argument, read in arguments:
            value = argument(self.x)
            factors: list[Expression] = [Call("sin", argument), Call("cos", argument)]
            factors += [Call("cos", argument) ** 2] if small else []
            if value.min() > 0:
                factors.append(Call("log", argument))
            if np.abs(value).max() < 30:
                factors.append(Call("exp", argument))
                factors.append(Call("exp", exact(-1) * argument))
            if len(self.varying) == 1 and value.min() > -1:
                factors.append(Call("log", 1 + argument))
            for multiplier in self._multipliers(read, 3 if small else 2):
                terms += [_Term(multiplier, factor) for factor in factors]
        if len(self.varying) == 1:
            none = (Fraction(0),) * self.count
            waves = [Call(name, argument) for argument, _ in arguments for name in ("sin", "cos")]
            terms += [_Term(none, one * other) for one, other in itertools.combinations(waves, 2)]
        return terms

    def _multipliers(self, read: set[int], degree: int) -> list[tuple[Fraction, ...]]:
        others = [place for place in self.varying if place not in read]
        found = []
        for width in range(min(degree, len(others)) + 1):
            for chosen in itertools.combinations(others, width):
                found.append(tuple(Fraction(place in chosen) for place in range(self.count)))
        if len(self.varying) <= 4:
            found += [self._unit(place, Fraction(-1)) for place in others if self.nonzero[place]]
            found += [self._unit(place) for place in read]
            found += [
                tuple(Fraction((place == top) - (place == below)) for place in range(self.count))
                for top, below in itertools.permutations(others, 2)
                if self.nonzero[below]
            ]
            found += [
                tuple(Fraction(place in pair, 2) for place in range(self.count))
                for pair in itertools.combinations(others, 2)
                if self.positive[list(pair)].all()
            ]
        return found


def _size(powers: Sequence[Fraction]) -> tuple[Fraction, int, tuple[Fraction, ...]]:
    return sum(map(abs, powers), Fraction(0)), sum(power < 0 for power in powers), tuple(powers)


def sums(problem: Problem) -> Iterator[Proposal]:
    """Sums of products of powers, of squared differences, of products of roots."""
    if problem.weight.any():
        finding = _Finding(problem)
        yield from finding.every(finding.products())


def sums_of_one_unit(problem: Problem) -> Iterator[Proposal]:
    """Sums of products of powers that have the unit of the target, if it is known."""
    dimensions = problem.dimensions
    if dimensions is not None and dimensions.target is not None and problem.weight.any():
        finding = _Finding(problem)
        if 1 < len(finding.dictionary.varying) <= 8:
            yield from finding.every(finding.of_one_unit())


def sums_of_functions(problem: Problem) -> Iterator[Proposal]:
    """Sums of products of powers with sine, cosine, exp or log."""
    if problem.weight.any():
        finding = _Finding(problem)
        yield from finding.every(finding.functions())


class _Task(NamedTuple):
    """A dictionary, and how many of its terms are tried for each function of y."""

    origin: str
    terms: list[_Term]
    most: dict[str, int]
    one_unit: bool = False  # whether only the terms of the target's unit are tried


class _Finding:
    """The search in one table."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        rows = _NOISY_ROWS if problem.noise else _EXACT_ROWS
        self.x, self.y, self.weight = problem.thinned(rows).data
        self.distinct = len(np.unique(self.x, axis=0))
        self.dictionary = _Dictionary(self.x)

    def every(self, dictionaries: Iterator[_Task]) -> Iterator[Proposal]:
        for task in dictionaries:
            if self.problem.over:
                return
            yield from self.proposals(*task)

    def products(self) -> Iterator[_Task]:
        count, made = len(self.dictionary.varying), self.dictionary
        large = 2 if count > 7 and self.problem.noise else 3
        degree = {1: 2, 2: 4, 3: 6, 4: 4}.get(count, large)
        most = _TERMS_FOR
        if count > 4 and self.problem.noise:
            most = {name: most[name] for name in ("y", "y**2", "1/y", "log(y)")}
        yield _Task("sum of products", made.monomials(degree) + made.alone(), most)
        if 1 < count <= 4:
            halves = made.monomials(min(degree, 3), halves=True)
            yield _Task("sum of products of roots", halves, {"y": _TERMS, "y**2": _TERMS})
        if count > 1:
            terms = made.monomials(2) + made.differences()
            yield _Task("sum of squared differences", terms, most)

    def of_one_unit(self) -> Iterator[_Task]:
        """Products of many factors, of which units leave few."""
        count, made = len(self.dictionary.varying), self.dictionary
        terms = made.monomials(6 if count <= 4 else 5 if count <= 6 else 4)
        terms += made.alone() + made.differences()
        yield _Task("sum of products of one unit", terms, _TERMS_FOR, one_unit=True)

    def functions(self) -> Iterator[_Task]:
        count, made = len(self.dictionary.varying), self.dictionary
        if 1 <= count <= 6:
            few = made.monomials(2 if count > 2 else 3)
            terms = (few + made.functions())[:_COLUMNS]
            most = {"y": _TERMS, "y**2": _TERMS, "1/y": 3, "log(y)": 2, "sin(y)": 1}
            yield _Task("sum with functions", terms, most)

    def _values(self, terms: list[_Term]) -> Array:
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
        self, origin: str, every: list[_Term], most: dict[str, int], one_unit: bool
    ) -> Iterator[Proposal]:
        noise = self.problem.noise
        shared: tuple[Array, Array] | None = None
        found: list[tuple[float, Expression, str]] = []
        terms, dimensions = every, self.problem.dimensions if one_unit else None
        units = [] if dimensions is None else [dimensions.dimension(t.expression()) for t in every]
        for link in links(self.y, noise):
            if link.name not in most:
                continue
            if self.problem.over:
                return
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
            if shared is None or noise or one_unit:
                with np.errstate(all="ignore"):
                    columns = self._values(terms) * root[:, None]
                    size = np.sqrt((columns**2).sum(0))
                usable = np.isfinite(size) & (size > 0)
                kept = [term for term, use in zip(terms, usable, strict=True) if use]
                columns = columns[:, usable] / size[usable]
                shared = columns, columns.T @ columns
            columns, gram = shared
            target = target * root
            with np.errstate(all="ignore"):
                scale = float(np.sqrt(target @ target))
            if not 0 < scale < np.inf or not columns.shape[1]:
                continue
            allowed = _EXACT
            if noise:
                level = noise * math.sqrt(float(self.weight.mean() / weight.mean()))
                above = 1.03 + 1.5 / math.sqrt(len(target))
                allowed = above * level * math.sqrt(len(target)) / scale
            target = target / scale
            moment = columns.T @ target
            for sets in _subsets(gram, moment, min(most[link.name], self.distinct // 4)):
                fits = [self._fit(columns, chosen, target) for chosen in sets[:20]]
                good = sorted((fit for fit in fits if fit[0] <= allowed), key=lambda fit: fit[0])
                for error, chosen, coefficients in good[:3]:
                    physical = coefficients * scale / size[usable][chosen]
                    parts = [
                        Constant(float(value)) * kept[place].expression()
                        for place, value in zip(chosen, physical, strict=True)
                    ]
                    expression = link.inverse(sum_of(parts))
                    # Simple formulas first; with noise, as likelihood and size weigh up.
                    rank = 3.0 * expression.complexity
                    if noise:
                        rank += 2 * len(target) * math.log(max(error / allowed, 1e-300))
                    found.append((rank, expression, link.name))
                if good or self.problem.over:
                    break
            if found and not noise:
                break
        for _, expression, name in sorted(found, key=lambda each: each[0])[:6]:
            yield Proposal(expression, f"{origin} for {name}")

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
