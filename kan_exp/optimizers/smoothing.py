"""Gauss-Newton steps with weights of penalties by restricted maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from kan_exp.layers.constraints import Constraint
from kan_exp.optimizers.bounds import (
    constrained_step,
    free_shares,
    held,
    inequalities,
    violation,
)
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_networks import SmoothNetworks
from kan_exp.tasks.losses import Local, Loss

T = TypeVar("T")

# Weights are kept where a Cholesky factor in float64 exists.
MIN_WEIGHT, MAX_WEIGHT = 1e-16, 1e4
START_WEIGHT = 1e-3
MAX_CHANGE = 30.0  # of a weight in one step, as a factor
# Hidden units choose their directions among very many, which the formula does not count.
HIDDEN_CAUTION = 3.0
# For classes the formula takes effects for smaller than they are, and shrinks too much:
# N. Breslow and X. Lin, "Bias correction in generalised linear mixed models", 1995.
LIKELIHOOD_CAUTION = 0.3
INFLATION = 1.4  # of effective parameters in generalized cross-validation; S. Wood 2017, 6.2.4
MIN_LEFT = 0.05  # least share of degrees of freedom that is left for the noise
JITTER = 1e-14
MIN_DAMPING, MAX_DAMPING = 1e-14, 1e10
BLOCK = 2**22  # numbers of a Jacobian that are computed at a time


class State(NamedTuple):
    """Networks under way, each with a leading axis `(r,)`.

    Args:
        q: Coordinates, `(r, size)`.
        weights: Of the sum of squares of each group of coordinates, `(r, groups)`.
        damping: Of the next step.
    """

    q: Tensor
    weights: Tensor
    damping: Tensor

    @classmethod
    def of(cls, q: Tensor, weights: Tensor, damping: float) -> State:
        """The state before the first step."""
        return cls(q, weights, torch.full_like(q[:, 0], damping))


class Criteria(NamedTuple):
    """What is known about the networks of a state, all `(r,)` but the last.

    Args:
        loss: The mean loss.
        effective: Effective number of parameters: the trace of the hat matrix.
        noise: Variance of the noise, or that of the loss's family.
        score: Generalized cross-validation; its logarithm where the noise is estimated.
        used: Share of each group that is effective, `(r, groups)`.
    """

    loss: Tensor
    effective: Tensor
    noise: Tensor
    score: Tensor
    used: Tensor


def map_tensors(change: Callable[..., Tensor], *values: T) -> T:
    """Named tuples of one structure as one, of which `change` makes each tensor; None stays."""
    first = values[0]
    if isinstance(first, tuple):
        parts = (map_tensors(change, *each) for each in zip(*values, strict=True))
        return cast(T, type(first)(*parts))
    return first if first is None else cast(T, change(*values))


def take(values: T, index: Tensor) -> T:
    """Some of the networks of a state, of criteria or of a basis."""
    return map_tensors(lambda part: part[index], values)


class Smoothing:
    """Fits networks to points, and their smoothness with them.

    Args:
        networks: The networks on these points.
        y: Their targets, as `loss` takes them.
        loss: A mean over points.
        weight: Of each point, `(n,)`, or for each network another, `(r, n)`; all count alike if not
            given.
        constraints: Of each layer `[inputs, outputs + hidden, outputs]`, none if not given. Squared
            violations have a large weight in the objective.

    Source:
        S. Wood and M. Fasiolo, "A generalized Fellner-Schall method for smoothing parameter
        optimization", 2017. Generalized cross-validation: P. Craven and G. Wahba, 1979.
    """

    def __init__(
        self,
        networks: SmoothNetworks,
        y: Tensor,
        loss: Loss,
        weight: Tensor | None = None,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.networks, self.y, self.loss = networks, y, loss
        self.constraints = constraints
        self.weight = None if weight is None else weight / weight.mean(-1, keepdim=True)
        shape = networks.shape
        groups = shape.groups().to(networks.additive.device)
        self._penalized, self._groups = groups >= 0, groups.clamp(min=0)
        self._count = int(groups.max()) + 1
        self._sizes = self._by_group(networks.additive.new_ones(1, len(groups)))[0]
        of_curves = shape.outputs * (1 + shape.inputs)
        numbers = torch.arange(len(self._sizes), device=groups.device)
        caution = torch.where(numbers < of_curves, 1.0, HIDDEN_CAUTION).to(self._sizes)
        self._caution = caution * (1.0 if loss.dispersion is None else LIKELIHOOD_CAUTION)
        every = y.new_ones(1, len(y)) if weight is None else torch.atleast_2d(weight)
        # The mean over outputs makes each of them a term; a likelihood has one for each point.
        terms = shape.outputs if loss.dispersion is None else 1
        self._terms = terms * (every > 0).sum(1).to(networks.additive)  # (1,) or (r,)

    def start_weights(self, count: int) -> Tensor:
        """Weights before the first step, `(count, groups)`."""
        return torch.full_like(self._sizes, START_WEIGHT).repeat(count, 1)

    def penalty(self, weights: Tensor) -> Tensor:
        """The weight of the square of each coordinate, `(r, size)`."""
        return weights[:, self._groups] * self._penalized

    def step(
        self, state: State, second: NaturalBasis | None, attempts: int
    ) -> tuple[State, Criteria]:
        """Updates the weights and takes a damped step that decreases the objective, if one does.

        Args:
            state: The networks.
            second: Basis of their hidden units.
            attempts: How often a step may be tried with more damping.

        Returns:
            The new state, and the criteria of the old one.
        """
        q, weights, damping = state
        hessian, slope, loss = self.expand(q, second)
        rows = self._inequalities(second)
        weights, criteria = self.update(hessian, weights, q, loss, rows)
        penalty = self.penalty(weights)
        objective = loss + self._held_back(q, penalty, rows)
        slope = slope + penalty * q
        diagonal = hessian.diagonal(dim1=1, dim2=2) + penalty
        scale = diagonal.maximum(1e-8 * diagonal.amax(1, keepdim=True))
        pending = objective.isfinite()
        for _ in range(attempts):
            damped = hessian.clone()
            damped.diagonal(dim1=1, dim2=2).add_(penalty + damping.unsqueeze(1) * scale)
            if rows is None:
                factor, info = torch.linalg.cholesky_ex(damped)
                trial = q - torch.cholesky_solve(slope.unsqueeze(2), factor).squeeze(2)
            else:
                trial, info = constrained_step(damped, slope, q, rows)
            after = self.value(trial, second) + self._held_back(trial, penalty, rows)
            better = pending & (info == 0) & (after <= objective)  # false for a NaN
            q = torch.where(better.unsqueeze(1), trial, q)
            lower, higher = damping / 5, torch.where(pending, damping * 8, damping)
            damping = torch.where(better, lower, higher).clamp(MIN_DAMPING, MAX_DAMPING)
            pending = pending & ~better
            if not pending.any():
                break
        return State(q, weights, damping), criteria

    def _inequalities(self, second: NaturalBasis | None) -> Tensor | None:
        """See `inequalities`."""
        networks = self.networks
        if not self.constraints:
            return None
        rows = inequalities(networks.shape, networks.first, second, self.constraints)
        return rows if rows is None or networks.active is None else rows * networks.active

    @staticmethod
    def _held_back(q: Tensor, penalty: Tensor, rows: Tensor | None) -> Tensor:
        """What the objective adds to the loss, `(r,)`."""
        penalized = (penalty * q.square()).sum(1)
        return penalized if rows is None else penalized + violation(rows, q)

    def value(self, q: Tensor, second: NaturalBasis | None) -> Tensor:
        """The mean loss, `(r,)`."""
        return self.loss.weighted(self.networks.outputs(q, second), self.y, self.weight).mean(1)

    def expand(self, q: Tensor, second: NaturalBasis | None) -> tuple[Tensor, Tensor, Tensor]:
        """Half the Hessian of the loss, half its gradient, and the loss."""
        count, size = len(self.y), q.shape[1]
        hessian, slope = q.new_zeros(len(q), size, size), torch.zeros_like(q)
        loss = q.new_zeros(len(q))
        for y, weight, outputs, jacobian, local in self._blocks(q, second):
            weighed = local.weigh(jacobian).flatten(1, 2)
            hessian.baddbmm_(weighed.mT, weighed, alpha=1 / count)
            slope += torch.einsum("rnp,rn->rp", weighed, local.residuals.flatten(1)) / count
            loss += self.loss.weighted(outputs, y, weight).sum(1) / count
        return hessian, slope, loss

    def _blocks(
        self, q: Tensor, second: NaturalBasis | None
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor, Tensor, Local]]:
        """Points, a block at a time: targets, weights, outputs, their derivatives, and the loss."""
        most = max(1, BLOCK // (q.numel() * self.networks.shape.outputs))
        for rows in torch.arange(len(self.y)).split(most):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            weight = None if self.weight is None else self.weight[..., part]
            y = self.y[part]
            outputs, jacobian = self.networks.jacobian(q, second, part)
            yield y, weight, outputs, jacobian, self.loss.expand(outputs, y).times(weight)

    def left_out(self, state: State, second: NaturalBasis | None) -> Tensor:
        """The outputs at each point after a Newton step without it, `(r, n, out)`.

        Weights of penalties and the basis of hidden units stay as they are.

        Source:
            P. Craven and G. Wahba, 1979, of squares; K. Rahnama Rad and A. Maleki, "A scalable
            estimate of the out-of-sample prediction error via approximate leave-one-out
            cross-validation", 2020, of other losses.
        """
        q, count = state.q, len(self.y)
        hessian, _, _ = self.expand(q, second)
        if (rows := self._inequalities(second)) is not None:
            active = held(rows, q)
            hessian = hessian + active.mT @ active
        factor, _ = _factor(hessian, self.penalty(state.weights))
        found = []
        for _, _, outputs, jacobian, local in self._blocks(q, second):
            weighed = local.weigh(jacobian)  # (r, n, terms, size)
            spread = torch.cholesky_solve(weighed.flatten(1, 2).mT, factor).mT / count
            spread = spread.view_as(weighed).mT  # (r, n, size, terms)
            missing = torch.eye(weighed.shape[2]).to(q) - weighed @ spread
            missing.diagonal(dim1=2, dim2=3).clamp_(min=MIN_LEFT)
            step = spread @ torch.linalg.solve(missing, local.residuals.unsqueeze(3))
            found.append(outputs + (jacobian @ step).squeeze(3))
        return torch.cat(found, dim=1)

    def update(
        self,
        hessian: Tensor,
        weights: Tensor,
        q: Tensor,
        loss: Tensor,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Criteria]:
        """New weights by the formula of Fellner and Schall, and the criteria before.

        Violated inequalities count as equations: neither the data nor the penalties decide about
        what they determine.
        """
        penalty = self.penalty(weights)
        active = None if rows is None else held(rows, q)
        factor, info = _factor(hessian if active is None else hessian + active.mT @ active, penalty)
        identity = torch.eye(q.shape[1], dtype=q.dtype, device=q.device).expand_as(factor)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        kept = (penalty * inverse.square().sum(1)).clamp(0, 1)
        effective = q.shape[1] - kept.sum(1)
        sizes = self._sizes
        if active is not None:
            effective = effective - (inverse @ active.mT).square().sum((1, 2))
            sizes = self._by_group(free_shares(active, penalty))
        free = (self._terms - effective).clamp(min=MIN_LEFT * self._terms)
        if (known := self.loss.dispersion) is None:
            noise = loss * self._terms / free
            left = (self._terms - INFLATION * effective).clamp(min=MIN_LEFT * self._terms)
            score = loss.log() - 2 * (left / self._terms).log()
        else:
            noise = torch.full_like(loss, known)
            score = loss + 2 * INFLATION * known * effective / self._terms
        used = (sizes - self._by_group(kept)).clamp(min=1e-12)
        squares = self._by_group(q.square()).clamp(min=torch.finfo(q.dtype).tiny)
        new = self._caution * noise.unsqueeze(1) / self._terms.unsqueeze(1) * used / squares
        new = new.clamp(weights / MAX_CHANGE, weights * MAX_CHANGE).clamp(MIN_WEIGHT, MAX_WEIGHT)
        failed = (info != 0) | ~loss.isfinite()
        score = score.masked_fill(failed, torch.inf).nan_to_num(torch.inf, torch.inf)
        new = torch.where(failed.unsqueeze(1), weights, new)
        return new, Criteria(loss, effective, noise, score, used / self._sizes)

    def _by_group(self, values: Tensor) -> Tensor:
        """Sums over each group, `(r, size)` -> `(r, groups)`."""
        total = values.new_zeros(len(values), self._count)
        return total.index_add_(1, self._groups, values * self._penalized)


def _factor(hessian: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors of penalized Hessians `(r, size, size)`, and where there is none."""
    matrix = hessian.clone()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    diagonal.add_(penalty)
    diagonal.add_(JITTER * diagonal.amax(1, keepdim=True))
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor, info
