"""Damped Gauss-Newton steps for many problems at once, as pure functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from kan_exp.optimizers.penalties import Penalty, Quadratic, Sum
from kan_exp.optimizers.systems import System, dense_system

MAX_DAMPING = 1e14
# Only a step that went much as foretold says by its small fall that there is no more to gain.
MIN_GAIN_RATIO = 0.25


class Stop(IntEnum):
    """Why a replica goes no further."""

    NO = 0
    GRADIENT = 1  # the slope is next to nothing
    STEP = 2  # the step is, beside the parameters
    LOSS = 3  # the fall is, or no damping brings one
    STEPS = 4  # there were as many as wanted
    NON_FINITE = 5  # what is minimised is no number


class Tolerances(NamedTuple):
    """What counts as nothing; 0 switches a reason off, but for steps that bring no fall.

    Args:
        gradient: Of the cosine between residuals and their derivative by any parameter, where the
            loss is the squared error; otherwise of the gradient in like units.
        step: Of the step, beside the parameters.
        loss: Of the fall of what is minimised, beside it.

    Source:
        J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978 (MINPACK).
    """

    gradient: float = 1e-10
    step: float = 1e-12
    loss: float = 1e-10


TOLERANCES = Tolerances()


class Value(NamedTuple):
    """How good parameters are, all `(replicas,)`: the loss, and the loss with penalties."""

    error: Tensor
    objective: Tensor


class Problem(ABC):
    """Problems of one shape, one for each replica; parameters are `(replicas, parameters)`."""

    @abstractmethod
    def evaluate(self, parameters: Tensor) -> Value:
        """What is minimised."""

    @abstractmethod
    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        """What is minimised, and its quadratic model."""


class LeastSquares(Problem):
    """Minimises `mean(residuals^2)` and penalties.

    Args:
        residuals: Parameters `(replicas, parameters)` -> residuals `(replicas, residuals)`.
        linearise: The same parameters -> residuals and their Jacobian `(replicas, residuals,
            parameters)`.
        quadratic: Matrix of a penalty `p @ quadratic @ p`, `(replicas, parameters, parameters)`.
        penalties: Others.
    """

    def __init__(
        self,
        residuals: Callable[[Tensor], Tensor],
        linearise: Callable[[Tensor], tuple[Tensor, Tensor]],
        quadratic: Tensor | None = None,
        penalties: Sequence[Penalty] = (),
    ) -> None:
        self.residuals, self.linearise = residuals, linearise
        quadratics = [] if quadratic is None else [Quadratic(quadratic)]
        self.penalty = Sum([*quadratics, *penalties])

    def evaluate(self, parameters: Tensor) -> Value:
        return self._value(parameters, self.residuals(parameters))

    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        residuals, jacobian = self.linearise(parameters)
        penalty = self.penalty.expand(parameters)
        system = dense_system(jacobian, residuals, residuals.shape[1], penalty)
        return self._value(parameters, residuals), system

    def _value(self, parameters: Tensor, residuals: Tensor) -> Value:
        error = residuals.square().mean(1)
        return Value(error, error + self.penalty.value(parameters))


class State(NamedTuple):
    """Where each replica stands, all `(replicas,)`.

    `damping` of the next step; `error`, the loss, and `objective`, that and the penalty, of the
    present parameters; `stopped`, a `Stop`.
    """

    damping: Tensor
    error: Tensor
    objective: Tensor
    stopped: Tensor

    @property
    def stalled(self) -> Tensor:
        """Which replicas go no further, `(replicas,)`."""
        return self.stopped != Stop.NO

    @property
    def reasons(self) -> list[str | None]:
        """Why each replica goes no further, as a word; `None` if it does."""
        words = [Stop(int(code)) for code in self.stopped]
        return [None if word is Stop.NO else word.name.lower() for word in words]


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
) -> tuple[Tensor, State]:
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
    (error, objective), system = problem.expand(parameters)
    damping, stopped = state.damping, torch.zeros_like(state.stopped)
    steepness = (
        system.slope.abs()
        <= tolerances.gradient * (system.scale * objective.abs().unsqueeze(1)).sqrt()
    )
    stopped = stopped.masked_fill(steepness.all(1), Stop.GRADIENT)
    stopped = stopped.masked_fill(~objective.isfinite(), Stop.NON_FINITE)
    pending = stopped == Stop.NO
    for _ in range(attempts):
        if not pending.any():
            break
        change, gain = system.step(damping)
        trial = parameters + change
        value = problem.evaluate(trial)
        fall = objective - value.objective
        better = pending & (fall > 0)  # not so for a NaN
        ratio = (fall / gain).nan_to_num(0, 0, 0)
        trusted = damping * (1 - (2 * ratio - 1) ** 3).clamp(1 / 3, 1)
        damping = torch.where(better, trusted, torch.where(pending, damping * 4, damping))
        damping = damping.clamp(max=MAX_DAMPING).maximum(system.least_damping)

        length, size = change.norm(dim=1), parameters.norm(dim=1)
        short = length <= tolerances.step * (tolerances.step + size)
        small = (fall <= tolerances.loss * objective.abs()) & (ratio > MIN_GAIN_RATIO)
        stopped = stopped.masked_fill(better & small, Stop.LOSS)
        stopped = stopped.masked_fill(better & short, Stop.STEP)

        parameters = torch.where(better.unsqueeze(1), trial, parameters)
        error = torch.where(better, value.error, error)
        objective = torch.where(better, value.objective, objective)
        pending = pending & ~better
    stopped = stopped.masked_fill(pending, Stop.LOSS)
    return parameters, State(damping, error, objective, stopped)


def minimise(
    problem: Problem,
    parameters: Tensor,
    steps: int,
    damping: float = 1e-2,
    attempts: int = 8,
    tolerances: Tolerances = TOLERANCES,
) -> tuple[Tensor, State]:
    """Steps until every replica has a reason to stop; each stays where it found its own."""
    state = start(problem, parameters, damping)
    for _ in range(steps):
        moved, after = step(problem, parameters, state, attempts, tolerances)
        done = state.stalled
        parameters = torch.where(done.unsqueeze(1), parameters, moved)
        state = State(*(torch.where(done, old, new) for old, new in zip(state, after, strict=True)))
        if state.stalled.all():
            break
    return parameters, state._replace(stopped=state.stopped.masked_fill(~state.stalled, Stop.STEPS))
