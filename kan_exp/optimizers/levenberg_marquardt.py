"""Levenberg-Marquardt as a `torch.optim.Optimizer`, for one module or several of one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kan_exp.optimizers.fit import LIMITS, Fit, Limits
from kan_exp.optimizers.jacobian import BatchedNetworks
from kan_exp.optimizers.least_squares import TOLERANCES, Report, State, Tolerances, start, step
from kan_exp.optimizers.penalties import Penalty, Quadratic
from kan_exp.optimizers.residuals import ResidualFit, Residuals
from kan_exp.options import MAX_WHOLE
from kan_exp.tasks.losses import Loss, Squared

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None] | Residuals
REPLICAS = "replicas"  # key of the per-module state in `Optimizer.state`


class LevenbergMarquardt(Optimizer):
    """Fits modules to data by damped Gauss-Newton steps, in float64 whatever their dtype.

    Each step solves the whole linearized problem, at a cost of `samples * parameters^2`: far faster
    than gradient descent for up to some thousand parameters. Several modules of one shape are
    trained together, each with its own damping.

    Args:
        modules: A module that maps `(samples, in)` to `(samples, out)` row by row, or several with
            different parameter values only.
        damping: Damping of the first step, in units of each parameter's curvature.
        attempts: How often a step may be tried with more damping.
        quadratic: Returns for each module the matrix `(parameters, parameters)` of a penalty
            `p @ Q @ p`; called before every step.
        inequalities: Returns for each module rows `a`, `(rows, parameters)`, as many for all, by
            which `a @ p >= 0`, but for violations that hardly matter; called before every step.
        loss: The loss, `Squared()` if not given.
        penalties: Added to the loss.
        gradient_tolerance: See `Tolerances`, as for the next two.
        step_tolerance: Relative length of the last step.
        loss_tolerance: Relative decrease of the last step.
        memory: See `Limits`, as for the next three.
        cg_tolerance: Relative residual of conjugate gradients.
        cg_steps: Largest number of steps of conjugate gradients.
        qr: Whether QR replaces Cholesky factors that are too inexact. That solves ill-conditioned
            problems, but parameters that the points hardly determine then fit rounding errors.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> optimizer = LevenbergMarquardt(model)
        >>> for _ in range(20):
        ...     loss = optimizer.step(lambda: (x, y))
    """

    def __init__(
        self,
        modules: nn.Module | Sequence[nn.Module],
        damping: float = 1e-2,
        attempts: int = 8,
        quadratic: Callable[[nn.Module], Tensor] | None = None,
        loss: Loss | None = None,
        penalties: Sequence[Penalty] = (),
        gradient_tolerance: float = TOLERANCES.gradient,
        step_tolerance: float = TOLERANCES.step,
        loss_tolerance: float = TOLERANCES.loss,
        memory: float = LIMITS.memory,
        cg_tolerance: float = LIMITS.cg_tolerance,
        cg_steps: int = LIMITS.cg_steps,
        qr: bool = LIMITS.qr,
        inequalities: Callable[[nn.Module], Tensor] | None = None,
    ) -> None:
        self.modules = [modules] if isinstance(modules, nn.Module) else list(modules)
        if len({tuple(dict(module.named_buffers())) for module in self.modules}) > 1:
            raise ValueError(
                "LevenbergMarquardt needs modules with the same buffers, such as masks."
            )
        tolerances = {
            "gradient_tolerance": gradient_tolerance,
            "step_tolerance": step_tolerance,
            "loss_tolerance": loss_tolerance,
        }
        options = {"memory": memory, "cg_tolerance": cg_tolerance, "cg_steps": cg_steps}
        options = {"damping": damping, "attempts": attempts, **options}
        for name, value in options.items():
            if not 0 < value < MAX_WHOLE:
                bounds = "below 2**60" if value > 0 else "above 0"
                raise ValueError(f"LevenbergMarquardt needs {name} {bounds}, got {value!r}.")
        for name, value in tolerances.items():
            if not value >= 0:
                raise ValueError(f"LevenbergMarquardt needs {name} at least 0, got {value!r}.")
        options |= {"attempts": int(attempts), "cg_steps": int(cg_steps)}  # 8.0 counts, too
        super().__init__(self._all_parameters(), {**options, **tolerances, "qr": qr})
        self.quadratic, self.penalties = quadratic, list(penalties)
        self.inequalities = inequalities
        self.loss = Squared() if loss is None else loss
        self._report: Report | None = None

    @property
    def replicas(self) -> State | None:
        """Damping, losses and stop reasons, one entry per module; `None` before the first step.

        It is part of `state_dict`.
        """
        state = cast("dict[Any, Any]", self.state).get(REPLICAS)
        return None if state is None else State(**state)

    @replicas.setter
    def replicas(self, state: State) -> None:
        cast("dict[Any, Any]", self.state)[REPLICAS] = state._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the result of `state_dict` on the device of the modules.

        Raises:
            ValueError: The state is that of another number of modules or parameters.
        """
        super().load_state_dict(state_dict)
        if self.replicas is None:
            return
        if len(self.replicas.damping) != len(self.modules):
            raise ValueError(
                f"loaded state dict has {len(self.replicas.damping)} modules, "
                f"the optimizer has {len(self.modules)}."
            )
        device = next(self.modules[0].parameters()).device
        self.replicas = State(*(part.to(device) for part in self.replicas))
        self._report = None

    @property
    def report(self) -> Report | None:
        """What the host knows of `replicas`; `None` before the first step."""
        if self._report is None and self.replicas is not None:
            self._report = Report.of(self.replicas)
        return self._report

    @property
    def stopped(self) -> list[str | None]:
        """Why each module has stopped, a `Stop` in lower case; `None` if it has not."""
        return [None] * len(self.modules) if self.replicas is None else self.replicas.reasons

    @property
    def stalled(self) -> bool:
        """Whether all modules have stopped."""
        return self.report is not None and all(self.report.stalled)

    def keep(self, indices: Sequence[int]) -> None:
        """Drops all other modules; those kept have the damping that they had."""
        self.modules = [self.modules[k] for k in indices]
        self._report = None
        self.param_groups[0]["params"] = self._all_parameters()
        if self.replicas is not None:
            self.replicas = State(*(part[list(indices)] for part in self.replicas))

    @torch.no_grad()
    def step(self, closure: Callable[[], Batch]) -> Tensor:  # type: ignore[override]
        """One step of every module.

        Args:
            closure: Returns the points `x` `(samples, in)`, their targets `y`, for most losses
                `(samples, out)`, and, if points differ in weight, weights `(samples,)`; or
                `Residuals`, which are minimized in the place of the loss.

        Returns:
            The loss of every module after the step, without penalties, `(modules,)`.

        Raises:
            ValueError: `y` does not go with the loss.
        """
        options: dict[str, Any] = self.param_groups[0]
        problem = self.problem(closure())
        parameters, state = problem.read(), self.replicas
        if state is None:
            state = start(problem, parameters, options["damping"])
        tolerances = Tolerances(*(options[f"{name}_tolerance"] for name in Tolerances._fields))
        attempts = options["attempts"]
        parameters, state, self._report = step(problem, parameters, state, attempts, tolerances)
        problem.write(parameters)
        self.replicas = state
        return state.error

    def problem(self, batch: Batch) -> Fit | ResidualFit:
        """What a step minimizes, for the present parameters of the modules."""
        penalties = list(self.penalties)
        if self.quadratic is not None:
            matrices = [self.quadratic(module).double() for module in self.modules]
            penalties.append(Quadratic(torch.stack(matrices)))
        networks = BatchedNetworks(self.modules)
        limits = Limits(*(self.param_groups[0][name] for name in Limits._fields))
        if isinstance(batch, Residuals):
            return ResidualFit(networks, batch, penalties, limits)
        x, y, *rest = batch
        y = y.double() if y.is_floating_point() else y
        weight = rest[0].double() if rest and rest[0] is not None else None
        bounds = None
        if self.inequalities is not None:
            bounds = torch.stack([self.inequalities(module).double() for module in self.modules])
        return Fit(networks, x.double(), y, self.loss, penalties, limits, weight, bounds)

    def _all_parameters(self) -> list[nn.Parameter]:
        return [part for module in self.modules for part in module.parameters()]
