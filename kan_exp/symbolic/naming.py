"""Names for curves: known functions under a scale and a shift, of the argument and of the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import Array, Call, Constant, Expression, Input, Sum, exact

_u = Input(0)
_one = exact(1)


def _call(name: str, argument: Expression = _u) -> Expression:
    return Call(name, argument)


_half = exact(0.5)
_wave = _call("sin")
# The library: functions of one argument.
LIBRARY: dict[str, Expression] = {
    "line": _u,
    "square": _u**2,
    "cube": _u**3,
    "fourth power": _u**4,
    "reciprocal": _u**-1,
    "reciprocal square": _u**-2,
    "square root": _u**_half,
    "reciprocal root": _u ** exact(-0.5),
    "power 3/2": _u ** exact(1.5),
    "exp": _call("exp"),
    "log": _call("log"),
    "sin": _wave,
    "sin squared": _wave**2,
    "tan": _call("tan"),
    "asin": _call("asin"),
    "acos": _call("acos"),
    "atan": _call("atan"),
    "sinh": _call("sinh"),
    "cosh": _call("cosh"),
    "tanh": _call("tanh"),
    "sech": _call("cosh") ** -1,
    "abs": _call("abs"),
    "erf": _call("erf"),
    "gaussian": _call("exp", exact(-1) * _u**2),
    "lorentzian": (_one + _u**2) ** -1,
    "hypotenuse": (_one + _u**2) ** _half,
    "circle": (_one - _u**2) ** _half,
    "reciprocal circle": (_one - _u**2) ** exact(-0.5),
    "reciprocal hypotenuse": (_one + _u**2) ** exact(-0.5),
    "1/(1-u^2)": (_one - _u**2) ** -1,
    "log(1+u^2)": _call("log", _one + _u**2),
    "atanh": _call("atanh"),
    "asinh": _call("asinh"),
    "Bose": (_call("exp") - 1) ** -1,
    "Planck": _u * (_call("exp") - 1) ** -1,
    "coth": _call("tanh") ** -1,
    "sinc": _wave * _u**-1,
    "sinc squared": _wave**2 * _u**-2,
    "u exp(u)": _u * _call("exp"),
    "Doppler": ((_one + _u) * (_one - _u) ** -1) ** _half,
    "softplus": _call("log", _one + _call("exp")),
}

_SCALES = np.array([0.15, 0.3, 0.6, 1.0, 1.5, 2.2, 3.2, 5.0, 8.0])
_SHIFTS = np.array(
    [-9, -6, -4, -2.8, -2, -1.4, -1, -0.6, -0.3, 0, 0.3, 0.6, 1, 1.4, 2, 2.8, 4, 6, 9]
)
_WAVES = {"sin", "sin squared", "sinc", "sinc squared", "tan"}


@dataclass(frozen=True)
class Name:
    """A formula for a curve.

    Attributes:
        expression: Of the curve's argument, `Input(0)`: `c f(a z + b) + d`, all four free.
        error: Root of the weighted mean of squared errors, in weighted deviations of the curve.
        function: Its key in the library.
    """

    expression: Expression
    error: float
    function: str

    @property
    def cost(self) -> int:
        return self.expression.complexity


class _Fit(NamedTuple):
    """`c f(a t + b) + d` and its error."""

    a: float
    b: float
    c: float
    d: float
    error: float


@lru_cache(maxsize=1)
def _grid() -> Array:
    """Slopes and shifts `(k, 2)` that are tried for the argument, which runs from -1 to 1."""
    near = [(scale, shift) for scale in _SCALES for shift in _SHIFTS]
    # Just right of a pole or the start of a root.
    near += [(1.0, sign * (1 + gap)) for gap in (1e-3, 0.01, 0.03, 0.08) for sign in (-1, 1)]
    near += [(-scale, shift) for scale, shift in near]
    return np.array(near)


@lru_cache(maxsize=1)
def _wave_grid() -> Array:
    slopes = np.concatenate([np.arange(0.25, 6, 0.25), np.arange(6, 30, 0.5)])
    return np.array([(slope, shift) for slope in slopes for shift in np.arange(0, np.pi, 0.4)])


def _values(function: Expression, u: Array) -> Array:
    return function(u.reshape(-1, 1)).reshape(u.shape)


@lru_cache(maxsize=256)
def _shifted(function: Expression) -> Expression:
    return function.substituted([Sum((Input(0), Constant(0.0)))])


def _slopes(function: Expression, u: Array) -> tuple[Array, Array]:
    """Values and derivatives of a function at `u`."""
    value, jacobian = _shifted(function).jacobian(u.reshape(-1, 1))
    # A function that reads its argument twice holds the shift twice.
    return value.reshape(u.shape), jacobian.sum(1).reshape(u.shape)


def _coefficients(values: Array, curve: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Least squares of `c values + d` `(k, n)`: c, d and the weighted mean of squared errors."""
    finite = np.isfinite(values).all(1)
    values = np.where(finite[:, None], values, 0.0)
    mean = values @ weight
    centred = values - mean[:, None]
    size = (centred**2) @ weight
    middle = curve @ weight
    c = (centred * (curve - middle)) @ weight / np.maximum(size, 1e-300)
    error = ((c[:, None] * centred - (curve - middle)) ** 2) @ weight
    usable = finite & (size > 1e-20 * np.maximum(mean**2, 1e-30))
    return c, middle - c * mean, np.where(usable, error, np.inf)


def name_curve(
    z: Array,
    curve: Array,
    weight: Array | None = None,
    *,
    functions: Sequence[str] | None = None,
    points: int = 160,
    keep: int = 2,
    converged: int = 10,
    steps: int = 120,
) -> list[Name]:
    """Names a curve, best first.

    Args:
        z: Argument `(n,)`.
        curve: Value `(n,)`.
        weight: Of each point's squared error `(n,)`.
        functions: Keys of the library; by default all.
        points: At most so many points are used, spread over the argument.
        keep: Fits kept of each function.
        converged: Functions whose fits are run to convergence.
        steps: Largest number of steps of that.
    """
    z, curve = np.asarray(z, float), np.asarray(curve, float)
    weight = np.ones(len(z)) if weight is None else weight
    if len(z) > points:
        chosen = np.argsort(z)[np.linspace(0, len(z) - 1, points).astype(int)]
        z, curve, weight = z[chosen], curve[chosen], weight[chosen]
    low, high = z.min(), z.max()
    total = weight.sum()
    if not high > low or not total > 0:
        return []
    weight = weight / total
    middle, half = (high + low) / 2, (high - low) / 2
    t = (z - middle) / half
    deviation = float(np.sqrt(((curve - curve @ weight) ** 2) @ weight))
    if deviation == 0:
        return []
    offset = float(curve @ weight)
    target = (curve - offset) / deviation
    found: dict[str, list[_Fit]] = {}
    for key in LIBRARY if functions is None else functions:
        function = LIBRARY[key]
        starts = np.array([[1.0, 0.0]])
        if key != "line":
            grid = _wave_grid() if key in _WAVES else _grid()
            with np.errstate(all="ignore"):
                values = _values(function, grid[:, :1] * t + grid[:, 1:])
                _, _, error = _coefficients(values, target, weight)
            order = np.argsort(error, kind="stable")
            starts = grid[_apart(order[np.isfinite(error[order])], error, keep)]
        if len(starts) and (fits := _converged(function, starts, t, target, weight, 12)):
            found[key] = fits
    # Only the most promising functions are run to convergence.
    best = sorted(found, key=lambda key: min(fit.error for fit in found[key]))[:converged]
    names = []
    for key in best:
        function = LIBRARY[key]
        starts = np.array([(fit.a, fit.b) for fit in found[key]])
        for a, b, c, d, error in _converged(function, starts, t, target, weight, steps):
            # Back from t and the scaled target to z and the curve.
            slope, shift = a / half, d * deviation + offset
            if key == "line":
                slope *= c * deviation
                argument: Expression = Constant(slope) * Input(0)
                names.append(Name(argument + Constant(shift - slope * middle), error, key))
                continue
            argument = Constant(slope) * Input(0) + Constant(b - slope * middle)
            value = Constant(c * deviation) * function.substituted([argument])
            names.append(Name(value + Constant(shift), error, key))
    return sorted(names, key=lambda name: name.error)


def _apart(order: Array, error: Array, keep: int) -> list[int]:
    """The best few starts whose errors differ: mirror images of one fit count once."""
    kept: list[int] = []
    for place in order:
        if all(abs(error[place] - error[other]) > 1e-3 * error[other] for other in kept):
            kept.append(int(place))
        if len(kept) == keep:
            break
    return kept


def _converged(
    function: Expression, starts: Array, t: Array, target: Array, weight: Array, steps: int
) -> list[_Fit]:
    """Levenberg-Marquardt over slope and shift, with c and d solved for, of all starts at once."""
    ab = starts.astype(float).copy()
    root = np.sqrt(weight)
    with np.errstate(all="ignore"):
        value, slope = _slopes(function, ab[:, :1] * t + ab[:, 1:])
        c, d, loss = _coefficients(value, target, weight)
        damping = np.full(len(ab), 1e-2)
        stalled = np.zeros(len(ab), int)
        for _ in range(steps):
            # The Jacobian by (a, b, c, d); c and d are solved for again after the step.
            by_u = c[:, None] * slope
            jacobian = np.stack([by_u * t, by_u, value, np.ones_like(value)], 2) * root[:, None]
            residual = (c[:, None] * value + d[:, None] - target) * root
            gram = np.einsum("kni,knj->kij", jacobian, jacobian)
            right = np.einsum("kni,kn->ki", jacobian, residual)
            good = np.isfinite(gram).all((1, 2)) & np.isfinite(right).all(1)
            gram = np.where(good[:, None, None], gram, np.eye(4))
            right = np.where(good[:, None], right, 0.0)
            size = np.sqrt(np.maximum(np.einsum("kii->ki", gram), 1e-300))
            gram = gram / size[:, :, None] / size[:, None, :]
            gram += (damping[:, None, None] + 1e-14) * np.eye(4)
            step = np.linalg.solve(gram, (right / size)[:, :, None])[:, :, 0] / size
            trial = ab - step[:, :2]
            new_value, new_slope = _slopes(function, trial[:, :1] * t + trial[:, 1:])
            new_c, new_d, new_loss = _coefficients(new_value, target, weight)
            better = new_loss < loss
            stalled = np.where(better & (new_loss < 0.999 * loss), 0, stalled + 1)
            damping = np.clip(np.where(better, damping / 5, damping * 3), 1e-14, 1e8)
            ab = np.where(better[:, None], trial, ab)
            value = np.where(better[:, None], new_value, value)
            slope = np.where(better[:, None], new_slope, slope)
            c, d = np.where(better, new_c, c), np.where(better, new_d, d)
            loss = np.where(better, new_loss, loss)
            if (stalled > 12).all() or (loss < 1e-28).all():
                break
    return [
        _Fit(*map(float, (*slope_and_shift, c_, d_, np.sqrt(loss_))))
        for slope_and_shift, c_, d_, loss_ in zip(ab, c, d, loss, strict=True)
        if np.isfinite(loss_)
    ]
