"""Waves of one variable, and two functions of it: damped waves, wave packets, two decays.

A curve in a network's edge is one function under scales and shifts. What is a product or sum of two
has more numbers inside. Here two of them, at most three, are tried on a grid, and all that enter
linearly follow by least squares (variable projection, Golub and Pereyra 1973).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import Call, Constant, Expression, Input, exact, sum_of
from kan_exp.symbolic.problem import Problem, Proposal
from kan_exp.symbolic.refit import refit

_ROWS = 400
# Starts of each family that are fitted, fits that are proposed, and steps to a closer number.
_STARTS, _PROPOSED, _HALVINGS = 6, 2, 16
# Cycles over the range of the variable, and rates of growth times its width.
_CYCLES = np.arange(1, 81) / 4
_PER_CYCLE, _MOST_CYCLES = 4, 100  # values in a cycle, at least, and cycles of a single wave
_RATES = (-12.0, -7.0, -4.0, -2.0, -1.0, -0.4, 0.4, 1.0, 2.0, 4.0, 7.0)
_CENTRES, _WIDTHS = (0.1, 0.3, 0.5, 0.7, 0.9), (0.08, 0.16, 0.3)
# Above this part of the target's deviation a start is not worth a fit.
_HOPELESS = 0.9

# A factor, and the parts that it multiplies, each of which has a linear factor of its own.
_Group = tuple[Expression, list[Expression]]
# Relative error, the numbers from the grid, and the linear factors.
_Start = tuple[float, tuple[float, ...], Sequence[float]]


class _Family(NamedTuple):
    """Forms that are linear in some numbers, and a constant."""

    name: str  # in a few words
    grid: Sequence[tuple[float, ...]]  # values of the other numbers
    groups: Callable[..., list[_Group]]  # the parts that are added, from those numbers

    def columns(self, numbers: Sequence[float]) -> list[Expression]:
        """What has a linear factor each."""
        return [factor * part for factor, parts in self.groups(*numbers) for part in parts]

    def formula(self, numbers: Sequence[float], factors: Sequence[float]) -> Expression:
        """The formula with these numbers and linear factors, all of them free."""
        left, terms = list(factors), []
        for factor, parts in self.groups(*numbers):
            own, left = left[: len(parts)], left[len(parts) :]
            terms.append(factor * _combined(parts, own))
        return sum_of([*terms, Constant(left[0])])


def _combined(parts: Sequence[Expression], factors: Sequence[float]) -> Expression:
    """The sum of parts times numbers; sine and cosine of one argument become a sine."""
    match parts:
        case [Call("sin", argument), Call("cos")]:
            sine, cosine = factors
            turned = Call("sin", argument + Constant(math.atan2(cosine, sine)))
            return Constant(math.hypot(sine, cosine)) * turned
    return sum_of(Constant(own) * part for own, part in zip(factors, parts, strict=True))


def waves(problem: Problem) -> Iterator[Proposal]:
    """Products and sums of two functions, where one variable varies."""
    data = problem.thinned(_ROWS)
    x, y, weight = data.data
    if len(data.varying) != 1 or not data.deviation > 0:
        return
    z, different = x[:, data.varying[0]], len(np.unique(x[:, data.varying[0]]))
    if different < 12:
        return
    root = np.sqrt(weight / weight.mean())
    size = data.deviation * math.sqrt(len(y))
    cycles = min(different // _PER_CYCLE, _MOST_CYCLES)
    for family in _families(Input(data.varying[0]), float(z.min()), float(np.ptp(z)), cycles):

        def factors(numbers: tuple[float, ...], family: _Family = family) -> _Start:
            """The best factors with these numbers, and their relative error."""
            design = np.stack([column(x) for column in family.columns(numbers)], 1)
            design = np.c_[design, np.ones(len(y))] * root[:, None]
            if not np.isfinite(design).all():
                return math.inf, numbers, ()
            found = np.linalg.lstsq(design, y * root, rcond=1e-10)[0]
            error = float(np.linalg.norm(design @ found - y * root)) / size
            return error, numbers, found.tolist()

        starts = sorted(map(factors, family.grid), key=_error)[:_STARTS]
        if len(family.grid[0]) == 1:
            # Many factors fit anything beside a wrong number: it is looked for more closely.
            step = abs(family.grid[1][0] - family.grid[0][0])
            starts = [_closer(factors, start, step) for start in starts]
        forms = [family.formula(n, c) for error, n, c in starts if error < _HOPELESS]
        fits = [refit(form, x, y, weight, steps=80) for form in forms]
        for fit in sorted(fits, key=lambda fit: fit.loss)[:_PROPOSED]:
            if math.isfinite(fit.loss):
                yield Proposal(fit.expression, family.name)
        if problem.over:
            return


def _error(start: _Start) -> float:
    return start[0]


def _closer(factors: Callable[[tuple[float, ...]], _Start], start: _Start, step: float) -> _Start:
    """A better number near one, by steps that are halved."""
    for _ in range(_HALVINGS):
        step /= 2
        (number,) = start[1]
        start = min([start, factors((number - step,)), factors((number + step,))], key=_error)
    return start


def _families(z: Expression, low: float, width: float, cycles: int) -> Iterator[_Family]:
    frequencies = [float(value) for value in 2 * math.pi * _CYCLES / width]
    rates = [rate / width for rate in _RATES]
    one, each = exact(1), [(w,) for w in frequencies]

    def wave(frequency: float, argument: Expression = z) -> list[Expression]:
        return [Call(name, Constant(frequency) * argument) for name in ("sin", "cos")]

    def growth(rate: float) -> Expression:
        # Its size is 1 in the midst of the range, which may be far from 0.
        return Call("exp", Constant(rate) * (z + Constant(-low - width / 2)))

    def bell(centre: float, rate: float) -> Expression:
        return Call("exp", Constant(-rate) * (z + Constant(-centre)) ** 2)

    singles = [(2 * math.pi * count / width,) for count in np.arange(1, 4 * cycles) / 4]
    yield _Family("wave and a line", singles, lambda w: [(one, wave(w)), (one, [z])])
    damped = list(product(rates, frequencies))
    yield _Family("damped wave", damped, lambda k, w: [(growth(k), wave(w))])
    yield _Family(
        "wave with a polynomial amplitude",
        each,
        lambda w: [(factor, wave(w)) for factor in (z**2, z, one)],
    )
    yield _Family(
        "two waves",
        list(combinations(frequencies[:40], 2)),
        lambda v, w: [(one, wave(v)), (one, wave(w))],
    )
    yield _Family(
        "two exponentials",
        list(combinations(rates, 2)),
        lambda k, r: [(growth(k), [one]), (growth(r), [one])],
    )
    yield _Family(
        "polynomial times exponential",
        [(rate,) for rate in rates],
        lambda k: [(growth(k), [one, z, z**2])],
    )
    packets = [
        (low + centre * width, (share * width) ** -2, w)
        for centre, share, w in product(_CENTRES, _WIDTHS, frequencies[3:60:2])
    ]
    yield _Family("wave packet", packets, lambda m, r, w: [(bell(m, r), wave(w))])
    largest = float(np.square(max(abs(low), abs(low + width))))  # infinite rather than an error
    chirps = [(float(w),) for w in 2 * math.pi * _CYCLES / largest]
    yield _Family("chirp", chirps, lambda w: [(one, wave(w, z**2))])
    if low > 0:
        yield _Family("wave over its argument", each, lambda w: [(z**-1, wave(w))])
