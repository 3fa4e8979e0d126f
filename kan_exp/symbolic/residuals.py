"""Whether the residuals of a formula are like noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kan_exp.symbolic.expression import Array, Expression
from kan_exp.symbolic.problem import Problem, State
from kan_exp.symbolic.regression import Polynomials

# Rows whose nearest neighbors are compared.
_NEIGHBORS = 1000
# A target of fewer different values is no rounded curve.
_LEVELS = 20


def leaves_noise(expression: Expression, problem: Problem, states: Sequence[State]) -> bool:
    """Whether no polynomial of the inputs, or of merged variables, explains the residuals.

    Each is an F test at about 1 in 20,000, with the cube root of Wilson and Hilferty (1931).

    Args:
        states: Smaller problems, the best first.
    """
    value, root = expression(problem.x), np.sqrt(problem.weight)
    residual = (value - problem.y) * root
    inputs = [np.ascontiguousarray(problem.x[:, column]) for column in problem.varying]
    trials = [([*inputs, value], terms) for terms in (12, 40, 120)]
    for state in states[:6]:
        if len(state.variables) < len(inputs):
            trials.append(([variable(problem.x) for variable in state.variables], 15))
    for variables, terms in trials:
        if not all(np.isfinite(variable).all() for variable in variables):
            continue
        polynomials = Polynomials(max(min(terms, len(residual) // 8), 4), np.arange(len(residual)))
        q, _ = np.linalg.qr(polynomials.design(variables) * root[:, None])
        count = q.shape[1]
        explained = float(((q.T @ residual) ** 2).sum())
        rest = max(float(residual @ residual) - explained, 1e-300) / max(len(residual) - count, 1)
        share = 2 / (9 * count)
        if explained / count / rest > (1 - share + 3.9 * math.sqrt(share)) ** 3:
            return False
    return True


def neighbors_agree(expression: Expression, problem: Problem) -> bool:
    """Whether residuals are alike in rows next to each other, and so no noise.

    Rows are next to each other in one input or in all. What rounding leaves of y is alike, and no
    reason to doubt.
    """
    few = problem.thinned(_NEIGHBORS)
    residual = (expression(few.x) - few.y) * np.sqrt(few.weight)
    if _is_rounding(few.y, residual):
        return False
    points = few.x[:, few.varying]
    orders = [np.argsort(column, kind="stable") for column in points.T]
    trials = [(residual[order][1:] * residual[order][:-1], 1) for order in orders]
    points = (points - points.mean(0)) / points.std(0)
    squares = (points**2).sum(1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    trials.append((residual * residual[distances.argmin(1)], 2))  # most pairs are there twice
    # Chance exceeds four deviations once in 30,000.
    return any(
        bool(products.sum() > 4 * math.sqrt(times * float(products @ products)))
        for products, times in trials
    )


def _is_rounding(y: Array, residual: Array) -> bool:
    """Whether all y are multiples of a step, and their residuals `(n,)` lie within one."""
    levels = np.unique(y)
    if len(levels) < _LEVELS:
        return False  # steps rather than a rounded curve
    step = float(np.diff(levels).min())
    places = (y - y.min()) / step
    return bool(np.abs(places - places.round()).max() < 1e-3 and np.std(residual) < 0.35 * step)
