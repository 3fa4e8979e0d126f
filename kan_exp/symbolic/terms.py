"""Candidate terms of sums: products of powers, differences, and functions of the inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kan_exp.symbolic.expression import Array, Call, Expression, Input, power_product

# Exponents of the inputs.
Exponents = tuple[Fraction, ...]


@dataclass(frozen=True)
class Term:
    """A candidate term."""

    powers: Exponents
    factor: Expression | None = None  # what else is multiplied

    def expression(self) -> Expression:
        powers = ((Input(place), power) for place, power in enumerate(self.powers))
        return power_product(powers if self.factor is None else [*powers, (self.factor, 1)])


class Dictionary:
    """Candidate terms for columns x, simple ones first."""

    def __init__(self, x: Array) -> None:
        self.x, self.count = x, x.shape[1]
        self.varying = [place for place in range(self.count) if np.ptp(x[:, place]) > 0]
        self.nonzero = np.abs(x).min(0) > 1e-3 * np.abs(x).max(0)
        self.positive = (x.min(0) > 0) & self.nonzero

    def _exponents(self, powers: Mapping[int, Fraction | float]) -> Exponents:
        return tuple(Fraction(powers.get(place, 0)) for place in range(self.count))

    def monomials(self, degree: int, halves: bool = False) -> list[Term]:
        """Products of powers up to 2, the exponents' sizes summing to at most `degree`."""
        found: list[Exponents] = [()]
        for place in range(self.count):
            powers = [Fraction(0)]
            if place in self.varying:
                wide = halves and self.positive[place]
                powers += [Fraction(step, 2) for step in ((1, 2, 3, 4) if wide else (2, 4))]
                powers += [-step for step in powers[1:]] if self.nonzero[place] else []
            found = [
                (*done, power)
                for done in found
                for power in powers
                if sum(map(abs, done)) + abs(power) <= degree
            ]
        return [Term(powers) for powers in sorted(found, key=_size)]

    def powers_of_one(self) -> list[Term]:
        """Powers of one input beyond the products'."""
        terms = []
        for place in self.varying:
            powers = [Fraction(power) for power in (3, 4)]
            powers += [Fraction(5), Fraction(6)] if len(self.varying) == 1 else []
            powers += [Fraction(-3), Fraction(-4)] if self.nonzero[place] else []
            if self.positive[place]:
                powers += [Fraction(power, 2) for power in (1, -1, 3, -3)]
            terms += [Term(self._exponents({place: power})) for power in powers]
        return terms

    def differences(self) -> list[Term]:
        """Squares and reciprocals of differences and sums of two inputs."""
        none, terms = self._exponents({}), []
        for one, other in itertools.combinations(map(Input, self.varying), 2):
            for pair in (one - other, one + other):
                value = np.abs(pair(self.x))
                away = value.min() > 1e-3 * value.max()
                terms += [Term(none, pair**power) for power in ((2, -1, -2) if away else (2,))]
        return terms

    def functions(self) -> list[Term]:
        """Sine, cosine, exp and log of inputs, times products of the other inputs."""
        count, terms = len(self.varying), []
        arguments = list(self._arguments())
        for argument, read in arguments:
            value = argument(self.x)
            factors: list[Expression] = [Call("sin", argument), Call("cos", argument)]
            factors += [Call("cos", argument) ** 2] if count <= 4 else []
            if value.min() > 0:
                factors.append(Call("log", argument))
            if np.abs(value).max() < 30:
                factors += [Call("exp", argument), Call("exp", -argument)]
            if count == 1 and value.min() > -1:
                factors.append(Call("log", 1 + argument))
            for multiplier in self._multipliers(read):
                terms += [Term(multiplier, factor) for factor in factors]
        if count == 1:
            waves = [Call(name, argument) for argument, _ in arguments for name in ("sin", "cos")]
            pairs = itertools.combinations(waves, 2)
            terms += [Term(self._exponents({}), one * other) for one, other in pairs]
        return terms

    def _arguments(self) -> Iterator[tuple[Expression, set[int]]]:
        """Arguments of functions, and the inputs that they read."""
        for place in self.varying:
            yield Input(place), {place}
        for one, other in itertools.combinations(self.varying, 2):
            pair = {one, other}
            yield Input(one) - Input(other), pair
            if len(self.varying) <= 4:
                yield Input(one) * Input(other), pair
                if self.nonzero[other]:
                    yield Input(one) / Input(other), pair
                if self.nonzero[one]:
                    yield Input(other) / Input(one), pair
        if len(self.varying) <= 2:
            for place in self.varying:
                yield Input(place) ** 2, {place}
        if len(self.varying) == 1:
            (place,) = self.varying
            yield Input(place) + Input(place) ** 2, {place}

    def _multipliers(self, read: set[int]) -> list[Exponents]:
        """Products of inputs by which a function of some others is multiplied."""
        others = [place for place in self.varying if place not in read]
        small = len(self.varying) <= 4
        found: list[dict[int, float]] = [
            dict.fromkeys(chosen, 1)
            for width in range(min(3 if small else 2, len(others)) + 1)
            for chosen in itertools.combinations(others, width)
        ]
        if small:
            found += [{place: -1} for place in others if self.nonzero[place]]
            found += [{place: 1} for place in read]
            pairs = itertools.permutations(others, 2)
            found += [{top: 1, below: -1} for top, below in pairs if self.nonzero[below]]
            roots = itertools.combinations(others, 2)
            found += [dict.fromkeys(pair, 0.5) for pair in roots if self.positive[list(pair)].all()]
        return list(map(self._exponents, found))


def _size(powers: Sequence[Fraction]) -> tuple[Fraction, int, tuple[Fraction, ...]]:
    return sum(map(abs, powers), Fraction(0)), sum(power < 0 for power in powers), tuple(powers)
