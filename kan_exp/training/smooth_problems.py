"""The fitting problems of a training that finds the smoothness of edges, and their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kan_exp.data import Split
from kan_exp.layers.constraints import Constraint
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.pursuit import find_directions, residuals, start_beside
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks
from kan_exp.optimizers.smooth_search import Network
from kan_exp.optimizers.smoothing import Smoothing, State, take
from kan_exp.tasks.losses import Loss
from kan_exp.training.module import Constraints
from kan_exp.training.smooth_plan import Plan

SATURATED = 0.6  # share of an edge's bends in use from which on finer grids are tried
MIN_GAIN = 0.01  # in generalized cross-validation, for hidden units to be taken
SUPPORT = 1  # standard errors by which points left out must speak for hidden units
VETO = 2  # standard errors by which validation points may not speak against them
FOLDS = 10
TINY = torch.finfo(torch.float64).tiny
FOLD_STEPS = 8  # of the fit to the other folds, which begins with the network of all points


@dataclass
class SmoothProblems:
    """Makes problems of networks with and without hidden units, on any of the points.

    Args:
        plan: Sizes of the networks.
        loss: A mean over points.
        every: Standardized training and validation points, which decide the grids.
        masks: Which edges of each layer exist; all if there are none.
        make_constraints: Makes the constraints of each layer from the widths.

    Attributes:
        intervals: Of the present grids.
    """

    plan: Plan
    loss: Loss
    every: Split
    masks: Sequence[Tensor]
    make_constraints: Constraints | None

    def __post_init__(self) -> None:
        self.intervals = self.plan.intervals
        self._bases: dict[tuple[int, int], NaturalBasis] = {}  # by intervals and functions

    def to(self, device: torch.device) -> None:
        """Moves the points."""
        self.every = self.every.map(lambda part: part.to(device))
        self._bases.clear()  # they are where the points were

    def networks(self, hidden: int, x: Tensor) -> SmoothNetworks:
        """Networks with so many hidden units at points `(n, in)`."""
        plan = self.plan
        shape = Shape(plan.inputs, plan.outputs, hidden, *plan.functions(self.intervals, hidden))
        functions = max(shape.additive, shape.inner)
        size = self.intervals, functions
        if size not in self._bases:
            self._bases[size] = NaturalBasis.of(self.every.x, self.intervals, functions - 1)
        active = shape.active([mask.to(x.device) for mask in self.masks]) if self.masks else None
        return SmoothNetworks(shape, x, self._bases[size], active)

    def make(self, hidden: int, split: Split) -> Smoothing:
        """The problem of fitting such networks to points."""
        networks = self.networks(hidden, split.x)
        shape = networks.shape
        dims = [shape.inputs, shape.outputs + hidden, shape.outputs]
        return Smoothing(networks, split.y, self.loss, split.weight, self.constraints(dims))

    def constraints(self, dims: Sequence[int]) -> Sequence[Constraint]:
        """The constraints of each layer; none if there are none."""
        return () if self.make_constraints is None else self.make_constraints(dims)

    def units(self, network: Network) -> int:
        """Number of hidden units."""
        return 0 if network.second is None else self.plan.hidden

    def starts(
        self, problem: Smoothing, curves: Network, split: Split, seed: int
    ) -> tuple[State, NaturalBasis]:
        """Networks with the curves found so far, and hidden units in addition."""
        plan = self.plan
        outputs = self.networks(0, split.x).outputs(curves.state.q, None)
        missing = residuals(outputs, split.y, self.loss)
        generator = torch.Generator().manual_seed(seed)
        first = self.constraints([plan.inputs, plan.outputs + plan.hidden, plan.outputs])[:1]
        monotone = [sign for one in first for sign in one.monotone]
        count = plan.num_candidates[0]
        directions = find_directions(split.x, missing, plan.hidden, count, generator, monotone)
        return start_beside(curves.state, problem, directions)

    def losses(self, network: Network, split: Split) -> Tensor:
        """The loss at each point, `(n,)`."""
        networks = self.networks(self.units(network), split.x)
        outputs = networks.outputs(network.state.q, network.second)
        return self.loss.weighted(outputs, split.y, split.weight)[0]

    def left_out_losses(self, network: Network, split: Split) -> Tensor:
        """The loss at each of the points that it was fitted to without that point, `(n,)`."""
        problem = self.make(self.units(network), split)
        outputs = problem.left_out(network.state, network.second)
        return self.loss.weighted(outputs, split.y, problem.weight)[0]

    def is_saturated(self, network: Network) -> bool:
        """Whether an edge uses most of its bends."""
        shape = self.networks(self.units(network), self.every.x[:1]).shape
        bends = shape.groups()[shape.numbers() > 1].unique()  # of edges that have several
        return bool((network.criteria.used[0].cpu()[bends] > SATURATED).any())

    def gain(self, network: Network, other: Network) -> float:
        """Relative decrease of generalized cross-validation against another network."""
        own, old = score_of(network), score_of(other)
        if self.loss.dispersion is None:  # scores are logarithms
            return -math.expm1(own - old)
        return (old - own) / max(abs(old), TINY)

    def pays(self, hidden: Network, curves: Network, points: Split, validation: Split) -> bool:
        """Whether hidden units are clearly better than curves alone.

        Cross-validation takes all points for equally noisy, which rows with filled gaps are not:
        units that follow the noisiest seem to pay. Hence points that are left out must support
        them, and validation points must not contradict.
        """
        if self.gain(hidden, curves) <= MIN_GAIN:
            return False
        left_out = self.left_out_losses(hidden, points) - self.left_out_losses(curves, points)
        seen = self.losses(hidden, validation) - self.losses(curves, validation)
        return _in_errors(left_out) < -SUPPORT and _in_errors(seen) <= VETO

    def errors_of_folds(self, network: Network, split: Split, attempts: int) -> Tensor | None:
        """Target minus output `(n, out)` at points of each fold, by a network fitted to the others.

        The fits begin at `network`. None if all points are copies of one.
        """
        # Copies of a point are left out together.
        fold = split.x.unique(dim=0, return_inverse=True)[1] % FOLDS
        if not fold.any():
            return None
        count = int(fold.max()) + 1
        start, second, _ = take(network, torch.zeros(count, dtype=torch.long, device=fold.device))
        others = (fold != torch.arange(count, device=fold.device).unsqueeze(1)).to(split.x)
        weight = others if split.weight is None else others * split.weight
        problem = self.make(self.units(network), split._replace(weight=weight))
        # The weights of penalties forget the points that are left out.
        state = State.of(start.q, problem.start_weights(count), 1e-8)
        for _ in range(FOLD_STEPS):
            state, _ = problem.step(state, second, attempts)
        outputs = problem.networks.outputs(state.q, second)
        return split.y - outputs[fold, torch.arange(len(fold), device=fold.device)]


def joined(first: Split, other: Split) -> Split:
    """The points of both."""
    weight = None
    if first.weight is not None and other.weight is not None:
        weight = torch.cat([first.weight, other.weight])
    return Split(torch.cat([first.x, other.x]), torch.cat([first.y, other.y]), weight)


def score_of(network: Network) -> float:
    """Generalized cross-validation of one network."""
    return float(network.criteria.score)


def _in_errors(changes: Tensor) -> float:
    """The mean of changes `(n,)` in standard errors."""
    if len(changes) < 2:
        return 0.0
    error = float(changes.std()) / math.sqrt(len(changes))
    return float(changes.mean()) / max(error, TINY)
