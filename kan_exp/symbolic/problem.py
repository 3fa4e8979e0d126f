"""What is asked of every way to find a formula, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kan_exp.symbolic.dimensions import Dimensions
from kan_exp.symbolic.expression import Array, Expression


@dataclass(frozen=True)
class Problem:
    """Data in which a formula is sought.

    Attributes:
        x: Inputs `(n, in)`, finite.
        y: Target `(n,)`, finite.
        weight: Of the rows' squared errors `(n,)`.
        noise: Deviation of the target's noise, in its units, as far as known: formulas that leave
            more are wrong. 0 where y has none.
        deadline: When to stop, on the clock of `time.monotonic`.
        seed: Of random starts.
        dimensions: Of the inputs and the target, if units are known.
    """

    x: Array
    y: Array
    weight: Array
    noise: float
    deadline: float
    seed: int = 0
    dimensions: Dimensions | None = None

    def has_units(self, expression: Expression) -> bool:
        """Whether an expression of the inputs is consistent, as far as units are known."""
        return self.dimensions is None or self.dimensions.has_units(expression)

    @property
    def over(self) -> bool:
        """Whether the time has run out."""
        return time.monotonic() > self.deadline

    @property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def weighed_rows(x: Array, y: Array, weight: Array, most: int) -> tuple[Array, Array, Array]:
    """The rows of positive weight, evenly spread where there are more than `most`."""
    used = np.flatnonzero(weight > 0)
    if len(used) > most:
        used = used[np.linspace(0, len(used) - 1, most).astype(int)]
    return x[used], y[used], weight[used]


@dataclass(frozen=True)
class Proposal:
    """A formula that may be right: its form; the constants are fitted again on all rows.

    Attributes:
        expression: Of columns of x.
        origin: The way it was found, in a few words.
    """

    expression: Expression
    origin: str


class Finder(Protocol):
    """A way to find formulas: yields proposals, the most promising ones first.

    It is left as soon as one of them is right, and looks at `problem.over` between pieces of work
    of a tenth of a second.
    """

    def __call__(self, problem: Problem) -> Iterator[Proposal]: ...
