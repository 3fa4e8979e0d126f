"""Names for curves: known functions under a scale and a shift, of the argument and of the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.composing import Linear, applied
from kan_exp.symbolic.expression import Array, Call, Constant, Expression, Input, Power, Sum
from kan_exp.symbolic.library import FUNCTIONS, LIBRARY

# Points of a curve that are used, spread over the argument; fits kept of each function; functions
# whose fits are run to convergence; and the largest number of steps of that.
_POINTS, _KEPT, _PROMISING, _STEPS = 100, 3, 12, 120
_SCALES = (0.15, 0.25, 0.4, 0.65, 1.0, 1.4, 2.0, 2.8, 4.0, 6.0, 9.0)
_SHIFTS = (0.0, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 6.0, 9.0)
_GAPS = (1e-3, 0.003, 0.01, 0.03, 0.08)
_FAR = (15.0, 25.0, 40.0, 70.0)
_WAVES = {LIBRARY[key] for key in ("sin", "sin squared", "sinc", "sinc squared", "tan")}


@dataclass(frozen=True)
class Name:
    """A formula for a curve: `c f(a z + b) + d`."""

    function: str  # key of f in `LIBRARY` or `COMPOUNDS`
    a: float  # scale of the argument
    b: float  # shift of the argument
    c: float  # scale of the value
    d: float  # shift of the value
    error: float  # root of the weighted mean of squared errors, in weighted deviations of the curve

    def of(self, argument: Linear) -> Linear:
        """The name with a linear form as its argument."""
        return applied(FUNCTIONS[self.function], argument.scaled(self.a, self.b)).scaled(
            self.c, self.d
        )

    @cached_property
    def expression(self) -> Expression:
        """Of the curve's argument, `Input(0)`, with as many free constants as can be told apart."""
        return self.of(Linear(((1.0, Input(0)),))).expression

    @property
    def cost(self) -> int:
        return self.expression.complexity


def _scale_is_free(function: Expression) -> bool:
    """Whether a change of the argument's scale is one of the value's scale and shift."""
    match function:
        case Input() | Power(Input(), Constant()) | Call("log" | "abs", Input()):
            return True
    return False


# Functions with a single number inside: cheap to fit, and often right.
_SIMPLE = {
    key
    for key, function in LIBRARY.items()
    if _scale_is_free(function) or function == Call("exp", Input(0))
}


@lru_cache(maxsize=512)
def _grid(function: Expression) -> Array:
    """Scales and shifts `(k, 2)` that are tried for the argument, which runs from -1 to 1."""
    if function == Input(0):
        return np.array([(1.0, 0.0)])
    if function == Call("exp", Input(0)):
        scales = (0.03, 0.07, *_SCALES, 15.0)
        return np.array([(sign * scale, 0.0) for scale in scales for sign in (-1, 1)])
    if function in _WAVES:
        slopes = np.concatenate([np.arange(0.25, 6, 0.25), np.arange(6, 30, 0.5)])
        return np.array([(slope, shift) for slope in slopes for shift in np.arange(0, np.pi, 0.4)])
    shifts = [sign * shift for shift in _SHIFTS for sign in (-1, 1)][1:]
    # Just right of a pole or of the start of a root.
    edges = [sign * (1 + gap) for gap in _GAPS for sign in (-1, 1)]
    if _scale_is_free(function):
        far = [sign * shift for shift in _FAR for sign in (-1, 1)]
        near = [(1.0, shift) for shift in (*shifts, *edges, *far)]
    else:
        near = [(scale, shift) for scale in _SCALES for shift in shifts]
        near += [(1.0, shift) for shift in edges]
    u = np.linspace(0.05, 3, 7)
    with np.errstate(all="ignore"):
        left, right = _values(function, -u), _values(function, u)
    if np.allclose(left, right) or np.allclose(left, -right):
        return np.array(near)
    return np.array([*near, *((-scale, shift) for scale, shift in near)])


_GRID_POINTS = np.linspace(-1, 1, 49)


@lru_cache(maxsize=8)
def _tried(functions: tuple[Expression, ...]) -> tuple[Array, Array, NDArray[np.intp]]:
    """Scaled values `(k, 49)`, scales and shifts `(k, 2)`, and numbers of functions `(k,)`."""
    values, places, numbers = [], [], []
    for number, function in enumerate(functions):
        grid = _grid(function)
        with np.errstate(all="ignore"):
            own = _values(function, grid[:, :1] * _GRID_POINTS + grid[:, 1:])
            own = own - own.mean(1, keepdims=True)
            size = own.std(1, keepdims=True)
            own /= size
            kept = np.isfinite(own).all(1) & (size[:, 0] > 1e-10)
        values.append(own[kept])
        places.append(grid[kept])
        numbers.append(np.full(kept.sum(), number))
    return np.concatenate(values), np.concatenate(places), np.concatenate(numbers)


def _values(function: Expression, u: Array) -> Array:
    return function(u.reshape(-1, 1)).reshape(u.shape)


@lru_cache(maxsize=512)
def _shifted(function: Expression) -> Expression:
    return function.substituted([Sum((Input(0), Constant(0.0)))])


def _slopes(function: Expression, u: Array) -> tuple[Array, Array]:
    """Values and derivatives of a function at `u`."""
    value, jacobian = _shifted(function).jacobian(u.reshape(-1, 1))
    # A function that reads its argument twice holds the shift twice.
    return value.reshape(u.shape), jacobian.sum(1).reshape(u.shape)


def name_curve(
    z: Array,
    curve: Array,
    weight: Array | None = None,
    *,
    functions: Sequence[str] | None = None,
) -> list[Name]:
    """Names a curve, best first.

    Args:
        z: Argument `(n,)`.
        curve: Value `(n,)`.
        weight: Of each point's squared error `(n,)`.
        functions: Keys of `LIBRARY` and `COMPOUNDS`; by default those of `LIBRARY`.
    """
    z, curve = np.asarray(z, float), np.asarray(curve, float)
    weight = np.ones(len(z)) if weight is None else weight
    order = np.argsort(z, kind="stable")
    if len(z) > _POINTS:
        order = order[np.linspace(0, len(z) - 1, _POINTS).astype(int)]
    z, curve, weight = z[order], curve[order], weight[order]
    total = weight.sum()
    if not len(z) or not np.isfinite([z, curve, weight]).all() or not total > 0:
        return []
    half = (z[-1] - z[0]) / 2
    if not half > 1e-12 * np.abs(z).max():
        return []
    weight = weight / total
    middle = (z[0] + z[-1]) / 2
    t = (z - middle) / half
    offset = float(curve @ weight)
    deviation = float(np.sqrt(((curve - offset) ** 2) @ weight))
    if not deviation > 1e-13 * abs(offset):
        return []
    target = (curve - offset) / deviation
    keys = tuple(LIBRARY if functions is None else functions)
    fits = _starts(keys, t, target, weight)
    fits = _converged(fits, t, target, weight, 10)
    # Only the most promising functions are run to convergence.
    best = list(dict.fromkeys(fits.keys[place] for place in np.argsort(fits.loss, kind="stable")))
    going = {*best[:_PROMISING], *_SIMPLE}
    kept = [place for place, key in enumerate(fits.keys) if key in going]
    fits = _converged(fits.chosen(kept), t, target, weight, _STEPS)
    names = []
    for key, (a, b), c, d, loss in zip(fits.keys, fits.ab, fits.c, fits.d, fits.loss, strict=True):
        if np.isfinite(loss) and c != 0:
            # Back from t and the scaled target to z and the curve.
            slope, shift = a / half, d * deviation + offset
            numbers = (slope, b - slope * middle, c * deviation, shift, np.sqrt(loss))
            names.append(Name(key, *map(float, numbers)))
    return sorted(names, key=lambda name: name.error)


@dataclass
class _Fits:
    """Fits `c f(a t + b) + d`: keys `k`, a and b `(k, 2)`, c, d and mean squared errors `(k,)`."""

    keys: list[str]
    ab: Array
    c: Array
    d: Array
    loss: Array

    def chosen(self, kept: Sequence[int] | NDArray[np.intp]) -> _Fits:
        kept = np.asarray(kept, int)
        keys = [self.keys[place] for place in kept]
        return _Fits(keys, self.ab[kept], self.c[kept], self.d[kept], self.loss[kept])


def _starts(keys: tuple[str, ...], t: Array, target: Array, weight: Array) -> _Fits:
    """The best scales and shifts of the grid, of each function."""
    values, places, numbers = _tried(tuple(FUNCTIONS[key] for key in keys))
    curve = np.interp(_GRID_POINTS, t, target)
    nearest = np.rint((t + 1) / 2 * (len(_GRID_POINTS) - 1)).astype(int)
    share = np.bincount(nearest, weight, len(_GRID_POINTS)) + 1e-4 / len(_GRID_POINTS)
    share /= share.sum()
    curve = curve - curve @ share
    mean = values @ share
    size = np.maximum((values**2) @ share - mean**2, 1e-12)
    error = np.maximum((curve**2) @ share - (values @ (curve * share)) ** 2 / size, 1e-15)
    chosen: list[int] = []
    order = np.argsort(error, kind="stable")
    ends = np.searchsorted(np.sort(numbers), np.arange(len(keys) + 1))
    by_function = order[np.argsort(numbers[order], kind="stable")]
    limit = 1e3 * max(float(error.min()), 1e-6)
    for number in range(len(keys)):
        own = by_function[ends[number] : ends[number + 1]][:24]
        if not len(own) or error[own[0]] > max(limit, error[order[0]] * 1e3):
            continue
        # Mirror images of one fit, whose errors are equal, and neighbours count once.
        kept: list[int] = []
        for place in own:
            if all(
                abs(error[place] - error[other]) > 1e-3 * error[other]
                and not _near(places[place], places[other])
                for other in kept
            ):
                kept.append(int(place))
            if len(kept) == _KEPT:
                break
        chosen += kept
    names = [keys[numbers[place]] for place in chosen]
    empty = np.zeros(len(chosen))
    return _Fits(names, places[chosen].copy(), empty, empty, empty)


def _near(one: Array, other: Array) -> bool:
    """Whether two places of the grid are neighbours."""
    (a, b), (c, d) = one, other
    return 0.6 < a / c < 1.7 and abs(b - d) < 0.45 * max(1.0, abs(b))


def _evaluated(keys: Sequence[str], u: Array) -> tuple[Array, Array]:
    """Values and slopes `(k, n)` of functions, those of one key in a row."""
    value, slope = np.empty_like(u), np.empty_like(u)
    start = 0
    while start < len(keys):
        end = start + 1
        while end < len(keys) and keys[end] == keys[start]:
            end += 1
        own = slice(start, end)
        value[own], slope[own] = _slopes(FUNCTIONS[keys[start]], u[own])
        start = end
    return value, slope


def _step(state: Sequence[Array], t: Array, weight: Array, free: Array, damping: Array) -> Array:
    """Steps of scale and shift `(k, 2)`, where these are free."""
    c, _, centred, slope, residual, size = state
    # Derivatives of the value by scale and shift, without what c and d could do as well.
    columns = []
    for number, by in enumerate((t, np.ones_like(t))):
        column = c[:, None] * (slope * by)
        column = (column - (column @ weight)[:, None]) * free[:, number, None]
        along = (column * centred) @ weight / size
        columns.append(column - along[:, None] * centred)
    weighted = [column * weight for column in columns]
    g00, g01, g11 = (
        np.einsum("kn,kn->k", weighted[i], columns[j]) for i, j in ((0, 0), (0, 1), (1, 1))
    )
    r0, r1 = (np.einsum("kn,kn->k", own, residual) for own in weighted)
    g00 = g00 * (1 + damping) + 1e-300 + (free[:, 0] == 0)
    g11 = g11 * (1 + damping) + 1e-300 + (free[:, 1] == 0)
    determinant = np.maximum(g00 * g11 - g01**2, 1e-14 * g00 * g11)
    steps = np.stack([g11 * r0 - g01 * r1, g00 * r1 - g01 * r0], 1)
    return np.asarray(steps / determinant[:, None])


def _converged(fits: _Fits, t: Array, target: Array, weight: Array, steps: int) -> _Fits:
    """Levenberg-Marquardt over scale and shift, with c and d projected out, of all fits at once."""
    if not fits.keys:
        return fits
    fits = fits.chosen(np.arange(len(fits.keys)))
    functions = [FUNCTIONS[key] for key in fits.keys]
    free = np.ones((len(functions), 2))
    free[[_scale_is_free(function) for function in functions], 0] = 0
    free[[function == Call("exp", Input(0)) for function in functions], 1] = 0
    middle = target @ weight
    centred_target = target - middle

    def at(keys: Sequence[str], ab: Array) -> tuple[Array, ...]:
        value, slope = _evaluated(keys, ab[:, :1] * t + ab[:, 1:])
        mean = value @ weight
        centred = value - mean[:, None]
        size = (centred**2) @ weight
        usable = np.isfinite(size) & (size > 1e-20 * np.maximum(mean**2, 1e-30))
        c = (centred * centred_target) @ weight / np.where(usable, size, 1.0)
        residual = c[:, None] * centred - centred_target
        loss = np.where(usable & np.isfinite(slope).all(1), (residual**2) @ weight, np.inf)
        return loss, c, middle - c * mean, centred, slope, residual, size

    with np.errstate(all="ignore"):
        state = at(fits.keys, fits.ab)
        fits.loss, fits.c, fits.d = (part.copy() for part in state[:3])
        active = np.flatnonzero(np.isfinite(fits.loss) & free.any(1))
        keys = [fits.keys[place] for place in active]
        ab = fits.ab[active]
        state = tuple(part[active] for part in state)
        damping, stalled = np.full(len(active), 1e-3), np.zeros(len(active), int)
        for taken in range(steps):
            if not len(active):
                break
            trial = ab - _step(state[1:], t, weight, free[active], damping)
            new = at(keys, trial)
            better = new[0] < state[0]
            stalled = np.where(new[0] < 0.99 * state[0], 0, stalled + 1)
            damping = np.where(better, damping / 10, damping * 4)
            ab = np.where(better[:, None], trial, ab)
            state = tuple(
                np.where(better if part.ndim == 1 else better[:, None], part, old)
                for part, old in zip(new, state, strict=True)
            )
            done = (stalled > 8) | (state[0] < 1e-30) | (damping > 1e12)
            if done.any() or taken == steps - 1:
                fits.ab[active], fits.loss[active] = ab, state[0]
                fits.c[active], fits.d[active] = state[1], state[2]
                going = ~done
                active, ab = active[going], ab[going]
                keys = [key for key, still in zip(keys, going, strict=True) if still]
                state = tuple(part[going] for part in state)
                damping, stalled = damping[going], stalled[going]
    return fits
