"""The search for smooth networks: steps of several candidates, and the best that each has been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.pursuit import follow, hidden_basis
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks, split
from kan_exp.optimizers.smoothing import Criteria, Smoothing, State, map_tensors, take

FOLLOW_EVERY = 3  # steps after which grids of hidden units follow their values
SETTLED = 1e-6  # change of the score


class Network(NamedTuple):
    """Networks of one shape as they were, with what is known about them; `(r, ...)`."""

    state: State
    second: NaturalBasis | None
    criteria: Criteria

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and tensors."""
        return {name: part and part._asdict() for name, part in self._asdict().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Network:
        """The inverse of `to_dict`."""
        state, criteria = State(**values["state"]), Criteria(**values["criteria"])
        return cls(state, _basis(values["second"]), criteria)


def _basis(values: Mapping[str, Tensor] | None) -> NaturalBasis | None:
    return None if values is None else NaturalBasis(**values)


class Search:
    """Steps of several networks of one shape.

    A step need not improve the score: each network is kept as it was when its score was best.

    Args:
        problem: What is minimized.
        state: Where they start.
        second: Basis of their hidden units.
        attempts: Of each step.
    """

    def __init__(
        self, problem: Smoothing, state: State, second: NaturalBasis | None, attempts: int
    ) -> None:
        self.problem, self.state, self.second, self.attempts = problem, state, second, attempts
        self.best: Network | None = None
        self.settled = False
        self.steps = 0
        self._score: Tensor | None = None  # of the step before

    @property
    def shape(self) -> Shape:
        """Of the networks."""
        return self.problem.networks.shape

    def step(self) -> Criteria:
        """One step of each network; returns what was known before it."""
        if self.second is not None and self.steps % FOLLOW_EVERY == 0:
            networks = self.problem.networks
            q, self.second = follow(networks, self.state.q, self.second)
            self.state = self.state._replace(q=q)
        before = self.state
        self.state, criteria = self.problem.step(before, self.second, self.attempts)
        self._remember(Network(before, self.second, criteria))
        if self._score is not None:
            self.settled = bool(((criteria.score - self._score).abs() < SETTLED).all())
        self._score = criteria.score
        self.steps += 1
        return criteria

    def keep(self, count: int) -> None:
        """Goes on with the best networks alone, from where they are."""
        assert self.best is not None
        index = self.best.criteria.score.argsort(stable=True)[:count]
        self.best, self.state = take(self.best, index), take(self.state, index)
        self.second = take(self.second, index)
        self._score, self.settled = None, False

    def winner(self) -> Network:
        """The network with the best score."""
        assert self.best is not None
        return take(self.best, self.best.criteria.score.argmin().unsqueeze(0))

    def _remember(self, now: Network) -> None:
        if self.best is None:
            self.best = now
            return
        better = now.criteria.score < self.best.criteria.score

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)

        self.best = map_tensors(choose, now, self.best)

    def to_dict(self) -> dict[str, Any]:
        """The state of the search, in plain containers and tensors."""
        return {
            "state": self.state._asdict(),
            "second": self.second and self.second._asdict(),
            "best": self.best and self.best.to_dict(),
            "settled": self.settled,
            "steps": self.steps,
            "score": self._score,
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Continues from the result of `to_dict`."""
        self.state = State(**values["state"])
        self.second = _basis(values["second"])
        self.best = None if values["best"] is None else Network.from_dict(values["best"])
        self.settled, self.steps = values["settled"], values["steps"]
        self._score = values["score"]


def refined(
    network: Network, old: SmoothNetworks, new: SmoothNetworks
) -> tuple[State, NaturalBasis | None]:
    """A network on finer grids, with more functions for each edge: the same but for rounding.

    Args:
        network: One network.
        old: Of its shape.
        new: Of the larger shape, with the finer basis of the inputs.

    Returns:
        Where its search goes on: state and basis of the hidden units.
    """
    q = network.state.q.new_zeros(1, sum(new.shape.sizes))
    before, after = split(old.shape, network.state.q), split(new.shape, q)
    curves, constant = _converted(old, before.curves, new, new.shape.additive)
    after.curves.copy_(curves)
    after.bias.copy_(before.bias + constant)
    second = network.second
    if second is not None:
        inner, shift = _converted(old, before.inner, new, new.shape.inner)
        after.inner.copy_(inner)
        shifted = second._replace(low=second.low - shift)
        second = hidden_basis(new, q)
        outer, constant = shifted.convert(before.outer, second)
        after.outer.copy_(outer)
        after.bias.add_(constant)
    return network.state._replace(q=q), second


def _converted(
    old: SmoothNetworks, edges: Tensor, new: SmoothNetworks, functions: int
) -> tuple[Tensor, Tensor]:
    """Edges `(1, in, functions, out)` in another basis of the inputs, and constants `(1, out)`."""
    few = old.first.limit(edges.shape[2])
    coefficients, constant = few.convert(edges[0], new.first.limit(functions))
    return coefficients.unsqueeze(0), constant.unsqueeze(0)
