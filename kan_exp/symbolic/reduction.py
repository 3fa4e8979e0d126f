"""Fewer variables: factors taken out and pairs of variables merged, as polynomial fits allow.

If y depends on `x1` and `x2` through their difference alone, a polynomial in the difference and
the other variables fits it as well as one in all of them, and, as there are fewer variables, with
higher powers at the same number of terms. Each step compares such fits; none of them needs starts.
The idea of looking for symmetries first is AI Feynman's (Udrescu and Tegmark 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, product

import numpy as np

from kan_exp.symbolic.composing import Linear, added
from kan_exp.symbolic.expression import Array, Call, Constant, Expression, Input, exact
from kan_exp.symbolic.links import Link, called
from kan_exp.symbolic.naming import Name, name_curve
from kan_exp.symbolic.problem import Problem, Proposal
from kan_exp.symbolic.regression import Polynomials, Rows

_Step = Callable[[Expression], Expression]
# A name of a curve, and its argument.
_Choice = tuple[Name, Expression]

# Rows that decide between changes of variables: fitted to, and held back for the error.
FITTED, HELD = 1600, 1000
# Ratio of errors at which a polynomial of fewer terms is clearly better.
_CLEARLY = 0.7
# Powers that a variable may have as a factor of y.
_POWERS = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 1.5, -1.5, 4.0, -4.0, 5.0, -5.0)
# Powers of one beside a variable that it is part of.
_POWERS_BESIDE = (1.0, -1.0, 2.0, -2.0)


def _power(p: float) -> Link:
    return Link(
        f"y**{p:g}",
        lambda y: (np.power(y, p), abs(p * np.power(y, p - 1))),
        lambda e: e ** exact(1 / p),
    )


# Functions of y, by which a sum of curves may explain it, the simplest ones first.
LINKS = (
    Link("y", lambda y: (y, np.ones_like(y)), lambda e: e),
    called("log", "exp"),
    _power(2),
    _power(-1),
    _power(-2),
    _power(0.5),
    _power(-0.5),
    called("exp", "log"),
    called("sin", "asin"),
    called("atanh", "tanh"),
    Link(
        "logit(y)",
        lambda y: (np.log(y / (1 - y)), 1 / np.where((y > 0) & (y < 1), y * (1 - y), np.nan)),
        lambda e: (1 + Call("exp", -e)) ** -1,
    ),
    called("asin", "sin"),
    called("tan", "atan"),
)


@dataclass(frozen=True)
class State:
    """A smaller problem, and the way back to the given one.

    Attributes:
        variables: Expressions of the columns of x, whose values are `values`.
        values: Of each variable `(n,)`.
        y: Target of the smaller problem `(n,)`: the given one, divided by `factor`.
        slope: Size of `factor` `(n,)`; 0 where y says nothing about the smaller problem.
        factor: An expression of the columns of x.
        error: Of the polynomial fit, in deviations of the given target.
        told: The steps in words.
        relative: Whether the error is of the logarithm of y.
    """

    variables: tuple[Expression, ...]
    values: tuple[Array, ...]
    y: Array
    slope: Array
    factor: Expression
    error: float = np.inf
    told: tuple[str, ...] = ()
    relative: bool = False

    def given(self, expression: Expression) -> Expression:
        """The formula of the given target, from one of `y` in the variables."""
        inner = expression.substituted(self.variables)
        return inner if self.factor == exact(1) else self.factor * inner

    def times(self, factor: Expression) -> Expression:
        return factor if self.factor == exact(1) else self.factor * factor

    def smaller(self, problem: Problem) -> Problem:
        """The smaller problem, of all rows of the given one."""
        values = [variable(problem.x) for variable in self.variables]
        x = np.stack(values, 1) if values else np.empty((len(problem.y), 0))
        factor = self.factor(problem.x)
        known = np.isfinite(x).all(1) & np.isfinite(factor)
        known &= np.abs(factor) > 1e-9 * np.abs(factor[known]).max()
        return replace(
            problem,
            x=x[known],
            y=problem.y[known] / factor[known],
            weight=problem.weight[known] * factor[known] ** 2,
            # Of the mean size, as the weights have it.
            noise=problem.noise / float(np.sqrt(np.mean(factor[known] ** 2))),
            dimensions=problem.dimensions
            and problem.dimensions.smaller(self.variables, self.factor),
        )

    def without(self, *places: int) -> tuple[tuple[Expression, ...], tuple[Array, ...]]:
        kept = [place for place in range(len(self.variables)) if place not in places]
        return tuple(self.variables[p] for p in kept), tuple(self.values[p] for p in kept)


class Reduction:
    """A finder that takes factors out, merges variables, and names what is left."""

    def __init__(self, problem: Problem, *, relative: bool) -> None:
        """With `relative`, the target is the logarithm of y, which must not change its sign."""
        self.problem, self.relative = problem, relative
        self.sign = 1.0 if np.median(problem.y) > 0 else -1.0
        order = problem.generator.permutation(len(problem.y))
        # Under noise, errors of the logarithm are weighted by y.
        self.noisy = bool(problem.noise)
        if relative:
            cut = _cut(problem)
            self.noisy |= cut > 0
            # The logarithm of a value near 0 is mostly noise.
            order = order[self.sign * problem.y[order] > cut]
        share = len(order) * FITTED // (FITTED + HELD)
        self.fitted = min(FITTED, share)
        order = order[: self.fitted + min(HELD, len(order) - share)]
        self.x, self.y, self.weight = problem.x[order], problem.y[order], problem.weight[order]
        tail = 1.0 if relative else 8.0
        every = np.arange(len(order))
        terms = min(130, max(self.fitted // 5, 8))
        self.polynomials = Polynomials(terms, every, tail)
        # A few rows and terms dismiss most changes of variables.
        near, far = min(500, self.fitted), min(300, len(order) - self.fitted)
        self.few = np.r_[:near, self.fitted : self.fitted + far]
        self.few_fitted = near
        self.few_polynomials = Polynomials(min(56, max(near // 5, 8)), self.few, tail)
        self.size = 0.0
        # Many terms magnify noise where rows are few: fewer are taken if they are clearly better.
        self.start = self._start()
        for fewer in (terms // 2, terms // 4, terms // 8):
            trial = Polynomials(max(fewer, 8), every, tail)
            error = self.rows(self.start).solve(trial.design(self.start.values))[1]
            if error < _CLEARLY * self.start.error:
                self.polynomials = trial
                self.few_polynomials = Polynomials(min(56, trial.terms), self.few, tail)
                self.start = replace(self.start, error=error)

    def _start(self) -> State:
        """The given problem, with the error of the polynomials."""
        varying = [column for column in range(self.x.shape[1]) if np.ptp(self.x[:, column]) > 0]
        values = tuple(np.ascontiguousarray(self.x[:, column]) for column in varying)
        variables = tuple(map(Input, varying))
        negative = self.relative and self.sign < 0
        y = -self.y if negative else self.y
        factor = exact(-1 if negative else 1)
        state = State(variables, values, y, np.ones(len(y)), factor, relative=self.relative)
        self.size = self.rows(state).size
        return self.scored(state)

    def rows(self, state: State, few: bool = False) -> Rows:
        """The target of a state's polynomials, and the weights of its errors."""
        taken = self.few if few else slice(None)
        y, slope, weight = state.y[taken], state.slope[taken], self.weight[taken]
        if self.relative:
            # An error of the logarithm is a relative error; noise has the same size everywhere.
            y, slope = np.log(y), slope * y if self.noisy else np.ones(len(y))
        rows = Rows(y, weight * slope**2, self.few_fitted if few else self.fitted)
        if self.size:
            rows.size = self.size
        return rows

    def error(self, state: State, factor: Array | None = None) -> float:
        design = self.polynomials.design(state.values)
        if factor is not None:
            design = design * factor[:, None]
        return self.rows(state).solve(design)[1]

    def few_error(
        self, state: State, factor: Array | None = None, extra: Array | None = None
    ) -> float:
        """The error of a smaller polynomial, fitted to few rows."""
        design = self.few_polynomials.design(state.values)
        if factor is not None:
            design = design * factor[self.few, None]
        if extra is not None:
            design = np.concatenate([design, extra[self.few, None]], 1)
        return self.rows(state, few=True).solve(design)[1]

    def scored(self, state: State) -> State:
        return replace(state, error=self.error(state))

    # --- steps ---------------------------------------------------------------------------------

    def steps(self, state: State) -> Iterator[State]:
        """States with one variable less that explain y as well."""
        # What a few rows dismiss is not looked at further.
        few = max(1.2 * self.few_error(state), self.bound(state))
        yield from self.peeled(state, few)
        yield from self.merged(state, few)

    def peeled(self, state: State, few: float) -> Iterator[State]:
        """A power of one variable as a factor of y."""
        for place in range(len(state.values)):
            variables, values = state.without(place)
            rest = replace(state, variables=variables, values=values)
            yield from self.freed(state, few, rest, place, _POWERS)

    def freed(
        self, state: State, few: float, rest: State, place: int, powers: tuple[float, ...]
    ) -> Iterator[State]:
        """`rest` with y divided by a power of one of the state's variables."""
        z = state.values[place]
        if self.relative:
            if z.min() > 0:
                yield from self.divided(state, few, rest, state.variables[place], z)
            return
        for power in powers:
            if _defined(z, power):
                factor = np.power(z, power)
                if self.few_error(rest, factor) <= few:
                    yield from self.factored(state, rest, place, power, factor)

    def divided(
        self, state: State, few: float, rest: State, variable: Expression, z: Array
    ) -> Iterator[State]:
        """`rest` with a multiple of a variable's logarithm taken away from the target."""
        log = np.log(z)
        if self.few_error(rest, extra=log) > few:
            return
        design = np.concatenate([self.polynomials.design(rest.values), log[:, None]], 1)
        coefficients, error = self.rows(rest).solve(design)
        if not np.isfinite(coefficients[-1]):
            return
        power = round(2 * coefficients[-1]) / 2
        if error > self.bound(state) or power == 0 or abs(power) > 6:
            return
        factor = np.power(z, power)
        given = state.times(variable ** exact(power))
        child = replace(rest, y=state.y / factor, slope=state.slope * factor, factor=given)
        child = self.scored(child)
        if child.error <= self.bound(state):
            yield self.told(child, f"x^{power:g}")

    def factored(
        self, state: State, rest: State, place: int, power: float, factor: Array
    ) -> Iterator[State]:
        """`rest` with y divided by a power of a variable."""
        error = self.error(rest, factor)
        if error > self.bound(state):
            return
        variable = state.variables[place]
        size = np.abs(factor)
        # Where the factor is 0, y says nothing about the rest.
        slope = np.where(size > 1e-9 * size.max(), state.slope * size, 0.0)
        y = state.y / np.where(slope > 0, factor, 1.0)
        given = state.times(variable ** exact(power))
        child = replace(rest, y=y, slope=slope, error=error, factor=given)
        yield self.told(child, f"x^{power:g}")

    def merged(self, state: State, few: float) -> Iterator[State]:
        """Two variables in the place of which one can stand."""
        for i, j in combinations(range(len(state.values)), 2):
            variables, values = state.without(i, j)
            for variable, value, name in _merges(
                state.variables[i], state.values[i], state.variables[j], state.values[j]
            ):
                if not self.problem.has_units(variable):
                    continue
                child = replace(state, variables=(variable, *variables), values=(value, *values))
                if self.few_error(child) <= few:
                    child = self.scored(child)
                    if child.error <= self.bound(state):
                        yield self.told(child, name)
                if len(state.values) <= 4 and name in ("product", "ratio"):
                    # One of the two may stand as a factor beside the merged variable.
                    for place in (i, j):
                        yield from self.freed(state, few, child, place, _POWERS_BESIDE)

    def bound(self, state: State) -> float:
        """The largest error of a state that may come after one."""
        if self.problem.noise:
            return 1.05 * state.error
        # The last polynomial, of one variable, has the fewest terms.
        return max(1.05 * state.error, 1e-4 if len(state.values) == 2 else 3e-6)

    def told(self, state: State, what: str) -> State:
        return replace(state, told=(*state.told, what))

    # --- ends ----------------------------------------------------------------------------------

    def monomial(self, state: State) -> Iterator[Proposal]:
        """A product of powers, by the logarithms of the variables."""
        positive = [place for place, z in enumerate(state.values) if z.min() > 0]
        logs = [np.log(state.values[place]) for place in positive]
        design = np.stack([np.ones(len(state.y)), *logs], 1)
        coefficients, error = self.rows(state).solve(design)
        if error <= max(1.1 * state.error, 1e-6) and np.isfinite(coefficients).all():
            total: Expression = Constant(float(np.exp(coefficients[0])))
            for place, power in zip(positive, coefficients[1:], strict=True):
                if rounded := round(6 * power) / 6:
                    total = total * Input(place) ** exact(Fraction(rounded).limit_denominator(6))
            yield self.proposal(state, total, "product of powers")

    def ends(self, state: State) -> Iterator[Proposal]:
        """Formulas of a state: a constant, a curve, a sum of curves under a function."""
        if not state.values:
            yield self.proposal(state, Constant(float(np.mean(state.y))), "constant")
            return
        sums = []
        for order, link in enumerate(LINKS):
            if transformed := self.transformed(state, link):
                y, slope, back = transformed
                changed = replace(state, y=y, slope=slope)
                curves, error = self.curves(changed)
                if error <= max(1.05 * state.error, 0.0 if self.problem.noise else 1e-5):
                    # A function of y that makes it simple needs low powers only.
                    _, simple = self.curves(changed, 5)
                    sums.append((max(error, simple), order, changed, curves, link.name, back))
        sums.sort(key=lambda found: found[0])
        if self.problem.noise and sums:
            # Those that are as good as the best one, the simplest first.
            sums = [found for found in sums if found[0] <= 1.01 * sums[0][0]]
            sums.sort(key=lambda found: found[1])
        for _, _, changed, curves, name, back in sums:
            for formula in self.named(changed, curves):
                yield self.proposal(state, back(formula), f"{name}: sum of curves")
            if self.problem.over:
                return

    def transformed(self, state: State, link: Link) -> tuple[Array, Array, _Step] | None:
        """A function of y, how much its errors are in the given target, and its inverse."""
        negative = bool(state.y.max() < 0)
        with np.errstate(all="ignore"):
            y, size = link.forward(-state.y if negative else state.y)
        if not np.isfinite(y).all() or not np.isfinite(size).all() or np.ptp(y) == 0:
            return None
        if size.min() < 1e-9 * size.max():
            return None
        # Without noise, `relative` errors are relative ones.
        relative = self.relative and not self.noisy
        slope = (1 / np.abs(state.y) if relative else state.slope) / size
        return y, slope, (lambda e: -link.inverse(e)) if negative else link.inverse

    def curves(self, state: State, degree: int = 0) -> tuple[list[Array], float]:
        """A sum of one curve a variable: the curves' values, and the fit's error.

        Args:
            degree: Of polynomials; by default the curves are splines.
        """
        cells = max(min(self.fitted // (30 * len(state.values)), 40), 1)
        parts = [
            self.polynomials.powers(z, degree)[1:].T
            if degree
            # The last column is left out: the splines of each variable add up to 1.
            else self.polynomials.curve(z, cells)[:, :-1]
            for z in state.values
        ]
        design = np.concatenate([np.ones((len(state.y), 1)), *parts], 1)
        rows = Rows(state.y, self.weight * state.slope**2, self.fitted)
        rows.size = self.size
        coefficients, error = rows.solve(design)
        ends = np.cumsum([1, *(part.shape[1] for part in parts)])
        curves = [
            part @ coefficients[start:end]
            for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True)
        ]
        curves[0] = curves[0] + coefficients[0]
        return curves, error

    def named(self, state: State, curves: list[Array]) -> Iterator[Expression]:
        """Sums of named curves, in the state's variables, the most likely ones first."""
        weight = self.weight * state.slope**2
        choices: list[list[_Choice]] = []
        exactly = self.problem.noise == 0
        for place, (z, curve) in enumerate(zip(state.values, curves, strict=True)):
            if exactly and len(curves) == 1:
                curve = state.y
            argument: Expression = Input(place)
            named = [(name, argument) for name in name_curve(z, curve, weight)]
            if z.min() > 0 and not (exactly and named and named[0][0].error < 1e-9):
                named += [(name, argument**-1) for name in name_curve(1 / z, curve, weight)]
            if not named:
                return
            named.sort(key=lambda found: _rank(found[0]))
            choices.append(named[: 6 if len(curves) == 1 else 3])
        for combination in _combinations(choices):
            parts = [name.of(Linear(((1.0, argument),))) for name, argument in combination]
            yield added(parts).expression

    def proposal(self, state: State, expression: Expression, how: str) -> Proposal:
        told = ", ".join((*state.told, how))
        return Proposal(state.given(expression), told)


def _defined(z: Array, power: float) -> bool:
    """Whether every value has this power."""
    if z.min() > 0:
        return True
    return power == int(power) and (power > 0 or np.abs(z).min() > 1e-6 * np.abs(z).max())


def _rank(name: Name) -> float:
    """Names by their error, in which errors of rounding are alike, and their cost."""
    return float(np.log10(max(name.error, 1e-8))) + 0.1 * name.cost


def _combinations(choices: list[list[_Choice]], most: int = 12) -> list[tuple[_Choice, ...]]:
    every = sorted(
        product(*map(enumerate, choices)),
        key=lambda chosen: sum(place for place, _ in chosen),
    )
    return [tuple(name for _, name in chosen) for chosen in every[:most]]


def _merges(
    a: Expression, x: Array, b: Expression, y: Array
) -> Iterator[tuple[Expression, Array, str]]:
    """Ways to make one variable of two."""
    yield a + b, x + y, "sum"
    yield a - b, x - y, "difference"
    yield a * b, x * y, "product"
    away = np.abs(x).min() > 1e-6 * np.abs(x).max(), np.abs(y).min() > 1e-6 * np.abs(y).max()
    if away[1]:
        yield a / b, x / y, "ratio"
        yield a**2 / b, x**2 / y, "ratio"
        yield a / b**2, x / y**2, "ratio"
    elif away[0]:
        yield b / a, y / x, "ratio"
    yield a * b**2, x * y**2, "product"
    yield a**2 * b, x**2 * y, "product"
    yield a**2 + b**2, x**2 + y**2, "sum of squares"
    yield a**2 - b**2, x**2 - y**2, "difference of squares"
    if away[0] and away[1]:
        yield 1 / a + 1 / b, 1 / x + 1 / y, "sum of reciprocals"
        yield 1 / a - 1 / b, 1 / x - 1 / y, "difference of reciprocals"
    for trigonometric, function in (("cos", np.cos), ("sin", np.sin)):
        yield a * Call(trigonometric, b), x * function(y), "product"
        yield Call(trigonometric, a) * b, function(x) * y, "product"


def reductions(
    problem: Problem, width: int = 1, seen: dict[str, State] | None = None
) -> Iterator[Proposal]:
    """Proposals from states with ever fewer variables, best first.

    Args:
        width: States of each size that are followed; 1 is greedy.
        seen: Takes the states, by a key of their own. Those that are there have been looked at.
    """
    seen = {} if seen is None else seen
    if _one_sign(problem):
        yield from _followed(Reduction(problem, relative=True), width, seen)
    yield from _followed(Reduction(problem, relative=False), width, seen)


def _cut(problem: Problem) -> float:
    """Size below which a value of a target of one sign says nothing of its logarithm."""
    sign = np.sign(np.median(problem.y))
    # The most negative of many values that noise alone has made so is some four deviations away.
    noise = max(float(-(sign * problem.y).min()) / 4, 0.0)
    return 5 * max(noise, min(problem.noise, 4 * noise))


def _one_sign(problem: Problem) -> bool:
    """Whether y has one sign, but for noise around 0."""
    sign = np.sign(np.median(problem.y))
    values, cut = sign * problem.y, _cut(problem)
    enough = (values > cut).sum() >= min(200, 0.8 * len(values))
    return bool(sign) and bool(enough) and bool(cut < 0.25 * values.max())


def _followed(search: Reduction, width: int, seen: dict[str, State]) -> Iterator[Proposal]:
    level = [search.start]
    if search.relative:
        yield from search.monomial(level[0])
    while level and not search.problem.over:
        children: dict[str, State] = {}
        for state in level:
            key = _key(state)
            if key not in seen:
                seen[key] = state
                yield from search.ends(state)
            for child in search.steps(state):
                key = _key(child)
                if key not in children or child.error < children[key].error:
                    children[key] = child
                if search.problem.over:
                    return
        level = sorted(children.values(), key=lambda child: child.error)[:width]


def _key(state: State) -> str:
    """States with the same variables and the same target are one."""
    deviations = sorted(round(float(np.std(z)), 9) for z in state.values)
    return f"{state.relative} {deviations} {np.std(state.y):.9g}"
