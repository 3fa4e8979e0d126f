"""Penalties on parameters, added to the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Expansion(NamedTuple):
    """A penalty around the current parameters: `value + 2 slope @ d + d @ curvature @ d`.

    Args:
        slope: `(replicas, parameters)`.
        diagonal: Curvature of each parameter alone, at least 0, `(replicas, parameters)`.
        matrix: Other curvature, symmetric and positive semidefinite, `(replicas, parameters,
            parameters)`, or `None`.
        is_zero: Whether there is no penalty.
    """

    slope: Tensor
    diagonal: Tensor
    matrix: Tensor | None = None
    is_zero: bool = False

    def take(self, which: Tensor) -> Expansion:
        """Those of some replicas, `(replicas,)`."""
        matrix = None if self.matrix is None else self.matrix[which]
        return self._replace(slope=self.slope[which], diagonal=self.diagonal[which], matrix=matrix)

    def full_diagonal(self) -> Tensor:
        """The diagonal of all curvature."""
        if self.matrix is None:
            return self.diagonal
        return self.diagonal + self.matrix.diagonal(dim1=1, dim2=2)

    def multiply(self, vectors: Tensor) -> Tensor:
        """Curvature times vectors `(replicas, parameters)`."""
        product = self.diagonal * vectors
        if self.matrix is None:
            return product
        return product + torch.einsum("rpq,rq->rp", self.matrix, vectors)


class Penalty(ABC):
    """A function of the parameters.

    Its expansion may be any parabola above it that touches it.
    """

    @abstractmethod
    def value(self, parameters: Tensor) -> Tensor:
        """Parameters `(replicas, parameters)` -> `(replicas,)`."""

    @abstractmethod
    def expand(self, parameters: Tensor) -> Expansion:
        """The parabola at these parameters."""


class Quadratic(Penalty):
    """The form `p @ matrix @ p`.

    Args:
        matrix: Symmetric and positive semidefinite, `(replicas, parameters, parameters)`.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def value(self, parameters: Tensor) -> Tensor:
        return torch.einsum("rp,rpq,rq->r", parameters, self.matrix, parameters)

    def expand(self, parameters: Tensor) -> Expansion:
        slope = torch.einsum("rpq,rq->rp", self.matrix, parameters)
        return Expansion(slope, torch.zeros_like(parameters), self.matrix)


class SmoothL1(Penalty):
    """The sum of `weight * (sqrt(p^2 + epsilon^2) - epsilon)`, which favors zeros.

    Args:
        weight: One for all parameters, or one for each `(parameters,)`, at least 0.
        epsilon: Scale below which the absolute value is rounded off; a parameter that ends far
            below it counts as zero.

    Raises:
        ValueError: A weight is negative, or `epsilon` is not above 0.

    Source:
        Each step's parabola lies above the penalty: D. Hunter and R. Li, "Variable selection using
        MM algorithms", 2005, section 3.
    """

    def __init__(self, weight: float | Tensor, epsilon: float = 1e-4) -> None:
        if not bool((torch.as_tensor(weight) >= 0).all()):
            raise ValueError(f"SmoothL1 needs weight at least 0, got {weight!r}.")
        if not epsilon > 0:
            raise ValueError(f"SmoothL1 needs epsilon above 0, got {epsilon!r}.")
        self.weight, self.epsilon = weight, epsilon

    def value(self, parameters: Tensor) -> Tensor:
        return (self.weight * (self._length(parameters) - self.epsilon)).sum(1)

    def expand(self, parameters: Tensor) -> Expansion:
        curvature = self.weight / (2 * self._length(parameters))
        return Expansion(curvature * parameters, curvature)

    def _length(self, parameters: Tensor) -> Tensor:
        return torch.hypot(parameters, torch.full_like(parameters, self.epsilon))


class Sum(Penalty):
    """The sum of penalties, zero if there are none."""

    def __init__(self, penalties: Sequence[Penalty]) -> None:
        self.penalties = list(penalties)

    def value(self, parameters: Tensor) -> Tensor:
        start = parameters.new_zeros(len(parameters))
        return sum((penalty.value(parameters) for penalty in self.penalties), start)

    def expand(self, parameters: Tensor) -> Expansion:
        slope, diagonal = torch.zeros_like(parameters), torch.zeros_like(parameters)
        matrix: Tensor | None = None
        for penalty in self.penalties:
            term = penalty.expand(parameters)
            slope, diagonal = slope + term.slope, diagonal + term.diagonal
            if term.matrix is not None:
                matrix = term.matrix if matrix is None else matrix + term.matrix
        return Expansion(slope, diagonal, matrix, is_zero=not self.penalties)
