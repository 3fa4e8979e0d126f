"""Damped Gauss-Newton steps for many problems at once, as pure functions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from kan_exp.optimizers.penalties import Penalty, Quadratic, Sum
from kan_exp.optimizers.systems import System, dense_system

MAX_DAMPING = 1e14
# A small decrease ends the training only if the model predicted it at least this well.
MIN_GAIN_RATIO = 0.25


class Stop(IntEnum):
    """Why a replica stops."""

    NO = 0
    GRADIENT = 1
    STEP = 2
    LOSS = 3  # its decrease is too small, or no damping decreases it
    STEPS = 4  # the largest number of steps is reached
    NON_FINITE = 5  # the objective is not finite


class Tolerances(NamedTuple):
    """Values at which a replica stops; 0 turns a reason off, except for steps without a decrease.

    Args:
        gradient: Largest cosine between the residual vector and a column of the Jacobian; for
            losses other than the squared error, the gradient in the same units.
        step: Length of the step relative to the parameters.
        loss: Decrease of the objective relative to the objective.

    Source:
        J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978 (MINPACK).
    """

    gradient: float = 1e-10
    step: float = 1e-12
    loss: float = 1e-10


TOLERANCES = Tolerances()


class Value(NamedTuple):
    """The loss, and the objective: the loss with penalties; both `(replicas,)`."""

    loss: Tensor
    objective: Tensor


class Problem(ABC):
    """Problems of one shape, one for each replica; parameters are `(replicas, parameters)`."""

    @abstractmethod
    def evaluate(self, parameters: Tensor) -> Value:
        """The loss and the objective."""

    @abstractmethod
    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        """The loss and the objective, and the quadratic model of the objective."""


class LeastSquares(Problem):
    """Minimizes `mean(residuals^2)` and penalties.

    Args:
        residuals: Parameters `(replicas, parameters)` -> residuals `(replicas, residuals)`.
        linearize: The same parameters -> residuals and their Jacobian `(replicas, residuals,
            parameters)`.
        quadratic: Matrix of a penalty `p @ quadratic @ p`, `(replicas, parameters, parameters)`.
        penalties: Others.
    """

    def __init__(
        self,
        residuals: Callable[[Tensor], Tensor],
        linearize: Callable[[Tensor], tuple[Tensor, Tensor]],
        quadratic: Tensor | None = None,
        penalties: Sequence[Penalty] = (),
    ) -> None:
        self.residuals, self.linearize = residuals, linearize
        quadratics = [] if quadratic is None else [Quadratic(quadratic)]
        self.penalty = Sum([*quadratics, *penalties])

    def evaluate(self, parameters: Tensor) -> Value:
        return self._value(parameters, self.residuals(parameters).square().mean(1))

    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        residuals, jacobian = self.linearize(parameters)
        block = jacobian, residuals, residuals.square().mean(1)
        system = dense_system(block, residuals.shape[1], self.penalty.expand(parameters))
        return self._value(parameters, system.loss), system

    def _value(self, parameters: Tensor, loss: Tensor) -> Value:
        return Value(loss, loss + self.penalty.value(parameters))


class State(NamedTuple):
    """State of the replicas, all `(replicas,)`.

    `damping` of the next step; `error`, the loss, and `objective`, the loss with penalties, of the
    current parameters; `stopped`, a `Stop`.
    """

    damping: Tensor
    error: Tensor
    objective: Tensor
    stopped: Tensor

    @property
    def stalled(self) -> Tensor:
        """Which replicas have stopped, `(replicas,)`."""
        return self.stopped != Stop.NO

    @property
    def reasons(self) -> list[str | None]:
        """Why each replica has stopped, as a word; `None` if it has not."""
        reasons = [Stop(int(code)) for code in self.stopped.tolist()]
        return [None if reason is Stop.NO else reason.name.lower() for reason in reasons]


class Report(NamedTuple):
    """What the host knows of a `State`, with one entry for each replica.

    To read it, the host waits for a device: once for each attempt of a step, and not again for
    whatever else it decides after the step.
    """

    damping: list[float]
    error: list[float]
    stalled: list[float]  # whether it has stopped, 0 or 1
    pending: list[float]  # whether it needs another attempt, likewise

    @classmethod
    def of(cls, state: State, pending: Tensor | None = None) -> Report:
        """Reads a state; `pending` is `(replicas,)`, none of them if not given."""
        stalled = state.stalled.to(state.error)
        still = torch.zeros_like(stalled) if pending is None else pending.to(stalled)
        return cls(*torch.stack([state.damping, state.error, stalled, still]).tolist())

    @property
    def best(self) -> int:
        """The replica with the smallest loss; NaN counts as infinite."""
        errors = [math.inf if math.isnan(error) else error for error in self.error]
        return errors.index(min(errors))


def start(problem: Problem, parameters: Tensor, damping: float) -> State:
    """The state before the first step."""
    return State(
        torch.full_like(parameters[:, 0], damping),
        *problem.evaluate(parameters),
        torch.zeros_like(parameters[:, 0], dtype=torch.long),
    )


def step(
    problem: Problem,
    parameters: Tensor,
    state: State,
    attempts: int,
    tolerances: Tolerances = TOLERANCES,
) -> tuple[Tensor, State, Report]:
    """One Levenberg-Marquardt step of every replica.

    A replica whose objective does not decrease tries again with more damping, up to `attempts`
    times, with the same linearization. A step that is not finite counts as one without a decrease.
    All of that is decided where the tensors are; the host reads after each attempt whether there is
    another one.

    Returns:
        The new parameters and state, and what the host knows of it; a replica without a decrease
        keeps its parameters.

    Source:
        Nocedal and Wright, Numerical Optimization, 2006, chapter 10.3; the damping follows the gain
        ratio as in H. B. Nielsen, "Damping parameter in Marquardt's method", 1999.
    """
    (error, objective), system = problem.expand(parameters)
    damping, stopped = state.damping, torch.zeros_like(state.stopped)
    flat = (
        system.slope.abs()
        <= tolerances.gradient * (system.scale * objective.abs().unsqueeze(1)).sqrt()
    )
    stopped = stopped.masked_fill(flat.all(1), Stop.GRADIENT)
    stopped = stopped.masked_fill(~objective.isfinite(), Stop.NON_FINITE)
    pending = stopped == Stop.NO
    for _ in range(attempts):
        change, predicted = system.step(damping)
        trial = parameters + change
        value = problem.evaluate(trial)
        decrease = objective - value.objective
        accepted = pending & (decrease > 0)  # false for a NaN
        gain_ratio = (decrease / predicted).nan_to_num(0, 0, 0)
        lowered = damping * (1 - (2 * gain_ratio - 1) ** 3).clamp(1 / 3, 1)
        damping = torch.where(accepted, lowered, torch.where(pending, damping * 4, damping))
        damping = damping.clamp(max=MAX_DAMPING).maximum(system.min_damping)

        length, size = change.norm(dim=1), parameters.norm(dim=1)
        short = length <= tolerances.step * (tolerances.step + size)
        small = (decrease <= tolerances.loss * objective.abs()) & (gain_ratio > MIN_GAIN_RATIO)
        stopped = stopped.masked_fill(accepted & small, Stop.LOSS)
        stopped = stopped.masked_fill(accepted & short, Stop.STEP)

        parameters = torch.where(accepted.unsqueeze(1), trial, parameters)
        error = torch.where(accepted, value.loss, error)
        objective = torch.where(accepted, value.objective, objective)
        pending = pending & ~accepted
        state = State(damping, error, objective, stopped.masked_fill(pending, Stop.LOSS))
        report = Report.of(state, pending)
        if not any(report.pending):
            break
    return parameters, state, report


def minimize(
    problem: Problem,
    parameters: Tensor,
    steps: int,
    damping: float = 1e-2,
    attempts: int = 8,
    tolerances: Tolerances = TOLERANCES,
) -> tuple[Tensor, State]:
    """Steps until every replica has stopped; one that has keeps its parameters."""
    state = start(problem, parameters, damping)
    for _ in range(steps):
        moved, after, _ = step(problem, parameters, state, attempts, tolerances)
        done = state.stalled
        parameters = torch.where(done.unsqueeze(1), parameters, moved)
        state = State(*(torch.where(done, old, new) for old, new in zip(state, after, strict=True)))
        if state.stalled.all():
            break
    return parameters, state._replace(stopped=state.stopped.masked_fill(~state.stalled, Stop.STEPS))
