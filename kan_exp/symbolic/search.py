"""The search for a formula: from simple structures to larger ones, within a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kan_exp.symbolic.expression import Array, Constant, Expression, Input
from kan_exp.symbolic.refit import refit


@dataclass(frozen=True)
class Candidate:
    """A formula with its errors.

    Attributes:
        expression: The formula, of columns of x.
        rmse: Of the training rows, in units of y.
        validation_rmse: Of the validation rows, in units of y.
        errors: Standard errors of the free constants `(k,)`, in their order.
        origin: What found it, in a few words.
    """

    expression: Expression
    rmse: float
    validation_rmse: float
    errors: Array
    origin: str

    @property
    def complexity(self) -> int:
        return self.expression.complexity


@dataclass
class Search:
    """What a search has found so far.

    Attributes:
        candidates: Every formula worth showing: none of them is worse than a simpler one.
        best: The formula to show, or None.
        found: Whether `best` holds to the noise: what it leaves is like noise, and no formula of its
            size would fit by chance.
        noise: Estimated deviation of the noise in units of y; 0 where y has none.
        seconds: What the search took.
        complete: False if time ran out, or the user stopped it.
    """

    candidates: list[Candidate] = field(default_factory=list)
    best: Candidate | None = None
    found: bool = False
    noise: float = 0.0
    seconds: float = 0.0
    complete: bool = False


def search(
    x: Array,
    y: Array,
    *,
    weight: Array | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    told: Callable[[str], None] = lambda doing: None,
) -> Search:
    """Finds a formula of the columns of `x` `(n, in)` for `y` `(n,)`.

    Args:
        weight: Weights of the rows `(n,)`; by default 1.
        seconds: Limit of time. The best so far is the result, also on Ctrl-C.
        seed: Of the split into training and validation rows, and of random starts.
        told: Called with what is being tried.
    """
    raise NotImplementedError
