"""Solutions of well-known problems that have no formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kan_exp.targets import Formula

if TYPE_CHECKING:
    from torch import Tensor

NODES = 120  # 60 more change the solution by 1e-15


class BurgersSolution:
    """The solution of `dt(u) + u*dx(u) = nu*dxx(u)` that begins as `-sin(pi*x)`.

    Args:
        nu: The viscosity.

    Shape:
        Points `(n, 2)` of x and t -> `(n, 1)`.

    Source:
        E. Hopf, "The partial differential equation u_t + u u_x = mu u_xx", 1950; the integrals by
        Gauss and Hermite.
    """

    def __init__(self, nu: float) -> None:
        self.nu = float(nu)

    def __call__(self, points: Tensor) -> Tensor:
        import torch

        nodes, weights = map(torch.from_numpy, np.polynomial.hermite.hermgauss(NODES))
        x, t = points.double().unbind(1)
        shifted = x[:, None] - (4 * self.nu * t[:, None]).sqrt() * nodes
        logs = weights.log() - (math.pi * shifted).cos() / (2 * math.pi * self.nu)
        shares = logs.softmax(1)
        return -(shares * (math.pi * shifted).sin()).sum(1, keepdim=True)


class IntegratedSolution:
    """The solution of ordinary equations that begin at 0, by Runge and Kutta.

    Args:
        equations: The derivative of each function, a formula of `t` and the functions.
        start: Their values at 0.
        end: The last time.
        steps: Of equal length; the error falls with their fourth power.

    Shape:
        Points `(n, 1)` of t -> `(n, functions)`.
    """

    def __init__(
        self,
        equations: Mapping[str, str],
        start: Mapping[str, float],
        end: float,
        steps: int = 8000,
    ) -> None:
        names = list(equations)
        option = "pde.exact.equations"
        self._formulas = [
            Formula(str(text), ["t", *names], option=f"{option}.{name}")
            for name, text in equations.items()
        ]
        self._start = [float(start[name]) for name in names]
        self._end, self._steps = float(end), steps
        self._table: tuple[Tensor, Tensor] | None = None

    def __call__(self, points: Tensor) -> Tensor:
        import torch

        if self._table is None:
            self._table = self._integrate()
        values, slopes = self._table
        width = self._end / self._steps
        place = (points.double()[:, 0] / width).clamp(0, self._steps)
        cell = place.long().clamp(max=self._steps - 1)
        t = (place - cell)[:, None]
        first, last = values[cell], values[cell + 1]
        rise, fall = (
            width * slopes[cell] - (last - first),
            (last - first) - width * slopes[cell + 1],
        )
        # The cubic with these values and slopes.
        return torch.lerp(first, last, t) + t * (1 - t) * torch.lerp(rise, fall, t)

    def _integrate(self) -> tuple[Tensor, Tensor]:
        """Values and slopes at the ends of the steps, `(steps + 1, functions)`."""
        import torch

        width = self._end / self._steps
        state = torch.tensor(self._start, dtype=torch.float64)

        def slope(time: float, state: Tensor) -> Tensor:
            x = torch.cat([state.new_tensor([time]), state])[None]
            return torch.cat([formula(x) for formula in self._formulas])

        values, slopes = [state], [slope(0.0, state)]
        for step in range(self._steps):
            time, first = step * width, slopes[-1]
            second = slope(time + width / 2, state + width / 2 * first)
            third = slope(time + width / 2, state + width / 2 * second)
            fourth = slope(time + width, state + width * third)
            state = state + width / 6 * (first + 2 * second + 2 * third + fourth)
            values.append(state)
            slopes.append(slope(time + width, state))
        return torch.stack(values), torch.stack(slopes)
