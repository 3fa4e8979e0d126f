"""Damped Gauss-Newton steps for many least-squares problems at once, as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_DAMPING, MOST_DAMPING = 1e-14, 1e14
# A parameter that nothing depends on is held by this share of the largest curvature.
LEAST_CURVATURE = 1e-8


@dataclass(frozen=True)
class Problem:
    """Problems of one shape: minimise `mean(residuals^2) + p @ quadratic @ p` for each replica.

    Args:
        residuals: Parameters `(replicas, parameters)` -> residuals `(replicas, residuals)`.
        linearise: The same parameters -> residuals and their Jacobian `(replicas, residuals,
            parameters)`.
        quadratic: Symmetric penalty `(replicas, parameters, parameters)`, or `None`.
    """

    residuals: Callable[[Tensor], Tensor]
    linearise: Callable[[Tensor], tuple[Tensor, Tensor]]
    quadratic: Tensor | None = None

    def objective(self, parameters: Tensor, residuals: Tensor) -> Tensor:
        """What is minimised, `(replicas,)`."""
        error = residuals.square().mean(1)
        if self.quadratic is None:
            return error
        return error + torch.einsum("rp,rpq,rq->r", parameters, self.quadratic, parameters)


class State(NamedTuple):
    """Where each replica stands, all `(replicas,)`.

    `damping` of the next step; `error`, the mean squared residual, and `objective`, that and the
    penalty, of the present parameters; `stalled`: no damping lowered the objective any more.
    """

    damping: Tensor
    error: Tensor
    objective: Tensor
    stalled: Tensor


def start(problem: Problem, parameters: Tensor, damping: float) -> State:
    """The state before the first step."""
    residuals = problem.residuals(parameters)
    return State(
        torch.full_like(parameters[:, 0], damping),
        residuals.square().mean(1),
        problem.objective(parameters, residuals),
        torch.zeros_like(parameters[:, 0], dtype=torch.bool),
    )


def step(problem: Problem, parameters: Tensor, state: State, attempts: int) -> tuple[Tensor, State]:
    """One Levenberg-Marquardt step of every replica.

    A replica whose objective would not fall tries again with more damping, up to `attempts` times,
    on the same linearisation. A step that is no number, or a system that cannot be solved, counts
    as one that does not fall.

    Returns:
        The new parameters and state; a replica that found no better place stays where it was.

    Source:
        Nocedal and Wright, Numerical Optimization, 2006, chapter 10.3; the damping follows the gain
        ratio as in H. B. Nielsen, "Damping parameter in Marquardt's method", 1999.
    """
    residuals, jacobian = problem.linearise(parameters)
    objective = problem.objective(parameters, residuals)
    solve = _solver(problem, parameters, residuals, jacobian)
    damping, error = state.damping, residuals.square().mean(1)
    lost = ~objective.isfinite()  # nothing can be said about where to go from there
    pending = ~lost
    for _ in range(attempts):
        change, gain = solve(damping)
        trial = parameters + change
        trial_residuals = problem.residuals(trial)
        trial_objective = problem.objective(trial, trial_residuals)
        better = pending & (trial_objective < objective)  # not so for a NaN
        ratio = ((objective - trial_objective) / gain).nan_to_num(0, 0, 0)
        trusted = damping * (1 - (2 * ratio - 1) ** 3).clamp(1 / 3, 1)
        damping = torch.where(better, trusted, torch.where(pending, damping * 4, damping))
        damping = damping.clamp(LEAST_DAMPING, MOST_DAMPING)
        parameters = torch.where(better.unsqueeze(1), trial, parameters)
        error = torch.where(better, trial_residuals.square().mean(1), error)
        objective = torch.where(better, trial_objective, objective)
        pending = pending & ~better
        if not pending.any():
            break
    return parameters, State(damping, error, objective, pending | lost)


def _solver(
    problem: Problem, parameters: Tensor, residuals: Tensor, jacobian: Tensor
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Solves the linearised problem for any damping: the step, and the fall that it predicts."""
    count, quadratic = residuals.shape[1], problem.quadratic
    slope = torch.einsum("rnp,rn->rp", jacobian, residuals) / count
    curvature = jacobian.square().mean(1)
    if quadratic is not None:
        slope = slope + torch.einsum("rpq,rq->rp", quadratic, parameters)
        curvature = curvature + quadratic.diagonal(dim1=1, dim2=2)
    largest = curvature.amax(1, keepdim=True)
    scale = curvature.maximum(LEAST_CURVATURE * largest)  # Marquardt's: damping in units of each

    if quadratic is None and jacobian.shape[2] > count:  # fewer samples than parameters
        scaled = jacobian / scale.sqrt().unsqueeze(1)
        inner = scaled @ scaled.mT / count
        root = scaled.mT / count

        def solve(damping: Tensor) -> tuple[Tensor, Tensor]:
            factor, failed = _factor(inner, damping.unsqueeze(1).expand(-1, count))
            weights = torch.cholesky_solve(residuals.unsqueeze(2), factor)
            change = -(root @ weights).squeeze(2) / scale.sqrt()
            return _predicted(change, slope, damping.unsqueeze(1) * scale, failed)
    else:
        hessian = jacobian.mT @ jacobian / count
        if quadratic is not None:
            hessian = hessian + quadratic

        def solve(damping: Tensor) -> tuple[Tensor, Tensor]:
            added = damping.unsqueeze(1) * scale
            factor, failed = _factor(hessian, added)
            change = -torch.cholesky_solve(slope.unsqueeze(2), factor).squeeze(2)
            return _predicted(change, slope, added, failed)

    return solve


def _factor(matrix: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    factor, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(diagonal))
    return factor, info != 0


def _predicted(
    change: Tensor, slope: Tensor, added: Tensor, failed: Tensor
) -> tuple[Tensor, Tensor]:
    """The step, and by how much the quadratic model falls along it."""
    change = change.masked_fill(failed.unsqueeze(1), torch.nan)
    # With (H + D) d = -g, the model's fall -2 g d - d H d is d D d - g d.
    gain = (added * change.square()).sum(1) - (slope * change).sum(1)
    return change, gain
