"""Points of a differential equation with its conditions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kan_exp.data.base import ExperimentData
from kan_exp.data.checks import check_whole
from kan_exp.data.options import Options
from kan_exp.data.points import Scaling, Split
from kan_exp.data.readers import open_columns
from kan_exp.data.reading import read_columns
from kan_exp.data.schema import Schema
from kan_exp.equations import Problem
from kan_exp.equations.frame import read
from kan_exp.equations.notes import notes_on
from kan_exp.equations.points import compile_relation, draw_points, shown
from kan_exp.equations.problem import check_problem
from kan_exp.equations.reading import Ranges, read_names, read_number, read_positive
from kan_exp.errors import KanExpError, explained, listing, suggest


class EquationData(ExperimentData):
    """A differential equation, and points in its domain.

    Values of validation and test points are those of the exact solution; without one they are NaN.
    None are used to train.

    Args:
        problem: The equation with its conditions.
        num_val: Points inside at which networks are compared by their residuals.
        num_test: Points at which the solution is compared with the exact one, unless that is a
            table, all of whose rows are taken.
        seed: Decides the points.
        path: A table with columns for inputs and unknown functions: what is known of the solution,
            from which unknown coefficients and functions are found.
        observed: Where there is no table, how many points of the exact solution take its place.
        noise: Standard deviation of the noise on these, as a share of the solution's.
        data_weight: Of the mean square of the differences from what is known.
        measured: Names of the unknown functions that are known there; all if not given.

    Attributes:
        observations: What is known of the solution, points and values in float64; None if nothing.
        measured: Places of the functions whose values these are.

    Raises:
        KanExpError: The problem cannot be evaluated, or the table cannot be read.
    """

    def __init__(
        self,
        problem: Problem,
        num_val: int,
        num_test: int,
        seed: int,
        path: str | None = None,
        observed: int | None = None,
        noise: float = 0.0,
        data_weight: float = 1.0,
        measured: Sequence[str] | None = None,
    ) -> None:
        super().__init__(seed)
        for name, count in (("num_val", num_val), ("num_test", num_test)):
            check_whole(f"data.{name}", count, 2)
        if read_number("data.noise", noise) < 0:
            raise KanExpError(f"data.noise must be at least 0, got {noise}.")
        check_problem(problem)
        self.problem, self.num_val = problem, num_val
        self.schema = Schema.of_numbers(problem.names, problem.outputs)
        self.relations = [compile_relation(problem, one) for one in problem.relations]
        self.train = self._split(int(problem.points["interior"]), 0)
        self.val = self._split(num_val, 1)
        table = problem.reference
        self.test = (
            self._split(num_test, 2)
            if table is None
            else self._read("pde.exact", table, problem.outputs)
        )
        self.scaling = self.scaling_of(problem.ranges)
        self.data_weight = read_positive("data.data_weight", data_weight)
        known = read_names("data.measured", measured) or problem.outputs
        for name in known:
            if name not in problem.outputs:
                raise KanExpError(
                    f"data.measured has {name!r}, which is none of the unknown functions "
                    f"{listing(problem.outputs)}.{suggest(name, problem.outputs)}"
                )
        self.measured = [problem.outputs.index(name) for name in known]
        self.observations = self._observe(path, observed, noise)
        if problem.unknown and self.observations is None:
            raise KanExpError(
                "pde.unknown needs something that is known of the solution: set data.path=FILE, a "
                "table with columns for inputs and unknown functions."
            )
        used = frozenset[str]().union(*(one.names for one in self.relations))
        for name in problem.unknown:
            if name not in used:
                raise KanExpError(
                    f"pde.unknown has {name!r}, on which no equation depends: leave it out, or "
                    f"correct the equation."
                )

    def _split(self, count: int, stream: int) -> Split:
        problem = self.problem
        x = draw_points(
            problem, problem.relations[0], count, problem.ranges, self.generator(stream)
        )
        if stream == 0 or problem.solution is None:
            return Split(x, x.new_full((len(x), len(problem.outputs)), math.nan))
        return Split(x, self._exact(problem.solution, x))

    def _exact(self, solution: Callable[[Tensor], Any], x: Tensor) -> Tensor:
        """Values of the exact solution at points, `(n, out)`.

        Raises:
            KanExpError: It cannot be evaluated there, or is not finite.
        """
        shape = len(x), len(self.problem.outputs)
        with explained(
            f"pde.exact must return values of shape {shape} for points {tuple(x.shape)}"
        ):
            y = torch.as_tensor(solution(x)).to(x).reshape(shape)
        if len(bad := (~y.isfinite().all(1)).nonzero()):
            where = shown(self.problem, x[int(bad[0])])
            raise KanExpError(f"pde.exact is not finite at {where}: correct it, or set it to null.")
        return y

    def _observe(self, path: str | None, observed: int | None, noise: float) -> Split | None:
        problem = self.problem
        if path is not None:
            return self._read("data.path", path, [problem.outputs[k] for k in self.measured])
        if observed is None:
            return None
        check_whole("data.observed", observed, 2)
        if problem.solution is None:
            raise KanExpError(
                "data.observed draws from the exact solution: set pde.exact, or data.path=FILE"
            )
        draws = self.generator(3)
        unit = torch.rand(observed, len(problem.names), generator=draws, dtype=torch.float64)
        low, high = self.bounds.unbind(1)
        x = torch.lerp(low, high, unit)
        y = self._exact(problem.solution, x)[:, self.measured]
        error = torch.randn(y.shape, generator=draws, dtype=torch.float64)
        return Split(x, y + noise * y.std(0) * error)

    def _read(self, option: str, path: str, outputs: Sequence[str]) -> Split:
        """Points and values of a table.

        Raises:
            KanExpError: It cannot be read, or has a point off the domain.
        """
        options = Options(path=option, features=None, target=option, missing=None)
        schema = Schema.of_numbers(self.problem.names, outputs)
        table = read_columns(open_columns(path, options=options), schema)
        x = torch.tensor(table.x).double()
        low, high = self.bounds.unbind(1)
        slack = 1e-9 * (high - low)
        off = ((x < low - slack) | (x > high + slack)).any(1).nonzero()
        if len(off):
            where = shown(self.problem, x[int(off[0])])
            raise KanExpError(
                f"{option}={path} has {len(off):,} of {len(x):,} rows off the domain, such as "
                f"{where}: remove them, or widen pde.inputs."
            )
        return Split(x, torch.tensor(table.y).double())

    def generator(self, stream: int) -> torch.Generator:
        """Draws points: 0 those of training, 1 of validation, 2 of the test, 3 what is observed."""
        return torch.Generator().manual_seed(4 * self.seed + stream)

    @property
    def width(self) -> int:
        return len(self.problem.columns)

    @property
    def read_bounds(self) -> Tensor:
        return self._ends(self.problem.ranges)

    def standardized(self) -> Split:
        """What the network reads, and in the place of outputs the points themselves."""
        split = Split(read(self.problem.frame, self.train.x), self.train.x)
        return self.scaling.standardize(split)

    def _ends(self, ranges: Ranges) -> Tensor:
        frame = self.problem.frame
        if frame is None or frame.features is None:
            return torch.tensor([*ranges.values()], dtype=torch.float64)
        return frame.features.ends(ranges)

    def scaling_of(self, ranges: Ranges) -> Scaling:
        """Mean and deviation of what is read, if uniform in these ranges; outputs as they are."""
        low, high = self._ends(ranges).unbind(1)
        zero = torch.zeros(1, dtype=torch.float64)
        return Scaling((low + high) / 2, (high - low) / math.sqrt(12), zero, zero + 1)

    @property
    def bounds(self) -> Tensor:
        return torch.tensor([*self.problem.ranges.values()], dtype=torch.float64)

    @property
    def summary(self) -> str:
        points = self.problem.points
        conditions = len(self.relations) - 1
        edge = f" and {int(points['edge']):,} for each condition" if conditions else ""
        return (
            f"{self.problem.summary}; {conditions or 'no'} condition{'s' * (conditions != 1)}, "
            f"{int(points['interior']):,} points inside{edge}"
            + ("" if self.observations is None else f"; {len(self.observations.x):,} observations")
        )

    @property
    def data_warnings(self) -> list[str]:
        none = bool((self.test.y == 0).all())
        of_zero = "the exact solution is 0: errors relative to it have no value, see test_max_error"
        return [*notes_on(self.problem, self.relations), *([of_zero] if none else [])]
