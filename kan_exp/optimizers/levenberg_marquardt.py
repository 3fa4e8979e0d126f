"""Levenberg-Marquardt as a `torch.optim.Optimizer`, for one module or many alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kan_exp.optimizers.jacobian import Stack
from kan_exp.optimizers.least_squares import Problem, State, start, step

Batch = tuple[Tensor, Tensor]


class LevenbergMarquardt(Optimizer):
    """Fits modules to data by damped Gauss-Newton steps, in float64 whatever their dtype.

    Far faster than gradient descent for up to some thousand parameters, since each step solves the
    whole linearised problem; a step costs `samples * parameters^2`. Several modules of one shape
    (starts from several seeds) are trained at once, each with a damping of its own.

    Args:
        modules: A module that maps `(samples, in)` to `(samples, out)` row by row, or several that
            differ in their numbers only.
        damping: Of the first step, in units of each parameter's curvature.
        attempts: How often a step may be tried with more damping.
        quadratic: For each module the matrix `(parameters, parameters)` of a penalty `p @ Q @ p`,
            asked for before every step; none if not given.

    Raises:
        ValueError: `damping` or `attempts` is not above 0.

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
    ) -> None:
        self.modules = [modules] if isinstance(modules, nn.Module) else list(modules)
        if not damping > 0:
            raise ValueError(f"LevenbergMarquardt needs damping above 0, got {damping!r}.")
        if attempts < 1:
            raise ValueError(f"LevenbergMarquardt needs attempts above 0, got {attempts!r}.")
        parameters = [part for module in self.modules for part in module.parameters()]
        super().__init__(parameters, {"damping": damping, "attempts": attempts})
        self.quadratic = quadratic
        self.replicas: State | None = None

    def keep(self, which: Sequence[int]) -> None:
        """Goes on with some of the modules only, each with its damping."""
        self.modules = [self.modules[k] for k in which]
        if self.replicas is not None:
            self.replicas = State(*(part[list(which)] for part in self.replicas))

    @torch.no_grad()
    def step(self, closure: Callable[[], Batch]) -> Tensor:  # type: ignore[override]
        """One step of every module.

        Args:
            closure: Gives the points `x` `(samples, in)` and the values `y` `(samples, out)`.

        Returns:
            The mean squared error of every module after the step, `(modules,)`; `replicas` has it
            and more.
        """
        x, y = closure()
        problem, stack = self._problem(x.double(), y.double())
        options: dict[str, Any] = self.param_groups[0]
        parameters = stack.read()
        if self.replicas is None or len(self.replicas.damping) != len(self.modules):
            self.replicas = start(problem, parameters, options["damping"])
        parameters, self.replicas = step(problem, parameters, self.replicas, options["attempts"])
        stack.write(parameters)
        return self.replicas.error

    def _problem(self, x: Tensor, y: Tensor) -> tuple[Problem, Stack]:
        stack = Stack(self.modules)

        def residuals(parameters: Tensor) -> Tensor:
            return (stack.outputs(parameters, x) - y).flatten(1)

        def linearise(parameters: Tensor) -> tuple[Tensor, Tensor]:
            outputs, jacobian = stack.jacobian(parameters, x)
            return (outputs - y).flatten(1), jacobian.flatten(1, 2)

        if self.quadratic is None:
            return Problem(residuals, linearise), stack
        quadratic = torch.stack([self.quadratic(module).double() for module in self.modules])
        return Problem(residuals, linearise, quadratic), stack
