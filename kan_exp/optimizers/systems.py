"""The linear system of a damped Gauss-Newton step, in the space where it is cheapest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from kan_exp.optimizers.bounds import constrained_step, violation
from kan_exp.optimizers.orthogonal import damped_step, triangular_factor
from kan_exp.optimizers.penalties import Expansion

# Curvature of a parameter is at least this share of the largest one.
MIN_CURVATURE = 1e-8
# Smaller damping is lost in the rounding of a normal matrix; QR allows less.
MIN_DAMPING, MIN_QR_DAMPING = 1e-14, 1e-30
# QR replaces a Cholesky factor that keeps less than this share of a diagonal element; the second
# share is for the smallest damping.
MIN_PIVOT, MIN_PIVOT_UNDAMPED = 1e-10, 1e-6
STRIP = 128  # columns of a symmetric product that are computed at a time

# Rows of a Jacobian `(replicas, rows, parameters)`, their residuals `(replicas, rows)`, and their
# part of the loss `(replicas,)`.
Block = tuple[Tensor, Tensor, Tensor]
Blocks = Callable[[], Iterable[Block]]  # a pass over the points


class System(ABC):
    """A quadratic model of the objective: `objective + 2 slope @ d + d @ H @ d`.

    Args:
        slope: Half the gradient, `(replicas, parameters)`.
        diagonal: Diagonal of `H`, `(replicas, parameters)`.
    """

    def __init__(self, slope: Tensor, diagonal: Tensor) -> None:
        self.slope = slope
        largest = diagonal.amax(1, keepdim=True)
        self.scale = diagonal.maximum(MIN_CURVATURE * largest)
        self.min_damping = torch.full_like(slope[:, 0], MIN_DAMPING)

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Minimizes the damped model.

        Args:
            damping: In units of each parameter's curvature, `(replicas,)`.

        Returns:
            The step `(replicas, parameters)`, NaN if there is none, and the decrease of the model,
            `(replicas,)`.
        """
        added = damping.unsqueeze(1) * self.scale
        change = self.solve(damping, added)
        # With (H + D) d = -g, the decrease -2 g d - d H d is d D d - g d.
        decrease = (added * change.square()).sum(1) - (self.slope * change).sum(1)
        return change, decrease

    @abstractmethod
    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        """`-(H + diag(added))^-1 slope`, where `added` is `damping` times `scale`."""


class FactoredSystem(System):
    """Solves by a Cholesky factor, or by QR for replicas whose factor is too inexact.

    Args:
        blocks: The residuals, for QR; `None` for no QR.
        count: Squares of residuals are divided by this.
        penalty: Its share of `H` and of the slope.
    """

    def __init__(
        self,
        slope: Tensor,
        diagonal: Tensor,
        blocks: Blocks | None,
        count: int,
        penalty: Expansion,
    ) -> None:
        super().__init__(slope, diagonal)
        self.blocks, self.count, self.penalty = blocks, count, penalty
        self._triangle: Tensor | None = None

    @abstractmethod
    def cholesky(self, damping: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """`solve` by a Cholesky factor, and the smallest share that it keeps of the diagonal."""

    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        change, pivot = self.cholesky(damping, added)
        if self.blocks is None:
            return change
        undamped = damping <= MIN_DAMPING
        inexact = (pivot < MIN_PIVOT) | (undamped & (pivot < MIN_PIVOT_UNDAMPED))
        inexact = inexact & self.slope.isfinite().all(1)
        if not inexact.any():
            return change
        if self._triangle is None:
            self._triangle = triangular_factor(self.blocks(), self.count)
        penalty = self.penalty.take(inexact)
        self.min_damping = self.min_damping.masked_fill(inexact, MIN_QR_DAMPING)
        change[inexact] = damped_step(self._triangle[inexact], penalty, added[inexact])
        return change


class ParameterSystem(FactoredSystem):
    """Solves in the space of parameters.

    Args:
        blocks: The residuals.
        count: See `FactoredSystem`, as for the next one.
        penalty: Its share of `H` and of the slope.
        qr: Whether QR may replace the Cholesky factor.

    Attributes:
        hessian: `H`, `(replicas, parameters, parameters)`; only its lower triangle is defined.
        loss: The sum over the blocks, `(replicas,)`.
    """

    def __init__(self, blocks: Blocks, count: int, penalty: Expansion, qr: bool) -> None:
        slope = torch.zeros_like(penalty.slope)
        hessian = slope.new_zeros(*slope.shape, slope.shape[1])
        self.loss = torch.zeros_like(slope[:, 0])
        for rows, residuals, part in blocks():
            gram(rows, hessian)
            slope += torch.einsum("rnp,rn->rp", rows, residuals)
            self.loss += part
        hessian.div_(count)
        if penalty.matrix is not None:
            hessian = hessian + penalty.matrix
        self.hessian = _add_diagonal(hessian, penalty.diagonal)
        diagonal = self.hessian.diagonal(dim1=1, dim2=2)
        slope = slope.div_(count) + penalty.slope
        super().__init__(slope, diagonal, blocks if qr else None, count, penalty)

    def cholesky(self, damping: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        solution, pivot = _solve(self.hessian, added, self.slope)
        return -solution, pivot


class BoundedSystem(ParameterSystem):
    """Solves in the space of parameters, which are to obey inequalities.

    Args:
        parameters: The current ones, `(replicas, parameters)`.
        rows: See `inequalities_of_parameters`, with a leading axis of replicas.
        blocks: See `ParameterSystem`, as for the next two.
    """

    def __init__(
        self, parameters: Tensor, rows: Tensor, blocks: Blocks, count: int, penalty: Expansion
    ) -> None:
        super().__init__(blocks, count, penalty, qr=False)
        self.parameters, self.rows = parameters, rows

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        damped = _add_diagonal(self.hessian, damping.unsqueeze(1) * self.scale)
        moved, info = constrained_step(damped, self.slope, self.parameters, self.rows)
        change = (moved - self.parameters).masked_fill((info != 0).unsqueeze(1), torch.nan)
        image = torch.einsum("rpq,rq->rp", self.hessian.tril(), change)
        curved = (2 * image - self.hessian.diagonal(dim1=1, dim2=2) * change) * change
        decrease = -(2 * self.slope * change + curved).sum(1)
        before = violation(self.rows, self.parameters)
        return change, decrease + before - violation(self.rows, moved)


class SampleSystem(FactoredSystem):
    """Solves in the space of samples, for fewer residuals than parameters.

    Args:
        block: All residuals.
        count: See `ParameterSystem`, as for the next two.
        penalty: One without a matrix.
        qr: Whether QR may replace the Cholesky factor.

    Source:
        The Woodbury identity; without a penalty `J' (J J' + D)^-1 r = (J' J + D)^-1 J' r`.
    """

    def __init__(self, block: Block, count: int, penalty: Expansion, qr: bool) -> None:
        self.jacobian, self.residuals, self.loss = block
        slope = torch.einsum("rnp,rn->rp", self.jacobian, self.residuals) / count + penalty.slope
        diagonal = self.jacobian.square().sum(1) / count + penalty.diagonal
        super().__init__(slope, diagonal, (lambda: [block]) if qr else None, count, penalty)
        # Without a penalty the matrix is the same for any damping up to a factor.
        self._inner = self._inner_matrix(self.scale) if penalty.is_zero else None

    def cholesky(self, damping: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        diagonal = self.penalty.diagonal + added
        if self._inner is None:
            inner = self._inner_matrix(diagonal)
        else:
            inner = self._inner / damping.view(-1, 1, 1)
        shift = self.penalty.slope / diagonal
        right = self.residuals - torch.einsum("rnp,rp->rn", self.jacobian, shift)
        weights, pivot = _solve(inner, torch.ones_like(right), right)
        product = torch.einsum("rnp,rn->rp", self.jacobian, weights)
        return -product / diagonal / self.count - shift, pivot

    def _inner_matrix(self, diagonal: Tensor) -> Tensor:
        return gram((self.jacobian / diagonal.sqrt().unsqueeze(1)).mT) / self.count


class ProductSystem(System):
    """Solves by conjugate gradients, from products of `H` with vectors alone.

    Args:
        product: Vectors `(replicas, parameters)` -> `H` times each.
        slope: Half the gradient.
        diagonal: Diagonal of `H`: the preconditioner.
        tolerance: See `conjugate_gradients`.
        steps: See `conjugate_gradients`.
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
            (self.diagonal + added).maximum(self.scale * MIN_CURVATURE),
            self.tolerance,
            self.steps,
        )


def dense_system(
    block: Block, count: int, penalty: Expansion, qr: bool = True
) -> SampleSystem | ParameterSystem:
    """The system of residuals and their Jacobian, in the smaller space."""
    if penalty.matrix is None and block[0].shape[2] > block[0].shape[1]:
        return SampleSystem(block, count, penalty, qr)
    return ParameterSystem(lambda: [block], count, penalty, qr)


def gram(rows: Tensor, total: Tensor | None = None) -> Tensor:
    """Adds the lower triangle of `rows.mT @ rows` to a total, zeros if not given.

    On a CPU half of the product is never computed. Above the diagonal the result is undefined.
    """
    replicas, _, size = rows.shape
    if total is None:
        total = rows.new_zeros(replicas, size, size)
    if not rows.is_cpu:  # on a GPU one operation is faster than half of the work in many
        return total.baddbmm_(rows.mT, rows)
    for matrix, block in zip(total, rows, strict=True):
        for start in range(0, size, STRIP):
            end = min(start + STRIP, size)
            matrix[start:end, :end].addmm_(block[:, start:end].T, block[:, :end])
    return total


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    diagonal: Tensor,
    tolerance: float,
    steps: int,
) -> Tensor:
    """Solves `A x = right` for each replica; a truncated solution is still a descent direction.

    Args:
        product: Vectors `(replicas, parameters)` -> `A` times each, positive definite.
        right: `(replicas, parameters)`.
        diagonal: Diagonal of `A` or an estimate of it, above 0.
        tolerance: Largest residual relative to `right`, both in the norm of the inverse of
            `diagonal`.
        steps: Largest number of steps.

    Source:
        Nocedal and Wright, Numerical Optimization, 2006, algorithms 5.3 and 7.1.
    """
    solution, residual = torch.zeros_like(right), right
    weighted = residual / diagonal
    direction, length = weighted, (residual * weighted).sum(1)
    max_length = tolerance**2 * length
    for _ in range(steps):
        image = product(direction)
        curvature = (direction * image).sum(1)
        active = (length > max_length) & (curvature > 0) & curvature.isfinite()
        if not active.any():
            break
        rate = torch.where(active, length / curvature, 0).unsqueeze(1)
        solution = solution + (rate * direction).masked_fill(~active.unsqueeze(1), 0)
        residual = residual - (rate * image).masked_fill(~active.unsqueeze(1), 0)
        weighted = residual / diagonal
        previous, length = length, (residual * weighted).sum(1)
        direction = weighted + (length / previous).unsqueeze(1) * direction
    return solution


def _add_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    total = matrix.clone()
    total.diagonal(dim1=1, dim2=2).add_(diagonal)
    return total


def _solve(matrix: Tensor, diagonal: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """`(matrix + diag(diagonal))^-1 right`, NaN if it is not positive definite.

    Also returns the smallest square of the Cholesky factor's diagonal relative to that of the
    matrix, `(replicas,)`: 1 for a diagonal matrix, near 0 for one that is nearly singular.
    """
    damped = _add_diagonal(matrix, diagonal)
    factor, info = torch.linalg.cholesky_ex(damped)
    solution = torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)
    pivot = factor.diagonal(dim1=1, dim2=2).square() / damped.diagonal(dim1=1, dim2=2)
    failed = info != 0
    return (
        solution.masked_fill(failed.unsqueeze(1), torch.nan),
        pivot.amin(1).masked_fill(failed, 0),
    )
