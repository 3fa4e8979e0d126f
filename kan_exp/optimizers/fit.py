"""The problem of fitting networks to data within a memory limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vjp

from kan_exp.optimizers.bounds import violation
from kan_exp.optimizers.jacobian import BatchedNetworks
from kan_exp.optimizers.least_squares import Problem, Value
from kan_exp.optimizers.penalties import Expansion, Penalty, Sum
from kan_exp.optimizers.systems import (
    Block,
    BoundedSystem,
    ParameterSystem,
    ProductSystem,
    SampleSystem,
    System,
)
from kan_exp.tasks.losses import Loss

BYTES = 8  # of a number
CACHED = 2**24  # bytes of a Jacobian that stay in the cache until they are used
MIN_BLOCK = 2**12  # samples; smaller products are slow


class Limits(NamedTuple):
    """Limits of a step.

    Args:
        memory: Bytes of the largest tensor. A larger Jacobian is summed over blocks of samples; if
            the normal matrix is larger too, conjugate gradients find the step.
        cg_tolerance: Relative residual at which conjugate gradients stop.
        cg_steps: Largest number of steps of conjugate gradients.
        qr: Whether QR replaces Cholesky factors that are too inexact. It also allows less damping.
    """

    memory: float = 2**30
    cg_tolerance: float = 1e-2
    cg_steps: int = 50
    qr: bool = True


LIMITS = Limits()


class Fit(Problem):
    """Fits modules of one shape to the same points.

    Args:
        networks: The modules.
        x: Points, `(samples, in)`.
        y: Target of the outputs, in the form that `loss` takes.
        loss: A mean over points, to be minimized.
        penalties: Added to the loss.
        limits: Limits of a step.
        weight: Of each point, `(samples,)`, with a mean of one; `None` for equal weights.
        inequalities: Of the parameters, see `BoundedSystem`; squared violations are part of the
            objective.
    """

    def __init__(
        self,
        networks: BatchedNetworks,
        x: Tensor,
        y: Tensor,
        loss: Loss,
        penalties: Sequence[Penalty],
        limits: Limits,
        weight: Tensor | None = None,
        inequalities: Tensor | None = None,
    ) -> None:
        self.inequalities = inequalities
        self.networks, self.x, self.y, self.loss = networks, x, y, loss
        self.weight = weight
        self.penalty, self.limits = Sum(penalties), limits
        self.width = networks.width(x)

    def read(self) -> Tensor:
        """All parameters, `(modules, parameters)`."""
        return self.networks.read()

    def write(self, parameters: Tensor) -> None:
        """Puts parameters back into the modules."""
        self.networks.write(parameters)

    def evaluate(self, parameters: Tensor) -> Value:
        loss = parameters.new_zeros(len(parameters))
        for x, y, weight in self._blocks(max(MIN_BLOCK, self._max_block(parameters))):
            loss += self._loss(self.networks.outputs(parameters, x), y, weight)
        return self._value(parameters, loss)

    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        replicas, size = parameters.shape
        count, qr = len(self.x), self.limits.qr
        penalty, block = self.penalty.expand(parameters), self._max_block(parameters)
        needs_matrix = penalty.matrix is not None or self.inequalities is not None
        system: SampleSystem | ParameterSystem
        if block >= count and size > count * self.width and not needs_matrix:
            points = self._linearize(parameters, self.x, self.y, self.weight)
            system = SampleSystem(points, count, penalty, qr)
            return self._value(parameters, system.loss), system
        matrix_fits = replicas * size**2 * BYTES <= self.limits.memory
        if not (block >= count or matrix_fits or needs_matrix):
            return self._by_products(parameters, penalty, block)
        cached = CACHED // (parameters.numel() * self.width * BYTES)
        block = min(block, max(cached, 2 * size))

        def blocks() -> Iterator[Block]:
            return (self._linearize(parameters, *points) for points in self._blocks(block))

        if self.inequalities is not None:
            system = BoundedSystem(parameters, self.inequalities, blocks, count, penalty)
        else:
            system = ParameterSystem(blocks, count, penalty, qr)
        return self._value(parameters, system.loss), system

    def _by_products(
        self, parameters: Tensor, penalty: Expansion, block: int
    ) -> tuple[Value, System]:
        slope, diagonal = penalty.slope.clone(), penalty.full_diagonal().clone()
        loss, count = parameters.new_zeros(len(parameters)), len(self.x)
        for points in self._blocks(block):
            rows, residuals, part = self._linearize(parameters, *points)
            slope += torch.einsum("rnp,rn->rp", rows, residuals) / count
            diagonal += rows.square().sum(1) / count
            loss += part

        def product(vectors: Tensor) -> Tensor:
            total = torch.zeros_like(vectors)
            for points in self._blocks(max(MIN_BLOCK, block)):
                total += self._product(parameters, vectors, *points)
            return total / count + penalty.multiply(vectors)

        limits = self.limits
        system = ProductSystem(product, slope, diagonal, limits.cg_tolerance, limits.cg_steps)
        return self._value(parameters, loss), system

    def _linearize(self, parameters: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Block:
        outputs, jacobian = self.networks.jacobian(parameters, x)
        loss = self._loss(outputs, y, weight)
        local = self.loss.expand(outputs, y).times(weight)
        return local.weigh(jacobian).flatten(1, 2), local.residuals.flatten(1), loss

    def _product(
        self, parameters: Tensor, vectors: Tensor, x: Tensor, y: Tensor, weight: Tensor | None
    ) -> Tensor:
        """A block's sum of `J' H J` times vectors."""

        def outputs_of(parameters: Tensor) -> Tensor:
            return self.networks.outputs(parameters, x)

        outputs, changes = jvp(outputs_of, (parameters,), (vectors,))[:2]
        local = self.loss.expand(outputs, y).times(weight)
        product: Tensor = vjp(outputs_of, parameters)[1](local.pull(local.weigh(changes)))[0]
        return product

    def _loss(self, outputs: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """A block's part of the mean over all samples."""
        self.loss.check(outputs, y)
        return self.loss.weighted(outputs, y, weight).sum(1) / len(self.x)

    def _value(self, parameters: Tensor, loss: Tensor) -> Value:
        objective = loss + self.penalty.value(parameters)
        if self.inequalities is not None:
            objective = objective + violation(self.inequalities, parameters)
        return Value(loss, objective)

    def _max_block(self, parameters: Tensor) -> int:
        """Number of samples whose Jacobians fit into memory, at least one."""
        return max(1, int(self.limits.memory // (parameters.numel() * self.width * BYTES)))

    def _blocks(self, samples: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        weights = repeat(None) if self.weight is None else self.weight.split(samples)
        return zip(self.x.split(samples), self.y.split(samples), weights, strict=False)
