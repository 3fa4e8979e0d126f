"""Free constants of a formula, fitted to data by Levenberg-Marquardt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import Array, Expression


class Refit(NamedTuple):
    """What a fit gives."""

    expression: Expression  # the formula with its fitted constants
    loss: float  # weighted sum of squared errors; infinite if it is not finite


def refit(
    expression: Expression,
    x: Array,
    y: Array,
    weight: Array | None = None,
    *,
    steps: int = 50,
    tolerance: float = 1e-13,
) -> Refit:
    """Fits the free constants to `y` `(n,)` at `x` `(n, in)`, by least squares.

    Args:
        weight: Weights of the squared errors `(n,)`; by default 1.
        steps: Largest number of accepted or refused steps.
        tolerance: Relative decrease of the loss, over three steps, below which the fit has ended.
    """
    root = np.ones(len(y)) if weight is None else np.sqrt(weight)
    constants = expression.constants
    loss, residual, jacobian = _errors(expression, x, y, root)
    if not np.isfinite(loss) or not len(constants):
        return Refit(expression, loss)
    damping, past = 1e-3, [loss]
    for _ in range(steps):
        size = np.maximum(np.sqrt((jacobian**2).sum(0)), 1e-100)
        scaled = jacobian / size
        step = _solve(scaled.T @ scaled, scaled.T @ residual, damping) / size
        trial = expression.with_constants(constants - step)
        new_loss, new_residual, new_jacobian = _errors(trial, x, y, root)
        if new_loss <= loss:
            expression, constants = trial, constants - step
            loss, residual, jacobian = new_loss, new_residual, new_jacobian
            damping = max(damping / 5, 1e-15)
            past.append(loss)
            if len(past) > 3 and past[-4] - loss <= tolerance * past[-4]:
                break
        else:
            damping *= 4
            if damping > 1e8:
                break
    return Refit(expression, loss)


def _errors(expression: Expression, x: Array, y: Array, root: Array) -> tuple[float, Array, Array]:
    value, jacobian = expression.jacobian(x)
    residual = (value - y) * root
    with np.errstate(all="ignore"):
        loss = float(residual @ residual)
        jacobian = jacobian * root[:, None]
        finite = np.isfinite(loss) and np.isfinite((jacobian**2).sum())
    return loss if finite else np.inf, residual, jacobian


def _solve(gram: Array, slope: Array, damping: float) -> Array:
    damped = gram + damping * np.eye(len(gram))
    try:
        return np.asarray(np.linalg.solve(damped, slope), float)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(damped, slope, rcond=None)[0], float)
