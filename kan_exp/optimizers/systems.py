"""The linear system of a damped Gauss-Newton step, in whichever space is the cheapest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from kan_exp.optimizers.orthogonal import damped_step, triangular_factor
from kan_exp.optimizers.penalties import Expansion

# A parameter that nothing depends on is held by this share of the largest curvature.
MIN_CURVATURE = 1e-8
# Smaller damping is lost in the rounding of a normal matrix; QR allows less.
MIN_DAMPING, MIN_QR_DAMPING = 1e-14, 1e-30
# QR takes over where a Cholesky factor has less than this share left of a diagonal element; at the
# least damping, which a step that is limited by rounding asks for, less than the second.
MIN_PIVOT, MIN_PIVOT_UNDAMPED = 1e-10, 1e-6
STRIP = 128  # columns of a symmetric product at a time; more than half of them are not computed

Triangle = Callable[[], Tensor]


class System(ABC):
    """A quadratic model of what is minimised: `objective + 2 slope @ d + d @ H @ d`.

    Args:
        slope: Half the gradient, `(replicas, parameters)`.
        diagonal: Of `H`, `(replicas, parameters)`.
    """

    def __init__(self, slope: Tensor, diagonal: Tensor) -> None:
        self.slope = slope
        largest = diagonal.amax(1, keepdim=True)
        self.scale = diagonal.maximum(MIN_CURVATURE * largest)
        self.least_damping = torch.full_like(slope[:, 0], MIN_DAMPING)

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


class FactoredSystem(System):
    """Solves by a Cholesky factor or, for replicas where that has lost its digits, by QR.

    Args:
        slope: Half the gradient.
        diagonal: Of `H`.
        triangle: Makes the factor of all residuals, see `triangular_factor`; called at most once.
            Without it, a step is that of the Cholesky factor, or NaN where there is none.
        penalty: Its share of `H` and the slope.
    """

    def __init__(
        self, slope: Tensor, diagonal: Tensor, triangle: Triangle | None, penalty: Expansion
    ) -> None:
        super().__init__(slope, diagonal)
        self.penalty = penalty
        self._make_triangle = triangle
        self._triangle: Tensor | None = None

    @abstractmethod
    def cholesky(self, damping: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """`solve` by a Cholesky factor, and the least share of a diagonal element it has left."""

    def solve(self, damping: Tensor, added: Tensor) -> Tensor:
        change, pivot = self.cholesky(damping, added)
        if self._make_triangle is None:
            return change
        undamped = damping <= MIN_DAMPING
        lost = (pivot < MIN_PIVOT) | (undamped & (pivot < MIN_PIVOT_UNDAMPED))
        lost = lost & self.slope.isfinite().all(1)
        if not lost.any():
            return change
        if self._triangle is None:
            self._triangle = self._make_triangle()
        slope, diagonal, matrix = self.penalty
        matrix = None if matrix is None else matrix[lost]
        penalty = Expansion(slope[lost], diagonal[lost], matrix)
        self.least_damping = self.least_damping.masked_fill(lost, MIN_QR_DAMPING)
        change[lost] = damped_step(self._triangle[lost], penalty, added[lost])
        return change


class ParameterSystem(FactoredSystem):
    """Solves in the space of parameters, by `H` `(replicas, parameters, parameters)`."""

    def __init__(
        self, hessian: Tensor, slope: Tensor, triangle: Triangle | None, penalty: Expansion
    ) -> None:
        super().__init__(slope, hessian.diagonal(dim1=1, dim2=2), triangle, penalty)
        self.hessian = hessian

    def cholesky(self, damping: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        found, pivot = _solve(self.hessian, added, self.slope)
        return -found, pivot


class SampleSystem(FactoredSystem):
    """Solves in the space of samples, for fewer of them than of parameters.

    Args:
        jacobian: Of the residuals, `(replicas, residuals, parameters)`.
        residuals: `(replicas, residuals)`.
        count: What their squares are divided by.
        penalty: One without a matrix.
        qr: Whether QR takes over where the Cholesky factor has lost its digits.

    Source:
        The Woodbury identity; without a penalty `J' (J J' + D)^-1 r = (J' J + D)^-1 J' r`.
    """

    def __init__(
        self,
        jacobian: Tensor,
        residuals: Tensor,
        count: int,
        penalty: Expansion,
        qr: bool = True,
    ) -> None:
        slope = torch.einsum("rnp,rn->rp", jacobian, residuals) / count + penalty.slope
        diagonal = jacobian.square().sum(1) / count + penalty.diagonal

        def triangle() -> Tensor:
            return triangular_factor([(jacobian, residuals)], count)

        super().__init__(slope, diagonal, triangle if qr else None, penalty)
        self.jacobian, self.residuals, self.count = jacobian, residuals, count
        self._inner: Tensor | None = None  # the same for any damping, but for a factor
        if not penalty.diagonal.any():
            self._inner = gram((jacobian / self.scale.sqrt().unsqueeze(1)).mT) / count

    def cholesky(self, damping: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        own = self.penalty.diagonal + added  # what holds each parameter by itself
        pull = self.penalty.slope / own
        if self._inner is None:
            inner = gram((self.jacobian / own.sqrt().unsqueeze(1)).mT) / self.count
        else:
            inner = self._inner / damping.view(-1, 1, 1)
        wanted = self.residuals - torch.einsum("rnp,rp->rn", self.jacobian, pull)
        weights, pivot = _solve(inner, torch.ones_like(wanted), wanted)
        pushed = torch.einsum("rnp,rn->rp", self.jacobian, weights) / own
        return -pushed / self.count - pull, pivot


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
            (self.diagonal + added).maximum(self.scale * MIN_CURVATURE),
            self.tolerance,
            self.steps,
        )


def dense_system(
    jacobian: Tensor, residuals: Tensor, count: int, penalty: Expansion, qr: bool = True
) -> System:
    """The system of residuals and their Jacobian in the smaller space."""
    if penalty.matrix is None and jacobian.shape[2] > jacobian.shape[1]:
        return SampleSystem(jacobian, residuals, count, penalty, qr)
    slope = torch.einsum("rnp,rn->rp", jacobian, residuals) / count

    def triangle() -> Tensor:
        return triangular_factor([(jacobian, residuals)], count)

    hessian = gram(jacobian) / count
    return normal_system(hessian, slope, triangle if qr else None, penalty)


def normal_system(
    hessian: Tensor, slope: Tensor, triangle: Triangle | None, penalty: Expansion
) -> System:
    """The system of the loss's `H` and half gradient, and of a penalty."""
    if penalty.matrix is not None:
        hessian = hessian + penalty.matrix
    hessian = _plus_diagonal(hessian, penalty.diagonal)
    return ParameterSystem(hessian, slope + penalty.slope, triangle, penalty)


def gram(rows: Tensor, total: Tensor | None = None) -> Tensor:
    """The lower triangles of `rows' rows`, added to a total.

    Args:
        rows: `(replicas, rows, columns)`.
        total: Zeros if not given, `(replicas, columns, columns)`.

    Returns:
        `(replicas, columns, columns)`; elements above the diagonal mean nothing.
    """
    replicas, _, size = rows.shape
    if total is None:
        total = rows.new_zeros(replicas, size, size)
    for matrix, block in zip(total, rows, strict=True):
        for start in range(0, size, STRIP):
            strip = slice(start, start + STRIP)
            matrix[strip, : strip.stop].addmm_(block[:, strip].T, block[:, : strip.stop])
    return total


def _plus_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    whole = matrix.clone()
    whole.diagonal(dim1=1, dim2=2).add_(diagonal)
    return whole


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


def _solve(matrix: Tensor, diagonal: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """`(matrix + diag(diagonal))^-1 right`; NaN where it is not positive definite.

    Also returns the least square of the Cholesky factor's diagonal, as a share of the matrix's: 1
    for a diagonal matrix, next to nothing for one that is nearly singular, `(replicas,)`.
    """
    whole = _plus_diagonal(matrix, diagonal)
    factor, info = torch.linalg.cholesky_ex(whole)
    found = torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)
    pivot = factor.diagonal(dim1=1, dim2=2).square() / whole.diagonal(dim1=1, dim2=2)
    failed = info != 0
    return (
        found.masked_fill(failed.unsqueeze(1), torch.nan),
        pivot.amin(1).masked_fill(failed, 0),
    )
