"""Fewer variables: factors taken out and pairs of variables merged, as polynomial fits allow.

If y depends on `x1` and `x2` through their difference alone, a polynomial in the difference and
the other variables fits it as well as one in all of them, and, as there are fewer variables, with
higher powers at the same number of terms. Each step compares such fits; none of them needs starts.
The idea of looking for symmetries first is AI Feynman's (Udrescu and Tegmark 2020).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, islice, product

import numpy as np

from kan_exp.symbolic.composing import Linear, added
from kan_exp.symbolic.expression import (
    Array,
    Call,
    Constant,
    Expression,
    Input,
    exact,
    power_product,
)
from kan_exp.symbolic.links import Link, links
from kan_exp.symbolic.naming import Name, name_curve
from kan_exp.symbolic.problem import Problem, Proposal, State
from kan_exp.symbolic.regression import Holdout, Polynomials

# Rows that decide between changes of variables: fitted to, and held back for the error.
FITTED, HELD = 1600, 1000
# The same for the first look at a change of variables, and columns of its polynomials.
_FEW_FITTED, _FEW_HELD, _FEW_TERMS = 500, 300, 56
# Ratio of errors at which a polynomial of fewer terms is clearly better.
_CLEARLY = 0.7
# Powers that a variable may have as a factor of y, and that one may have beside a variable that it
# is part of.
_POWERS = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 1.5, -1.5, 4.0, -4.0, 5.0, -5.0)
_POWERS_BESIDE = _POWERS[:4]
# Combinations of curves' names that are proposed.
_COMBINATIONS = 12


class Reduction:
    """Takes factors out, merges variables, and names what is left."""

    def __init__(self, problem: Problem, *, relative: bool) -> None:
        """With `relative`, the target is the logarithm of y, which must not change its sign."""
        self.problem, self.relative = problem, relative
        order = problem.generator.permutation(len(problem.y))
        # Under noise, errors of the logarithm are weighted by y.
        self.noisy = bool(problem.noise)
        negative = relative and bool(np.median(problem.y) <= 0)
        if relative:
            cut = _cut(problem)
            self.noisy |= cut > 0
            # The logarithm of a value near 0 is mostly noise.
            order = order[(-problem.y if negative else problem.y)[order] > cut]
        share = len(order) * FITTED // (FITTED + HELD)
        self.fitted = min(FITTED, share)
        order = order[: self.fitted + min(HELD, len(order) - share)]
        self.x, self.y, self.weight = problem.rows(order).data
        self.few_fitted = min(_FEW_FITTED, self.fitted)
        few_held = min(_FEW_HELD, len(order) - self.fitted)
        self.few = np.r_[: self.few_fitted, self.fitted : self.fitted + few_held]
        self.tail = 1.0 if relative else 8.0
        terms = min(130, max(self.fitted // 5, 8))
        self._set_polynomials(terms, max(self.few_fitted // 5, 8))
        self.size = 0.0
        self.start = self._start(negative)
        # Many terms magnify noise where rows are few: fewer are taken if they are clearly better.
        for fewer in (terms // 2, terms // 4, terms // 8):
            trial = Polynomials(max(fewer, 8), np.arange(len(order)), self.tail)
            error = self.rows(self.start).solve(trial.design(self.start.values))[1]
            if error < _CLEARLY * self.start.error:
                self._set_polynomials(trial.terms, trial.terms)
                self.start = replace(self.start, error=error)

    def _set_polynomials(self, terms: int, few_terms: int) -> None:
        self.polynomials = Polynomials(terms, np.arange(len(self.y)), self.tail)
        self.few_polynomials = Polynomials(min(_FEW_TERMS, few_terms), self.few, self.tail)

    def _start(self, negative: bool) -> State:
        """The given problem, with the error of the polynomials."""
        varying = [column for column in range(self.x.shape[1]) if np.ptp(self.x[:, column]) > 0]
        values = tuple(np.ascontiguousarray(self.x[:, column]) for column in varying)
        variables = tuple(map(Input, varying))
        y, factor = (-self.y, exact(-1)) if negative else (self.y, exact(1))
        state = State(variables, values, y, np.ones(len(y)), factor, relative=self.relative)
        self.size = self.rows(state).size
        return replace(state, error=self.error(state))

    def rows(self, state: State, few: bool = False) -> Holdout:
        """The target of a state's polynomials, and the weights of its errors."""
        taken = self.few if few else slice(None)
        y, slope, weight = state.y[taken], state.slope[taken], self.weight[taken]
        if self.relative:
            # An error of the logarithm is a relative error; noise has the same size everywhere.
            y, slope = np.log(y), slope * y if self.noisy else np.ones(len(y))
        return Holdout(y, weight * slope**2, self.few_fitted if few else self.fitted, self.size)

    def error(
        self,
        state: State,
        *,
        few: bool = False,
        factor: Array | None = None,
        extra: Array | None = None,
    ) -> float:
        """The error of a state's polynomial.

        Args:
            few: Whether it is a smaller polynomial, fitted to few rows.
            factor: What the polynomial is multiplied by `(n,)`.
            extra: A column besides those of the polynomial `(n,)`.
        """
        taken = self.few if few else slice(None)
        design = (self.few_polynomials if few else self.polynomials).design(state.values)
        if factor is not None:
            design = design * factor[taken, None]
        if extra is not None:
            design = np.concatenate([design, extra[taken, None]], 1)
        return self.rows(state, few).solve(design)[1]

    def bound(self, state: State) -> float:
        """The largest error of a state that may follow another one."""
        if self.problem.noise:
            return 1.05 * state.error
        # The last polynomial, of one variable, has the fewest terms.
        return max(1.05 * state.error, 1e-4 if len(state.values) == 2 else 3e-6)

    # --- steps ---------------------------------------------------------------------------------

    def steps(self, state: State) -> Iterator[State]:
        """States with one variable less that explain y as well."""
        # What a few rows dismiss is not looked at further.
        few = max(1.2 * self.error(state, few=True), self.bound(state))
        for place in range(len(state.values)):
            yield from self._divided(state, few, state.without(place), place, _POWERS)
        for i, j in combinations(range(len(state.values)), 2):
            yield from self._merged(state, few, i, j)

    def _divided(
        self, state: State, few: float, rest: State, place: int, powers: tuple[float, ...]
    ) -> Iterator[State]:
        """`rest` with y divided by a power of one of the state's variables."""
        z = state.values[place]
        if not self.relative:
            for power in powers:
                if _defined(z, power):
                    factor = np.power(z, power)
                    if self.error(rest, few=True, factor=factor) <= few:
                        error = self.error(rest, factor=factor)
                        if error <= self.bound(state):
                            child = _without_factor(state, rest, place, power)
                            yield replace(child, error=error)
        elif z.min() > 0 and (power := self._exponent(state, few, rest, np.log(z))):
            child = _without_factor(state, rest, place, power)
            child = replace(child, error=self.error(child))
            if child.error <= self.bound(state):
                yield child

    def _exponent(self, state: State, few: float, rest: State, log: Array) -> float:
        """The factor of a variable's logarithm in that of y, in halves; 0 if there is none."""
        if self.error(rest, few=True, extra=log) > few:
            return 0.0
        design = np.concatenate([self.polynomials.design(rest.values), log[:, None]], 1)
        coefficients, error = self.rows(rest).solve(design)
        if not np.isfinite(coefficients[-1]) or error > self.bound(state):
            return 0.0
        power = round(2 * coefficients[-1]) / 2
        return power if abs(power) <= 6 else 0.0

    def _merged(self, state: State, few: float, i: int, j: int) -> Iterator[State]:
        """One variable in the place of two."""
        rest = state.without(i, j)
        pair = state.variables[i], state.values[i], state.variables[j], state.values[j]
        for variable, value, name in _merges(*pair):
            if not self.problem.has_units(variable):
                continue
            merged = replace(
                rest, variables=(variable, *rest.variables), values=(value, *rest.values)
            )
            if self.error(merged, few=True) <= few:
                child = replace(merged, error=self.error(merged), steps=(*state.steps, name))
                if child.error <= self.bound(state):
                    yield child
            if len(state.values) <= 4 and name in ("product", "ratio"):
                # One of the two may stand as a factor beside the merged variable.
                for place in (i, j):
                    yield from self._divided(state, few, merged, place, _POWERS_BESIDE)

    # --- formulas of a state -------------------------------------------------------------------

    def products_of_powers(self, state: State) -> Iterator[Proposal]:
        """A product of powers, by the logarithms of the variables."""
        positive = [place for place, z in enumerate(state.values) if z.min() > 0]
        logs = [np.log(state.values[place]) for place in positive]
        design = np.stack([np.ones(len(state.y)), *logs], 1)
        coefficients, error = self.rows(state).solve(design)
        if error <= max(1.1 * state.error, 1e-6) and np.isfinite(coefficients).all():
            sixths = [Fraction(round(6 * power), 6) for power in coefficients[1:]]
            powers = power_product(zip(map(Input, positive), sixths, strict=True))
            total = Constant(float(np.exp(coefficients[0]))) * powers
            yield state.proposal(total, "product of powers")

    def formulas(self, state: State) -> Iterator[Proposal]:
        """Formulas of a state: a constant, a curve, a sum of curves under a function."""
        if not state.values:
            yield state.proposal(Constant(float(np.mean(state.y))), "constant")
            return
        sums = []
        for order, link in enumerate(links(state.y)):
            if (changed := self._transformed(state, link)) is not None:
                curves, error = self._curves(changed)
                if error <= max(1.05 * state.error, 0.0 if self.problem.noise else 1e-5):
                    # A function of y that makes it simple needs low powers only.
                    error = max(error, self._curves(changed, 5)[1])
                    sums.append((error, order, changed, curves, link))
        sums.sort(key=lambda found: found[0])
        if self.problem.noise and sums:
            # Those that are as good as the best one, the simplest first.
            sums = [found for found in sums if found[0] <= 1.01 * sums[0][0]]
            sums.sort(key=lambda found: found[1])
        for _, _, changed, curves, link in sums:
            for formula in self._named(changed, curves):
                yield state.proposal(link.inverse(formula), f"{link.name}: sum of curves")
            if self.problem.over:
                return

    def _transformed(self, state: State, link: Link) -> State | None:
        """The state with a function of y as its target; None if that is of no use."""
        with np.errstate(all="ignore"):
            y, size = link.forward(state.y)
        if not np.isfinite(y).all() or not np.isfinite(size).all() or np.ptp(y) == 0:
            return None
        if size.min() < 1e-9 * size.max():
            return None
        # Without noise, `relative` errors are relative ones.
        slope = 1 / np.abs(state.y) if self.relative and not self.noisy else state.slope
        return replace(state, y=y, slope=slope / size)

    def _curves(self, state: State, degree: int = 0) -> tuple[list[Array], float]:
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
        rows = Holdout(state.y, self.weight * state.slope**2, self.fitted, self.size)
        curves, (constant,), error = rows.sum_of_parts([*parts, np.ones((len(state.y), 1))])
        curves[0] = curves[0] + constant
        return curves, error

    def _named(self, state: State, curves: list[Array]) -> Iterator[Expression]:
        """Sums of named curves, in the state's variables, the most likely ones first."""
        weight = self.weight * state.slope**2
        choices: list[list[tuple[Name, Expression]]] = []  # with the argument of each name
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
        ranked = sorted(
            product(*map(enumerate, choices)), key=lambda chosen: sum(place for place, _ in chosen)
        )
        for chosen in islice(ranked, _COMBINATIONS):
            parts = [name.of(Linear(((1.0, argument),))) for _, (name, argument) in chosen]
            yield added(parts).expression


def _without_factor(state: State, rest: State, place: int, power: float) -> State:
    """`rest` with y divided by a power of one of the state's variables; 0 where the factor is."""
    factor = np.power(state.values[place], power)
    size = np.abs(factor)
    slope = np.where(size > 1e-9 * size.max(), state.slope * size, 0.0)
    return replace(
        rest,
        y=state.y / np.where(slope > 0, factor, 1.0),
        slope=slope,
        factor=state.times(state.variables[place] ** exact(power)),
        steps=(*state.steps, f"x^{power:g}"),
    )


def _defined(z: Array, power: float) -> bool:
    """Whether every value has this power."""
    if z.min() > 0:
        return True
    return power == int(power) and (power > 0 or np.abs(z).min() > 1e-6 * np.abs(z).max())


def _rank(name: Name) -> float:
    """Names by their error, in which errors of rounding are alike, and their cost."""
    return float(np.log10(max(name.error, 1e-8))) + 0.1 * name.cost


def _merges(
    a: Expression, x: Array, b: Expression, y: Array
) -> Iterator[tuple[Expression, Array, str]]:
    """Ways to make one variable of two: its expression, its values, and what it is."""
    one, other = Input(0), Input(1)
    away_x, away_y = (np.abs(z).min() > 1e-6 * np.abs(z).max() for z in (x, y))
    forms = [("sum", one + other), ("difference", one - other), ("product", one * other)]
    if away_y:
        forms += [("ratio", form) for form in (one / other, one**2 / other, one / other**2)]
    elif away_x:
        forms.append(("ratio", other / one))
    forms += [
        ("product", one * other**2),
        ("product", one**2 * other),
        ("sum of squares", one**2 + other**2),
        ("difference of squares", one**2 - other**2),
    ]
    if away_x and away_y:
        forms += [
            ("sum of reciprocals", 1 / one + 1 / other),
            ("difference of reciprocals", 1 / one - 1 / other),
        ]
    for function in ("cos", "sin"):
        forms.append(("product", one * Call(function, other)))
        forms.append(("product", Call(function, one) * other))
    points = np.stack([x, y], 1)
    for name, form in forms:
        yield form.substituted((a, b)), form(points), name


def reductions(
    problem: Problem, width: int = 1, seen: Collection[str] = ()
) -> Iterator[Proposal | State]:
    """States with ever fewer variables, and formulas of them, best first.

    Args:
        width: States of each size that are followed; 1 is greedy.
        seen: Keys of states whose formulas are known.
    """
    known = {*seen}
    if _one_sign(problem):
        yield from _followed(Reduction(problem, relative=True), width, known)
    yield from _followed(Reduction(problem, relative=False), width, known)


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


def _followed(search: Reduction, width: int, seen: set[str]) -> Iterator[Proposal | State]:
    level = [search.start]
    if search.relative:
        yield from search.products_of_powers(search.start)
    while level and not search.problem.over:
        children: dict[str, State] = {}
        for state in level:
            if state.key not in seen:
                seen.add(state.key)
                yield state
                yield from search.formulas(state)
            for child in search.steps(state):
                known = children.setdefault(child.key, child)
                if child.error < known.error:
                    children[child.key] = child
                if search.problem.over:
                    return
        level = sorted(children.values(), key=lambda child: child.error)[:width]
