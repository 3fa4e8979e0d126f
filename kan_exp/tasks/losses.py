"""Losses with the local expansions that Gauss-Newton needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MIN_PROBABILITY = 1e-150  # its square is still a number


class Local(NamedTuple):
    """Expansion around the outputs: `value + 2 residuals @ root.T @ d + |root.T @ d|^2`.

    Args:
        residuals: `(replicas, samples, terms)`.
        root: Square root of half the Hessian by the outputs: `(replicas, samples, out, terms)`;
            `(replicas, samples, out)` is a diagonal one, and `None` is 1.
    """

    residuals: Tensor
    root: Tensor | None = None

    def weigh(self, changes: Tensor) -> Tensor:
        """Changes of outputs `(replicas, samples, out, *)` -> `(replicas, samples, terms, *)`."""
        if self.root is None:
            return changes
        if self.root.ndim == 4:
            return torch.einsum("rnot,rno...->rnt...", self.root, changes)
        return self.root.view(*self.root.shape, *[1] * (changes.ndim - 3)) * changes

    def pull(self, terms: Tensor) -> Tensor:
        """The transpose: `(replicas, samples, terms)` -> `(replicas, samples, out)`."""
        if self.root is None:
            return terms
        if self.root.ndim == 4:
            return torch.einsum("rnot,rnt->rno", self.root, terms)
        return self.root * terms

    def times(self, weight: Tensor | None) -> Local:
        """The expansion of the values times the weights of the samples `(samples,)`."""
        if weight is None:
            return self
        share = weight.sqrt()[:, None]
        root = share.expand_as(self.residuals)
        if self.root is not None:
            root = self.root * (share if self.root.ndim == 3 else share[..., None])
        return Local(self.residuals * share, root)


class Loss(ABC):
    """A mean over samples, convex in the outputs.

    Source:
        N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent",
        2002: the generalized Gauss-Newton matrix.
    """

    @abstractmethod
    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Each sample's loss, `(replicas, samples)`.

        Args:
            outputs: `(replicas, samples, out)`.
            y: Targets, the same for all replicas.
        """

    def weighted(self, outputs: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """`values` times the weights of the samples, `(samples,)` or `(replicas, samples)`."""
        values = self.values(outputs, y)
        return values if weight is None else values * weight

    def mean(self, outputs: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over samples of outputs `(samples, out)`, for gradient descent.

        Args:
            weight: Of each sample, with a mean of one over all training points.
        """
        return self.weighted(outputs.unsqueeze(0), y, weight).mean()

    @abstractmethod
    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        """Each sample's first two derivatives by the outputs; arguments as in `values`."""

    def check(self, outputs: Tensor, y: Tensor) -> None:
        """Checks the targets against the outputs.

        Raises:
            ValueError: Their shapes differ.
        """
        if outputs.shape[1:] != y.shape:
            raise ValueError(
                f"{type(self).__name__} needs y in the shape of the outputs, "
                f"{tuple(outputs.shape[1:])}, got {tuple(y.shape)}."
            )


class Squared(Loss):
    """The squared error `(f - y)^2`, averaged over outputs."""

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - y).square().mean(-1)

    def mean(self, outputs: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        if weight is not None:
            return super().mean(outputs, y, weight)
        return functional.mse_loss(outputs, y)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        residuals = outputs - y
        if residuals.shape[-1] == 1:
            return Local(residuals)
        return _mean(residuals, torch.ones_like(residuals))


class Huber(Loss):
    """`r^2` for `|r| <= delta`, else `2 delta |r| - delta^2` (twice torch's); mean over outputs.

    Args:
        delta: Largest residual that is squared.

    Raises:
        ValueError: `delta` is not above 0.

    Source:
        Iteratively reweighted least squares: P. Holland and R. Welsch, "Robust regression using
        iteratively reweighted least-squares", 1977. The weighted parabola majorizes the loss.
    """

    def __init__(self, delta: float) -> None:
        if not delta > 0:
            raise ValueError(f"Huber needs delta above 0, got {delta!r}.")
        self.delta = delta

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        return 2 * functional.huber_loss(
            outputs, y.expand_as(outputs), reduction="none", delta=self.delta
        ).mean(-1)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        residuals = outputs - y
        root = (self.delta / residuals.abs().clamp(min=self.delta)).sqrt()
        return _mean(root * residuals, root)


class BinaryCrossEntropy(Loss):
    """Negative log-likelihood of `y` in [0, 1]; outputs are logits, averaged over outputs."""

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            outputs, y.to(outputs).expand_as(outputs), reduction="none"
        ).mean(-1)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        one = outputs.sigmoid()
        root = (one * (-outputs).sigmoid() / 2).clamp(min=MIN_PROBABILITY).sqrt()
        return _mean((one - y) / (2 * root), root)


class CrossEntropy(Loss):
    """Negative log-likelihood of classes; outputs are logits.

    `y` holds class indices `(samples,)`, or probabilities `(samples, out)`.
    """

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        return -(self._probabilities(outputs, y) * outputs.log_softmax(-1)).sum(-1)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        # The Hessian diag(p) - p p' is S S' with S = diag(s) - p s', s the square root of p.
        chance = outputs.softmax(-1).clamp(min=MIN_PROBABILITY)
        root = chance.sqrt()
        whole = torch.diag_embed(root) - chance.unsqueeze(-1) * root.unsqueeze(-2)
        slope = chance - self._probabilities(outputs, y)
        return Local(slope / (root * 2**0.5), whole / 2**0.5)

    def check(self, outputs: Tensor, y: Tensor) -> None:
        if y.ndim != 1:
            super().check(outputs, y)
        elif y.is_floating_point() or len(y) != outputs.shape[1]:
            raise ValueError(
                f"CrossEntropy needs y to be {outputs.shape[1]} whole numbers, one class for each "
                f"sample, got {len(y)} of {y.dtype}."
            )
        elif len(y) and not 0 <= int(y.min()) <= int(y.max()) < outputs.shape[2]:
            raise ValueError(
                f"CrossEntropy needs classes from 0 to {outputs.shape[2] - 1}, one for each "
                f"output, got {int(y.min())} to {int(y.max())}."
            )

    @staticmethod
    def _probabilities(outputs: Tensor, y: Tensor) -> Tensor:
        if y.ndim == 1:
            return functional.one_hot(y, outputs.shape[-1]).to(outputs)
        return y.to(outputs)


def _mean(residuals: Tensor, root: Tensor) -> Local:
    """Turns the sum over outputs into their mean."""
    share = residuals.shape[-1] ** -0.5
    return Local(share * residuals, share * root)
