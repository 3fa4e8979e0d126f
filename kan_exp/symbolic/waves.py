"""Waves of one variable, and two functions of it: damped waves, wave packets, two decays.

A curve in a network's edge is one function under scales and shifts. What is a product or sum of two
has more numbers inside. Here two of them, at most three, are tried on a grid, and all that enter
linearly follow by least squares (variable projection, Golub and Pereyra 1973).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from kan_exp.symbolic.expression import Call, Constant, Expression, Input
from kan_exp.symbolic.problem import Problem, Proposal, weighed_rows
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
_LARGEST_POWER = 700.0  # of e, in float64


# Relative error, the numbers from the grid, and the factors of a family's columns.
_Start = tuple[float, tuple[float, ...], Sequence[float]]


@dataclass(frozen=True)
class _Family:
    """Forms that are linear in some numbers.

    Attributes:
        name: In a few words.
        grid: Values of the other numbers, each on its own.
        columns: What has a linear factor each: expressions of the variable.
        form: The formula from those numbers and factors, with all of them free.
    """

    name: str
    grid: Sequence[tuple[float, ...]]
    columns: Callable[..., list[Expression]]
    form: Callable[[Sequence[float], Sequence[float]], Expression]


def waves(problem: Problem) -> Iterator[Proposal]:
    """Products and sums of two functions, where one variable varies."""
    x, y, weight = weighed_rows(problem.x, problem.y, problem.weight, _ROWS)
    varying = [place for place in range(x.shape[1]) if np.ptp(x[:, place]) > 0] if len(y) else []
    if len(varying) != 1 or len(np.unique(x[:, varying[0]])) < 12:
        return
    z = x[:, varying[0]]
    root = np.sqrt(weight / weight.mean())
    size = float(np.linalg.norm((y - np.average(y, weights=weight)) * root))
    if not size > 0:
        return
    cycles = min(len(np.unique(z)) // _PER_CYCLE, _MOST_CYCLES)
    for family in _families(Input(varying[0]), float(z.min()), float(np.ptp(z)), cycles):

        def factors(numbers: tuple[float, ...], family: _Family = family) -> _Start:
            """The best factors with these numbers, and their relative error."""
            design = np.stack([column(x) for column in family.columns(*numbers)], 1)
            design = np.c_[design, np.ones(len(y))] * root[:, None]
            if not np.isfinite(design).all():
                return math.inf, numbers, ()
            found = np.linalg.lstsq(design, y * root, rcond=1e-10)[0]
            left = float(np.linalg.norm(design @ found - y * root)) / size
            return left, numbers, found.tolist()

        starts = sorted(map(factors, family.grid), key=_error)[:_STARTS]
        if len(family.grid[0]) == 1:
            # Many factors fit anything beside a wrong number: it is looked for more closely.
            step = abs(family.grid[1][0] - family.grid[0][0])
            starts = [_closer(factors, start, step) for start in starts]
        forms = [family.form(n, c) for left, n, c in starts if left < _HOPELESS]
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
    def exponential(rate: float) -> Expression:
        return Call("exp", Constant(rate) * z)

    def wave(frequency: float, factors: Sequence[float], argument: Expression = z) -> Expression:
        """The sum of a sine and a cosine, as one sine with a phase."""
        sine, cosine = factors
        turned = Call("sin", Constant(frequency) * argument + Constant(math.atan2(cosine, sine)))
        return Constant(math.hypot(sine, cosine)) * turned

    def waves_of(frequency: float, argument: Expression = z) -> list[Expression]:
        return [Call(name, Constant(frequency) * argument) for name in ("sin", "cos")]

    def bell(centre: float, rate: float) -> Expression:
        return Call("exp", Constant(-rate) * (z + Constant(-centre)) ** 2)

    frequencies = [float(value) for value in 2 * math.pi * _CYCLES / width]
    rates = [rate / width for rate in _RATES]
    # What grows along a range far from 0 keeps a size of 1 in its midst, for the sake of digits.
    middle = low + width / 2

    def at_middle(rate: float) -> float:
        """The factor that does so; infinite, and so not tried, where floats hold none."""
        return math.exp(-rate * middle) if abs(rate * middle) < _LARGEST_POWER else math.inf

    yield _Family(
        "wave and a line",
        [(2 * math.pi * count / width,) for count in np.arange(1, 4 * cycles) / 4],
        lambda w: [*waves_of(w), z],
        lambda n, c: wave(n[0], c[:2]) + Constant(c[2]) * z + Constant(c[3]),
    )
    yield _Family(
        "damped wave",
        list(product(rates, frequencies)),
        lambda k, w: [at_middle(k) * exponential(k) * each for each in waves_of(w)],
        lambda n, c: (
            exponential(n[0]) * wave(n[1], [at_middle(n[0]) * factor for factor in c[:2]])
            + Constant(c[2])
        ),
    )
    yield _Family(
        "wave with a polynomial amplitude",
        [(w,) for w in frequencies],
        lambda w: [each * z**power for each in waves_of(w) for power in (2, 1, 0)],
        lambda n, c: (
            z**2 * wave(n[0], (c[0], c[3]))
            + z * wave(n[0], (c[1], c[4]))
            + wave(n[0], (c[2], c[5]))
            + Constant(c[6])
        ),
    )
    yield _Family(
        "two waves",
        list(combinations(frequencies[:40], 2)),
        lambda v, w: waves_of(v) + waves_of(w),
        lambda n, c: wave(n[0], c[:2]) + wave(n[1], c[2:4]) + Constant(c[4]),
    )
    yield _Family(
        "two exponentials",
        list(combinations(rates, 2)),
        lambda k, r: [at_middle(rate) * exponential(rate) for rate in (k, r)],
        lambda n, c: (
            Constant(c[0] * at_middle(n[0])) * exponential(n[0])
            + Constant(c[1] * at_middle(n[1])) * exponential(n[1])
            + Constant(c[2])
        ),
    )
    yield _Family(
        "polynomial times exponential",
        [(rate,) for rate in rates],
        lambda k: [at_middle(k) * exponential(k) * z**power for power in (0, 1, 2)],
        lambda n, c: (
            exponential(n[0])
            * (
                Constant(c[0] * at_middle(n[0]))
                + Constant(c[1] * at_middle(n[0])) * z
                + Constant(c[2] * at_middle(n[0])) * z**2
            )
            + Constant(c[3])
        ),
    )
    yield _Family(
        "wave packet",
        [
            (low + centre * width, (share * width) ** -2, w)
            for centre, share, w in product(_CENTRES, _WIDTHS, frequencies[3:60:2])
        ],
        lambda m, r, w: [bell(m, r) * each for each in waves_of(w)],
        lambda n, c: bell(n[0], n[1]) * wave(n[2], c[:2]) + Constant(c[2]),
    )
    largest = float(np.square(max(abs(low), abs(low + width))))  # infinite rather than an error
    yield _Family(
        "chirp",
        [(w,) for w in 2 * math.pi * _CYCLES / largest],
        lambda w: waves_of(w, z**2),
        lambda n, c: wave(n[0], c[:2], argument=z**2) + Constant(c[2]),
    )
    if low > 0:
        yield _Family(
            "wave over its argument",
            [(w,) for w in frequencies],
            lambda w: [each / z for each in waves_of(w)],
            lambda n, c: wave(n[0], c[:2]) / z + Constant(c[2]),
        )
