"""Solutions of well-known problems that have no formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.equations.reading import read_number, read_positive
from kan_exp.errors import KanExpError, listing
from kan_exp.targets import Formula

if TYPE_CHECKING:
    from torch import Tensor

NODES = 120  # 60 more change the solution by 1e-15
NEIGHBORS = 8  # nodes of a grid between which values are interpolated


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
        self.nu = read_positive("pde.exact.nu", nu)

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

    Attributes:
        outputs: Names of the functions.

    Shape:
        Points `(n, 1)` of t -> `(n, functions)`.

    Raises:
        KanExpError: A formula cannot be read, or `start` has other functions.
    """

    def __init__(
        self,
        equations: Mapping[str, str],
        start: Mapping[str, float],
        end: float,
        steps: int = 8000,
    ) -> None:
        self.outputs = list(equations)
        option = "pde.exact.equations"
        self._formulas = [
            Formula(str(text), ["t", *self.outputs], option=f"{option}.{name}")
            for name, text in equations.items()
        ]
        if {*start} != {*self.outputs}:
            raise KanExpError(
                f"pde.exact.start must have a value of each of {listing(self.outputs)}, got "
                f"{listing(start) or 'none'}."
            )
        self._start = [read_number(f"pde.exact.start.{n}", start[n]) for n in self.outputs]
        self._end, self._steps = read_number("pde.exact.end", end), steps
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


class AllenCahnSolution:
    """The periodic solution of `dt(u) = a*dxx(u) + b*(u - u**3)` on -1 to 1 in x, 0 to 1 in t.

    Args:
        a: The diffusion.
        b: The rate of the reaction.
        start: A formula of x: the values at `t=0`.
        nodes: Fourier modes in x; twice as many change the solution of the usual problem by 1e-6,
            as its initial values have a kink at the ends.
        steps: In time; twice as many change it by less.

    Shape:
        Points `(n, 2)` of x and t -> `(n, 1)`.

    Source:
        A.-K. Kassam and L. N. Trefethen, "Fourth-order time-stepping for stiff PDEs", 2005: ETDRK4.
    """

    def __init__(
        self, a: float, b: float, start: str, nodes: int = 1024, steps: int = 1000
    ) -> None:
        self.a, self.b = (read_number(f"pde.exact.{n}", v) for n, v in (("a", a), ("b", b)))
        self.nodes, self.steps = nodes, steps
        self._start = Formula(str(start), ["x"], option="pde.exact.start")
        self._table: Tensor | None = None

    def __call__(self, points: Tensor) -> Tensor:
        import torch

        if self._table is None:
            self._table = torch.from_numpy(self._integrate())
        x, t = points.double().unbind(1)
        column, across = _interpolation((x + 1) * self.nodes / 2)
        # At both ends of time the nearest steps take the place of those beyond.
        row, along = _interpolation(t * self.steps, self.steps)
        found = self._table[row.unsqueeze(2), column.unsqueeze(1) % self.nodes]
        return torch.einsum("ni,nij,nj->n", along, found, across).unsqueeze(1)

    def _integrate(self) -> Any:
        """Values at all steps and nodes, `(steps + 1, nodes)`."""
        import torch

        x = torch.arange(self.nodes, dtype=torch.float64) * (2 / self.nodes) - 1
        state = np.fft.fft(self._start(x[:, None]).numpy())
        waves = math.pi * np.fft.fftfreq(self.nodes, 1 / self.nodes)
        size, linear = 1 / self.steps, self.b - self.a * waves**2
        # Means over a circle around each number, where the fractions are exact.
        circle = size * linear[:, None] + np.exp(1j * math.pi * (np.arange(1, 33) - 0.5) / 32)
        grown, half = np.exp(circle), np.exp(circle / 2)

        def mean(values: Any) -> Any:
            return size * values.mean(1).real

        middle = mean((half - 1) / circle)
        first = mean((-4 - circle + grown * (4 - 3 * circle + circle**2)) / circle**3)
        both = mean((2 + circle + grown * (circle - 2)) / circle**3)
        last = mean((-4 - 3 * circle - circle**2 + grown * (4 - circle)) / circle**3)
        whole, part = np.exp(size * linear), np.exp(size * linear / 2)

        def react(state: Any) -> Any:
            return np.fft.fft(-self.b * np.fft.ifft(state).real ** 3)

        values = [np.fft.ifft(state).real]
        for _ in range(self.steps):
            rate = react(state)
            one = part * state + middle * rate
            two = part * state + middle * (after := react(one))
            three = part * one + middle * (2 * (again := react(two)) - rate)
            state = whole * state + rate * first + 2 * (after + again) * both + react(three) * last
            values.append(np.fft.ifft(state).real)
        return np.stack(values)


def _interpolation(place: Tensor, last: int | None = None) -> tuple[Tensor, Tensor]:
    """Nodes around each place, in units of their distance, and the weights of their values.

    Args:
        place: `(n,)`.
        last: The nodes are 0 to this; any whole number if not given.

    Returns:
        `(n, NEIGHBORS)` each.
    """
    import torch

    first = place.floor().long() - NEIGHBORS // 2 + 1
    if last is not None:
        first = first.clamp(0, last + 1 - NEIGHBORS)
    nodes = first[:, None] + torch.arange(NEIGHBORS)
    away = place[:, None] - nodes
    weights = []
    for k in range(NEIGHBORS):
        others = [m for m in range(NEIGHBORS) if m != k]
        scale = math.prod(k - m for m in others)
        weights.append(away[:, others].prod(1) / scale)
    return nodes, torch.stack(weights, 1)
