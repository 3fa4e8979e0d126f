"""The problem of fitting networks to data, within a limit of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vjp

from kan_exp.optimizers.jacobian import StackedNetworks
from kan_exp.optimizers.least_squares import Problem, Value
from kan_exp.optimizers.orthogonal import triangular_factor
from kan_exp.optimizers.penalties import Expansion, Penalty, Sum
from kan_exp.optimizers.systems import ProductSystem, SampleSystem, System, gram, normal_system
from kan_exp.tasks.losses import Loss

BYTES = 8  # of a number
CACHE = 2**24  # bytes of a Jacobian that are reused before they are written to memory
MIN_BLOCK = 2**12  # samples: products of fewer at a time are slow


class Limits(NamedTuple):
    """What a step may take.

    Args:
        memory: Bytes of the largest tensor. A larger Jacobian is summed up over blocks of samples;
            where the normal matrix is larger too, steps are found by conjugate gradients.
        cg_tolerance: Of the residual of conjugate gradients.
        cg_steps: Of conjugate gradients at most.
        qr: Whether steps for which the normal matrix has lost its digits are found by QR instead,
            which also allows less damping.
    """

    memory: float = 2**30
    cg_tolerance: float = 1e-2
    cg_steps: int = 50
    qr: bool = True


LIMITS = Limits()


class Fit(Problem):
    """Fits modules of one shape to points, all to the same.

    Args:
        stack: The modules.
        x: Points, `(samples, in)`.
        y: What the outputs should be, in the form that `loss` takes.
        loss: What is minimised, a mean over points.
        penalties: What is added to it.
        limits: What a step may take.
    """

    def __init__(
        self,
        stack: StackedNetworks,
        x: Tensor,
        y: Tensor,
        loss: Loss,
        penalties: Sequence[Penalty],
        limits: Limits,
    ) -> None:
        self.stack, self.x, self.y, self.loss = stack, x, y, loss
        self.penalty, self.limits = Sum(penalties), limits
        # Of the outputs, without a pass where the values tell.
        probe = y if y.ndim > 1 else stack.outputs(stack.read(), x[:1])
        self.width = probe.shape[-1]

    def evaluate(self, parameters: Tensor) -> Value:
        error = parameters.new_zeros(len(parameters))
        for x, y in self._blocks(max(MIN_BLOCK, self._block(parameters))):
            error += self._error(self.stack.outputs(parameters, x), y)
        return self._value(parameters, error)

    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        replicas, size = parameters.shape
        penalty = self.penalty.expand(parameters)
        limit = self._block(parameters)
        whole = limit >= len(self.x)
        if whole and size > len(self.x) * self.width and penalty.matrix is None:
            rows, residuals, error = self._linearise(parameters, self.x, self.y)
            system: System = SampleSystem(rows, residuals, len(self.x), penalty, self.limits.qr)
            return self._value(parameters, error), system
        if whole or replicas * size**2 * BYTES <= self.limits.memory or penalty.matrix is not None:
            cached = CACHE // (parameters.numel() * self.width * BYTES)
            return self._summed(parameters, penalty, min(limit, max(cached, 2 * size)))
        return self._by_products(parameters, penalty)

    def _summed(self, parameters: Tensor, penalty: Expansion, block: int) -> tuple[Value, System]:
        """From the normal matrix, to which one block of samples adds after the other."""
        replicas, size = parameters.shape
        hessian, slope = parameters.new_zeros(replicas, size, size), torch.zeros_like(parameters)
        error, count = parameters.new_zeros(replicas), len(self.x)
        for x, y in self._blocks(block):
            rows, residuals, more = self._linearise(parameters, x, y)
            gram(rows, hessian)
            slope += torch.einsum("rnp,rn->rp", rows, residuals)
            error += more

        def triangle() -> Tensor:
            parts = (self._linearise(parameters, x, y)[:2] for x, y in self._blocks(block))
            return triangular_factor(parts, count)

        make_triangle = triangle if self.limits.qr else None
        system = normal_system(hessian.div_(count), slope.div_(count), make_triangle, penalty)
        return self._value(parameters, error), system

    def _by_products(self, parameters: Tensor, penalty: Expansion) -> tuple[Value, System]:
        """From products with vectors; of the Jacobian itself, only its columns' lengths."""
        slope, diagonal = penalty.slope.clone(), penalty.full_diagonal().clone()
        error, count = parameters.new_zeros(len(parameters)), len(self.x)
        for x, y in self._blocks(self._block(parameters)):
            rows, residuals, more = self._linearise(parameters, x, y)
            slope += torch.einsum("rnp,rn->rp", rows, residuals) / count
            diagonal += rows.square().sum(1) / count
            error += more

        def product(vectors: Tensor) -> Tensor:
            total = torch.zeros_like(vectors)
            for x, y in self._blocks(max(MIN_BLOCK, self._block(parameters))):
                total += self._product(parameters, vectors, x, y)
            return total / count + penalty.multiply(vectors)

        limits = self.limits
        system = ProductSystem(product, slope, diagonal, limits.cg_tolerance, limits.cg_steps)
        return self._value(parameters, error), system

    def _linearise(self, parameters: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A block's rows `(replicas, terms, parameters)`, residuals and part of the error."""
        outputs, jacobian = self.stack.jacobian(parameters, x)
        error = self._error(outputs, y)
        local = self.loss.expand(outputs, y)
        return local.weigh(jacobian).flatten(1, 2), local.residuals.flatten(1), error

    def _product(self, parameters: Tensor, vectors: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """A block's sum of `J' H J` times vectors."""

        def outputs(parameters: Tensor) -> Tensor:
            return self.stack.outputs(parameters, x)

        found, changes = jvp(outputs, (parameters,), (vectors,))[:2]
        local = self.loss.expand(found, y)
        product: Tensor = vjp(outputs, parameters)[1](local.pull(local.weigh(changes)))[0]
        return product

    def _error(self, outputs: Tensor, y: Tensor) -> Tensor:
        """A block's part of the mean over all samples."""
        self.loss.check(outputs, y)
        return self.loss.values(outputs, y).sum(1) / len(self.x)

    def _value(self, parameters: Tensor, error: Tensor) -> Value:
        return Value(error, error + self.penalty.value(parameters))

    def _block(self, parameters: Tensor) -> int:
        """How many samples' Jacobians fit into memory, at least one."""
        row = parameters.numel() * self.width * BYTES
        return max(1, int(self.limits.memory // row))

    def _blocks(self, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.x.split(samples), self.y.split(samples), strict=True)
