"""Losses with the local expansions that Gauss-Newton needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MIN_CURVATURE = 1e-150  # its square is still a number


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
        """The expansion of the values times the weights of the samples, as in `Loss.weighted`."""
        if weight is None:
            return self
        share = weight.sqrt().unsqueeze(-1)
        root = share.expand_as(self.residuals)
        if self.root is not None:
            root = self.root * (share if self.root.ndim == 3 else share[..., None])
        return Local(self.residuals * share, root)


class Loss(ABC):
    """A mean over samples, convex in the outputs.

    Source:
        N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent",
        2002: the generalized Gauss-Newton matrix.

    Attributes:
        dispersion: Variance of a residual of `expand`, where the loss is a negative log-likelihood;
            None if it is that of the noise, which is unknown.
    """

    dispersion: float | None = None

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


class RidgeLoss(Loss):
    """A loss whose outputs can be unbounded, such as the logits of separable classes.

    Args:
        ridge: Weight of the squares of the outputs, which keeps them finite.

    Raises:
        ValueError: `ridge` is below 0.
    """

    def __init__(self, ridge: float = 0.0) -> None:
        if not ridge >= 0:
            raise ValueError(f"{type(self).__name__} needs ridge of at least 0, got {ridge!r}.")
        self.ridge = ridge

    def _newton(self, outputs: Tensor, slope: Tensor, curvature: Tensor) -> Local:
        """The expansion of a mean over outputs, from its derivatives by each output."""
        slope = slope + 2 * self.ridge * outputs
        root = (curvature / 2 + self.ridge).clamp(min=MIN_CURVATURE).sqrt()
        return _mean(slope / (2 * root), root)


class Squared(Loss):
    """The squared error `(f - y)^2`, averaged over outputs."""

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        errors = (outputs - y).square()
        return errors.squeeze(-1) if errors.shape[-1] == 1 else errors.mean(-1)

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


class Pinball(Loss):
    """`max(q r, (q - 1) r)` of the residuals `r = y - f`, smoothed near 0; mean over outputs.

    Its minimum is at the quantile `q` of the targets. Within `width` of 0, `|r|` in the loss
    `|r| / 2 + (q - 1/2) r` is a parabola.

    Args:
        quantiles: One for each output, between 0 and 1; each output is compared with the only
            column of `y`, or with its own.
        width: Above 0.

    Raises:
        ValueError: A number is out of range.

    Source:
        R. Koenker and G. Bassett, "Regression quantiles", 1978. The expansion majorizes the loss:
        D. Hunter and K. Lange, "Quantile regression via an MM algorithm", 2000.
    """

    def __init__(self, quantiles: Sequence[float], width: float) -> None:
        if not quantiles or not all(0 < share < 1 for share in quantiles) or not width > 0:
            raise ValueError(
                f"Pinball needs quantiles between 0 and 1 and width above 0, got {quantiles!r} "
                f"and {width!r}."
            )
        self.quantiles, self.width = tuple(quantiles), width

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        residuals = y - outputs
        size = residuals.abs()
        bowl = residuals.square() / (2 * self.width)
        smooth = torch.where(size <= self.width, bowl, size - self.width / 2)
        return (smooth / 2 + self._tilt(outputs) * residuals).mean(-1)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        residuals = y - outputs
        spread = residuals.abs().clamp(min=self.width)
        slope = -residuals / (2 * spread) - self._tilt(outputs)
        root = (4 * spread).rsqrt()
        return _mean(slope / (2 * root), root)

    def check(self, outputs: Tensor, y: Tensor) -> None:
        if outputs.shape[-1] != len(self.quantiles):
            raise ValueError(
                f"Pinball needs an output for each of {len(self.quantiles)} quantiles, got "
                f"{outputs.shape[-1]}."
            )
        super().check(outputs, y if y.shape[-1] > 1 else y.expand(outputs.shape[1:]))

    def _tilt(self, outputs: Tensor) -> Tensor:
        return outputs.new_tensor(self.quantiles) - 0.5


class Poisson(RidgeLoss):
    """Half the deviance of counts `y`, at least 0; outputs are logarithms of their means.

    It is averaged over outputs. Its dispersion is left to the data: counts vary more than Poisson's
    law says, and are learned in units of their mean.
    """

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        half = outputs.exp() - y * outputs - y + torch.xlogy(y, y)
        return (half + self.ridge * outputs.square()).mean(-1)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        means = outputs.exp()
        return self._newton(outputs, means - y, means)


class BinaryCrossEntropy(RidgeLoss):
    """Negative log-likelihood of `y` in [0, 1]; outputs are logits, averaged over outputs."""

    dispersion = 0.5

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        loss = functional.binary_cross_entropy_with_logits(
            outputs, y.to(outputs).expand_as(outputs), reduction="none"
        )
        return (loss + self.ridge * outputs.square()).mean(-1) if self.ridge else loss.mean(-1)

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        one = outputs.sigmoid()
        return self._newton(outputs, one - y, one * (-outputs).sigmoid())


class CrossEntropy(RidgeLoss):
    """Negative log-likelihood of classes; outputs are logits.

    A single output is the logit of the second of two classes. `y` holds class indices `(samples,)`
    or, as floating-point numbers, `(samples, 1)`; or probabilities `(samples, out)`.
    """

    dispersion = 0.5

    def values(self, outputs: Tensor, y: Tensor) -> Tensor:
        if outputs.shape[-1] == 1:
            return BinaryCrossEntropy(self.ridge).values(outputs, y)
        loss = -(self._probabilities(outputs, y) * outputs.log_softmax(-1)).sum(-1)
        return loss + self.ridge * outputs.square().sum(-1) if self.ridge else loss

    def expand(self, outputs: Tensor, y: Tensor) -> Local:
        if outputs.shape[-1] == 1:
            return BinaryCrossEntropy(self.ridge).expand(outputs, y)
        chance = outputs.softmax(-1).clamp(min=MIN_CURVATURE)
        slope = chance - self._probabilities(outputs, y)
        if self.ridge:
            half = torch.diag_embed(chance / 2 + self.ridge)
            half = half - chance.unsqueeze(-1) * chance.unsqueeze(-2) / 2
            root = torch.linalg.cholesky(half)
            slope = (slope + 2 * self.ridge * outputs).unsqueeze(-1)
            residuals = torch.linalg.solve_triangular(root, slope / 2, upper=False)
            return Local(residuals.squeeze(-1), root)
        # The Hessian diag(p) - p p' is S S' with S = diag(s) - p s', s the square root of p.
        roots = chance.sqrt()
        whole = torch.diag_embed(roots) - chance.unsqueeze(-1) * roots.unsqueeze(-2)
        return Local(slope / (roots * 2**0.5), whole / 2**0.5)

    def check(self, outputs: Tensor, y: Tensor) -> None:
        classes = max(2, outputs.shape[2])
        if y.ndim > 1 and y.shape[1] > 1:
            super().check(outputs, y)
        elif (y.ndim == 1 and y.is_floating_point()) or len(y) != outputs.shape[1]:
            raise ValueError(
                f"CrossEntropy needs y to be {outputs.shape[1]} whole numbers, one class for each "
                f"sample, got {len(y)} of {y.dtype}."
            )
        elif len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
            raise ValueError(
                f"CrossEntropy needs classes from 0 to {classes - 1}, one for each "
                f"output, got {int(y.min())} to {int(y.max())}."
            )

    @staticmethod
    def _probabilities(outputs: Tensor, y: Tensor) -> Tensor:
        if y.ndim > 1 and y.shape[-1] > 1:
            return y.to(outputs)
        indices = y.unsqueeze(-1) if y.ndim == 1 else y
        return (indices == torch.arange(outputs.shape[-1], device=y.device)).to(outputs)


def _mean(residuals: Tensor, root: Tensor) -> Local:
    """Turns the sum over outputs into their mean."""
    share = residuals.shape[-1] ** -0.5
    return Local(share * residuals, share * root)
