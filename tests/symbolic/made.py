"""Formulas and searches that are made by hand."""

from __future__ import annotations

import numpy as np

from kan_exp.symbolic.explaining import explanation_of
from kan_exp.symbolic.expression import Call, Constant, Input, exact
from kan_exp.symbolic.judge import Candidate, Search
from kan_exp.symbolic.notation import Notation
from kan_exp.symbolic.observations import Observations

x, y, z = map(Input, range(3))
ERROR = 0.0012
# exp(sin(pi x) + 0.643123 y^2) - 1.25 sqrt(x z)
WAVE = Call("exp", Call("sin", exact(1, "pi") * x) + Constant(0.643123) * y**2)
WAVE = WAVE + Constant(-1.25) * z ** exact(0.5) * x ** exact(0.5)
NAMES = ("Temp (°C)", "E", "x-y")


def points(rows=60, inputs=3, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2, (rows, inputs))


def shown(expression, names):
    """The formula as users see it."""
    errors = np.zeros(len(expression.constants))
    return Notation(expression, names, errors, [False] * len(names)).text()


def candidate(expression, at, values, origin="by hand"):
    rmse = float(np.sqrt(np.mean((expression(at) - values) ** 2)))
    errors = np.full(len(expression.constants), ERROR)
    return Candidate(expression, rmse, rmse, errors, origin)


def searched(*expressions, found=True, fits=None):
    """A search that finds these formulas, the last one as the best."""

    def search(at, values, *, progress=lambda name: None, **_):
        progress("by hand")
        candidates = [candidate(one, at, values) for one in expressions]
        best = candidates[-1] if candidates else None
        return Search(candidates, best, found, found if fits is None else fits, 0.0, 0.1, True)

    return search


def explained(expression=WAVE, names=NAMES, target="f", found=True, fits=None, simpler=()):
    """The explanation of a formula's own values."""
    at = points(inputs=len(names))
    values = expression(at)
    observed = Observations(tuple(names), target, at[:40], values[:40], None, at[40:], values[40:])
    search = searched(*simpler, expression, found=found, fits=fits)
    return explanation_of(observed, search(observed.x, observed.y), [])
