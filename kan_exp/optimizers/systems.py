"""The linear system of a damped Gauss-Newton step, in whichever space is the cheapest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from kan_exp.optimizers.penalties import Expansion

# A parameter that nothing depends on is held by this share of the largest curvature.
LEAST_CURVATURE = 1e-8


class System(ABC):
    """A quadratic model of what is minimised: `objective + 2 slope @ d + d @ H @ d`.

    Args:
        slope: Half the gradient, `(replicas, parameters)`.
        diagonal: Of `H`, `(replicas, parameters)`.
    """

    def __init__(self, slope: Tensor, diagonal: Tensor) -> None:
        self.slope = slope
        largest = diagonal.amax(1, keepdim=True)
        self.scale = diagonal.maximum(LEAST_CURVATURE * largest)

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """The model's lowest point under damping, in units of each parameter's curvature.

        Args:
            damping: `(replicas,)`.

        Returns:
            The step `(replicas, parameters)`, NaN where there is none, and by how much the model
            falls along it, `(replicas,)`.
        """
        added = damping.unsqueeze(1) * self.scale
        change = self.solve(damping, added)
        # With (H + D) d = -g, the model's fall -2 g d - d H d is d D d - g d.
        gain = (added * change.square()).sum(1) - (self.slope * change).sum(1)
        return change, gain

    @abstractmethod
    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        """`-(H + diag(added))^-1 slope`, where `added` is `damping` times `scale`."""


class ParameterSystem(System):
    """Solves by the Cholesky factor of `H` `(replicas, parameters, parameters)`."""

    def __init__(self, hessian: Tensor, slope: Tensor) -> None:
        super().__init__(slope, hessian.diagonal(dim1=1, dim2=2))
        self.hessian = hessian

    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        return -_solve(self.hessian, added, self.slope)


class SampleSystem(System):
    """Solves in the space of samples, for fewer of them than of parameters.

    Args:
        jacobian: Of the residuals, `(replicas, residuals, parameters)`.
        residuals: `(replicas, residuals)`.
        count: What their squares are divided by.
        penalty: One without a matrix.

    Source:
        The Woodbury identity; without a penalty `J' (J J' + D)^-1 r = (J' J + D)^-1 J' r`.
    """

    def __init__(self, jacobian: Tensor, residuals: Tensor, count: int, penalty: Expansion) -> None:
        slope = torch.einsum("rnp,rn->rp", jacobian, residuals) / count + penalty.slope
        super().__init__(slope, jacobian.square().sum(1) / count + penalty.diagonal)
        self.jacobian, self.residuals, self.count = jacobian, residuals, count
        self.penalty = penalty
        self._inner: Tensor | None = None  # the same for any damping, but for a factor
        if not penalty.diagonal.any():
            self._inner = (jacobian / self.scale.unsqueeze(1)) @ jacobian.mT / count

    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        own = self.penalty.diagonal + added  # what holds each parameter by itself
        scaled = self.jacobian / own.unsqueeze(1)
        pull = self.penalty.slope / own
        if self._inner is None:
            inner = scaled @ self.jacobian.mT / self.count
        else:
            inner = self._inner / damping.view(-1, 1, 1)
        wanted = self.residuals - torch.einsum("rnp,rp->rn", self.jacobian, pull)
        weights = _solve(inner, torch.ones_like(wanted), wanted)
        return -torch.einsum("rnp,rn->rp", scaled, weights) / self.count - pull


class ProductSystem(System):
    """Solves by conjugate gradients, from products of `H` with vectors alone.

    Args:
        product: Vectors `(replicas, parameters)` -> `H` times each.
        slope: Half the gradient.
        diagonal: Of `H`: what it is preconditioned with.
        tolerance: Of the solution, see `conjugate_gradients`.
        steps: How many at most.
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        slope: Tensor,
        diagonal: Tensor,
        tolerance: float,
        steps: int,
    ) -> None:
        super().__init__(slope, diagonal)
        self.product, self.diagonal = product, diagonal
        self.tolerance, self.steps = tolerance, steps

    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        return conjugate_gradients(
            lambda vectors: self.product(vectors) + added * vectors,
            -self.slope,
            (self.diagonal + added).maximum(self.scale * LEAST_CURVATURE),
            self.tolerance,
            self.steps,
        )


def dense_system(jacobian: Tensor, residuals: Tensor, count: int, penalty: Expansion) -> System:
    """The system of residuals and their Jacobian in the smaller space."""
    if penalty.matrix is None and jacobian.shape[2] > jacobian.shape[1]:
        return SampleSystem(jacobian, residuals, count, penalty)
    slope = torch.einsum("rnp,rn->rp", jacobian, residuals) / count
    return normal_system(jacobian.mT @ jacobian / count, slope, penalty)


def normal_system(hessian: Tensor, slope: Tensor, penalty: Expansion) -> System:
    """The system of the loss's `H` and half gradient, and of a penalty."""
    if penalty.matrix is not None:
        hessian = hessian + penalty.matrix
    return ParameterSystem(hessian + torch.diag_embed(penalty.diagonal), slope + penalty.slope)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    diagonal: Tensor,
    tolerance: float,
    steps: int,
) -> Tensor:
    """Solves `A x = right` for each replica; a truncated solution is still a way down.

    Args:
        product: Vectors `(replicas, parameters)` -> `A` times each, positive definite.
        right: `(replicas, parameters)`.
        diagonal: Of `A` or near it, above 0.
        tolerance: Stops once the residual is this small beside `right`, both weighed by the
            inverse of `diagonal`.
        steps: Stops after these.

    Source:
        Nocedal and Wright, Numerical Optimization, 2006, algorithms 5.3 and 7.1.
    """
    solution, residual = torch.zeros_like(right), right
    weighed = residual / diagonal
    direction, length = weighed, (residual * weighed).sum(1)
    enough = tolerance**2 * length
    for _ in range(steps):
        image = product(direction)
        curvature = (direction * image).sum(1)
        going = (length > enough) & (curvature > 0) & curvature.isfinite()
        if not going.any():
            break
        rate = torch.where(going, length / curvature, 0).unsqueeze(1)
        solution = solution + (rate * direction).masked_fill(~going.unsqueeze(1), 0)
        residual = residual - (rate * image).masked_fill(~going.unsqueeze(1), 0)
        weighed = residual / diagonal
        before, length = length, (residual * weighed).sum(1)
        direction = weighed + (length / before).unsqueeze(1) * direction
    return solution


def _solve(matrix: Tensor, diagonal: Tensor, right: Tensor) -> Tensor:
    """`(matrix + diag(diagonal))^-1 right`; NaN where it is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(diagonal))
    found = torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)
    return found.masked_fill((info != 0).unsqueeze(1), torch.nan)
