"""Finds formulas as trees of curves: fits splines to structures, then names their curves."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.composing import Linear, added, multiplied
from kan_exp.symbolic.expression import Array, Expression, Input
from kan_exp.symbolic.library import COMPOUNDS, LIBRARY
from kan_exp.symbolic.links import links
from kan_exp.symbolic.naming import Name, name_curve
from kan_exp.symbolic.problem import Problem, Proposal
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.spline_basis import SplineRows
from kan_exp.symbolic.spline_starts import random_splines
from kan_exp.symbolic.splines import Splines
from kan_exp.symbolic.structures import Curve, Node, Structure, curves, structures

# Relative errors: below the first a structure may be right, below the second a formula is.
PROMISING, EXACT = 5e-3, 1e-9
# Of the target, whose additive parts are starts of fits.
_FUNCTIONS = ("y", "y**2", "log(y)", "1/y", "sqrt(y)", "1/y**2")


def find_trees(problem: Problem) -> Iterator[Proposal]:
    """Searches trees of sums and products of curves, from small to large.

    Each structure is fitted with splines. Where they leave little, or the noise only, their curves
    are named, and combinations of names fitted together are proposed, the best ones first.
    """
    data = _Data.of(problem)
    if data is None:
        return
    generator = problem.generator
    errors: dict[int, float] = {}
    left = []
    for structure in data.screened(structures(data.active), generator, problem):
        if problem.over:
            return
        fitted = data.fitted(structure, generator)
        if fitted is None:
            continue
        splines, error = fitted
        size = len(curves(structure))
        simpler = min((errors[other] for other in errors if other < size), default=math.inf)
        errors[size] = min(error, errors.get(size, math.inf))
        if data.promising(splines, error, simpler):
            yield from formulas(splines, data, problem)
        elif error < 6 * PROMISING:
            left.append((error, str(structure), splines))
    for _, _, splines in sorted(left, key=lambda entry: entry[:2])[:3]:
        if problem.over:
            return
        yield from formulas(splines, data, problem)


def _functions_of(y: Array) -> list[Array]:
    """Functions of the target that may be sums: `(n,)` each, of deviation 1."""
    with np.errstate(all="ignore"):
        values = [link.forward(y)[0] for link in links(y) if link.name in _FUNCTIONS]
        return [one / one.std() for one in values if 0 < one.std() < math.inf]


@dataclass
class _Data:
    """Standardized rows, split in three: few for the first steps, the others, and held back."""

    few: SplineRows
    fitted_rows: SplineRows
    held: SplineRows
    every: SplineRows
    active: tuple[int, ...]
    noise: float
    middle: float
    scale: float

    @classmethod
    def of(cls, problem: Problem) -> _Data | None:
        x, y, weight = problem.x, problem.y, problem.weight
        usable = np.isfinite(y) & np.isfinite(x).all(1) & (weight > 0)
        x, y, weight = x[usable], y[usable], weight[usable]
        active = tuple(
            column for column in range(x.shape[1]) if len(y) and np.ptp(x[:, column]) > 0
        )
        if len(y) < 10 or not active:
            return None
        size = float(np.abs(y).max()) or 1.0
        middle = size * float(np.average(y / size, weights=weight))
        scale = size * math.sqrt(np.average(((y - middle) / size) ** 2, weights=weight))
        if not scale > 1e-13 * size:
            return None
        noise = problem.noise / scale
        order = np.random.default_rng(problem.seed).permutation(len(y))
        order = order[: 2500 if noise else 1250]
        # Rows at the ends of the inputs' ranges are among those fitted to.
        ends = {
            int(end) for column in active for end in (x[:, column].argmin(), x[:, column].argmax())
        }
        order = np.array([*sorted(ends), *(row for row in order if row not in ends)])
        seen = _functions_of(y / size)
        y = (y - middle) / scale
        held = max(len(order) // 5, 1)
        few, most = order[:300], order[:-held]
        low, high = x.min(0), x.max(0)

        def rows(chosen: NDArray[np.intp]) -> SplineRows:
            own = [function[chosen] for function in seen]
            made = SplineRows(x[chosen], y[chosen], weight[chosen], own)
            made.low, made.high = low, high
            return made

        return cls(
            rows(few if len(few) < len(most) else most),
            rows(order if noise else most),
            rows(order[-held:]),
            rows(order),
            active,
            noise,
            middle,
            scale,
        )

    def error(self, splines: Splines) -> float:
        """Relative error on the rows held back, without the worst twentieth of them.

        Those may lie where a hidden curve has seen no row.
        """
        rows = self.held
        with np.errstate(all="ignore"):
            squares = np.sort(((splines(rows).output[0] - rows.y) * rows.root) ** 2)
        return math.sqrt(squares[: len(squares) - len(squares) // 20].sum())

    @property
    def smooth(self) -> float:
        """Weight of roughness: as if third differences were a tenth of a curve's size."""
        return max(1e-7, 50 * self.noise**2 / len(self.fitted_rows.y))

    def screened(
        self, every: Iterator[Structure], generator: np.random.Generator, problem: Problem
    ) -> Iterator[Structure]:
        """The first structures as they come, and the others in the order of a short fit's loss."""
        yield from itertools.islice(every, 12)
        ranked: list[tuple[float, int, Structure]] = []
        for structure in every:
            if problem.over:
                return
            count = len(curves(structure))
            if 7 * count <= 0.5 * len(self.fitted_rows.y):
                splines = random_splines(structure, self.few, 24, generator).screened(6)
                loss = splines.fit(self.few, 6).loss.min()
                ranked.append((math.log(max(loss, 1e-30)) + 0.1 * count, len(ranked), structure))
        yield from (structure for _, _, structure in sorted(ranked, key=lambda entry: entry[:2]))

    def fitted(
        self, structure: Structure, generator: np.random.Generator
    ) -> tuple[Splines, float] | None:
        """A structure's best fit on few cells and its relative error on the rows held back."""
        count = len(curves(structure))
        largest = 0.5 * len(self.fitted_rows.y)
        best, error = None, math.inf
        # Few cells have few local minima; many turns need more.
        tried = [4, 8, 16] if count < 5 else [4, 8]
        if 7 * count > largest:
            largest *= 1.5
            tried = [2] if 5 * count <= largest else [1]
        for cells in tried:
            if (
                (cells + 3) * count > largest
                or error < PROMISING
                or (cells > 4 and error < 2 * self.noise)
            ):
                break
            splines = self._started(structure, generator, cells)
            new = self.error(splines.best())
            if new < error:
                best, error = splines, new
        if best is None:
            return None
        while (2 * best.cells + 3) * count <= largest and 1e-13 < error < 0.1:
            if self.noise and best.cells >= 8:
                break
            finer = best.best(2).refined().fit(self.fitted_rows, 10, smooth=self.smooth)
            new = self.error(finer.best())
            if not new < 0.9 * error:
                break
            best, error = finer, new
        return best.best(), error

    def _started(self, structure: Structure, generator: np.random.Generator, cells: int) -> Splines:
        """The best few of many starts."""
        if isinstance(structure, Curve) and isinstance(structure.source, int):
            return random_splines(structure, self.few, 1, generator, cells)
        smooth = self.smooth
        splines = random_splines(structure, self.few, 48, generator, cells)
        splines = splines.screened(18).fit(self.few, 10, smooth=smooth)
        splines = splines.best(6).fit(self.few, 10, smooth=smooth)
        return splines.best(2).fit(self.fitted_rows, 12, smooth=smooth)

    def promising(self, splines: Splines, error: float, simpler: float) -> bool:
        """Whether a structure's fit may be right, beside the error of those with fewer curves."""
        if self.noise:
            rows = self.fitted_rows
            free = max(len(rows.y) - splines.size, 1)
            deviation = math.sqrt(float(splines.loss[0]) * len(rows.y) / free)
            return deviation < 1.10 * self.noise * (1 + 1.5 / math.sqrt(2 * free))
        return error < 0.5 * simpler and error < 6 * PROMISING


def formulas(splines: Splines, data: _Data, problem: Problem) -> Iterator[Proposal]:
    """Names the curves of a fitted structure: formulas, the most promising ones first."""
    error = data.error(splines)
    names = _named(splines, data, error)
    if not all(names):
        return
    origin = f"tree {splines.structure}"
    choice = _Choice(splines.structure, names, data)
    for places in choice.visited(problem):
        if choice.tried[places].loss < EXACT**2:
            yield Proposal(_scaled(choice.tried[places].expression, data), origin)
            return
    best = sorted(choice.tried.values(), key=lambda fit: fit.score)
    proposed: set[Expression] = set()
    for fit in best:
        form = fit.expression.with_constants(np.zeros(len(fit.expression.constants)))
        if math.isfinite(fit.score) and form not in proposed:
            proposed.add(form)
            yield Proposal(_scaled(fit.expression, data), origin)
        if len(proposed) == (5 if data.noise else 2):
            return


@dataclass
class _Fit:
    """A formula with fitted constants, its mean squared error, and its score: less is better."""

    expression: Expression
    loss: float
    score: float


class _Choice:
    """Which name each curve of a structure has, decided by fits of all constants together."""

    def __init__(
        self, structure: Structure, names: list[list[tuple[float, Name]]], data: _Data
    ) -> None:
        self.structure, self.names, self.data = structure, names, data
        self.tried: dict[tuple[int, ...], _Fit] = {}
        self.least = math.inf

    def visited(self, problem: Problem) -> Iterator[tuple[int, ...]]:
        """Combinations of places in the lists of names, as they are fitted."""
        scores = [[score for score, _ in own] for own in self.names]
        limit = 80 if len(scores) < 4 else 30
        for places in itertools.islice(_best_first(scores), limit):
            if problem.over:
                return
            self._fit(places)
            yield places

    def _fit(self, places: tuple[int, ...]) -> None:
        rows, noise = self.data.few, self.data.noise
        chosen = [own[place][1] for own, place in zip(self.names, places, strict=True)]
        expression = _composed(self.structure, iter(chosen)).expression
        with np.errstate(all="ignore"):
            fit = refit(expression, rows.x, rows.y, rows.root**2, steps=8)
            # Only what may become the best is fitted further.
            if fit.loss < max(20 * self.least, 1e-6):
                fit = refit(fit.expression, rows.x, rows.y, rows.root**2, steps=25)
        self.least = min(self.least, fit.loss)
        score = math.inf
        if math.isfinite(fit.loss):
            count, free = len(rows.y), len(expression.constants)
            score = count * math.log(max(fit.loss, 0.5 * noise**2, 1e-30))
            score += math.log(count) * free + 3 * expression.complexity
        self.tried[places] = _Fit(fit.expression, fit.loss, score)


def _scaled(expression: Expression, data: _Data) -> Expression:
    """The formula of the standardized target in units of y."""
    return Linear(((data.scale, expression),), data.middle).expression


def _named(splines: Splines, data: _Data, error: float) -> list[list[tuple[float, Name]]]:
    """Names of each curve of splines of an error, with their scores, smaller ones first."""
    rows = data.every
    values = splines(rows, derivatives=True)
    noise = data.noise * math.sqrt((splines.cells + 3) / len(rows.y))
    result = []
    for place in range(len(values.curves)):
        argument = values.arguments[place]
        z = argument if argument.ndim == 1 else argument[0]
        curve, weight = values.curves[place][0], values.influence[place][0] ** 2 * rows.root**2
        if not np.isfinite(weight).all() or not weight.sum() > 0:
            return [[]]
        mean = np.average(curve, weights=weight)
        contribution = math.sqrt(float(((curve - mean) ** 2) @ weight))
        # Differences below what the splines leave say nothing.
        floor = (noise if data.noise else 0.3 * max(error, 1e-12)) / max(contribution, 1e-300)
        best: dict[str, tuple[float, Name]] = {}
        functions = LIBRARY if argument.ndim == 1 else LIBRARY | COMPOUNDS
        for name in name_curve(z, curve, weight, functions=list(functions)):
            score = math.log10(max(name.error, floor, 1e-13))
            score += (0.25 if data.noise else 0.12) * name.cost
            if name.function not in best:
                best[name.function] = (score, name)
        result.append(sorted(best.values(), key=lambda entry: entry[0])[:14])
    return result


def _best_first(scores: list[list[float]]) -> Iterator[tuple[int, ...]]:
    """Combinations of places, one of each list, in the order of their scores' sums."""
    first = (0,) * len(scores)
    heap = [(sum(own[0] for own in scores), first)]
    seen = {first}
    while heap:
        total, places = heapq.heappop(heap)
        yield places
        for which, own in enumerate(scores):
            place = places[which] + 1
            if place < len(own):
                grown = (*places[:which], place, *places[which + 1 :])
                if grown not in seen:
                    seen.add(grown)
                    heapq.heappush(heap, (total + own[place] - own[place - 1], grown))


def _composed(structure: Structure, names: Iterator[Name]) -> Linear:
    """The formula of a structure with the names of its curves, in their order."""
    if isinstance(structure, Node):
        parts = [_composed(part, names) for part in structure.parts]
        return multiplied(parts) if structure.product else added(parts)
    if isinstance(structure.source, int):
        argument = Linear(((1.0, Input(structure.source)),))
    else:
        argument = _composed(structure.source, names)
    return next(names).of(argument)
