"""Errors of predictions, and their standard errors over the draw of the test points."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kan_exp.data.points import Split

RESAMPLES = 200  # the standard error is then known to 5%
MAX_BLOCKS = 2_000  # resampled units: larger sets are resampled in blocks of points
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Score:
    """Errors of predictions, in the user's units.

    Args:
        rmse: Root mean squared error.
        mae: Mean absolute error.
        r2: Coefficient of determination.
        r: Pearson's correlation.
        max_error: Largest absolute error.
        points: How many points were scored.
    """

    rmse: float
    mae: float
    r2: float
    r: float
    max_error: float
    points: int = field(repr=False, default=0)


UNKNOWN = Score(rmse=math.nan, mae=math.nan, r2=math.nan, r=math.nan, max_error=math.nan)


def score(predicted: Tensor, truth: Tensor) -> Score:
    """Scores predictions `(n, 1)`.

    R2 is 1 for a perfect fit and 0 for the truth's own mean; r is Pearson's correlation, which a
    wrong scale or shift does not lower, and no number where either side is constant.
    """
    predicted, truth = predicted.double(), truth.double()
    error = predicted - truth
    centred, around = truth - truth.mean(), predicted - predicted.mean()
    spread = centred.square().sum()
    unexplained = error.square().sum()
    r2 = 1 - unexplained / spread if spread > 0 else torch.where(unexplained == 0, 1.0, -torch.inf)
    r = (centred * around).sum() / (spread * around.square().sum()).sqrt()
    size = error.abs()
    return Score(
        rmse=error.square().mean().sqrt().item(),
        mae=size.mean().item(),
        r2=float(r2),
        r=r.clamp(-1, 1).item(),
        max_error=size.max().item(),
        points=len(truth),
    )


def rmse_standard_errors(errors: Tensor, generator: torch.Generator) -> Tensor:
    """Bootstrap standard errors of root mean squared errors over the draw of the test points.

    It covers the draw of the test points, not the training. Where a few points make up most of the
    squared error it is itself uncertain, and mostly too small: compare with `Score.max_error`.

    Args:
        errors: `(networks, points)`; all networks are scored on the same resamples.
        generator: Source of the resamples.

    Returns:
        `(networks,)`; NaN for a single point, or where an error is not finite.

    Source:
        B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6.
    """
    points = errors.shape[1]
    if points < 2:
        return errors.new_full((len(errors),), torch.nan, dtype=torch.float64)
    # Sums over blocks of random points vary like the points: the cost does not grow with them.
    blocks = min(points, MAX_BLOCKS)
    block = torch.randperm(points, generator=generator) % blocks
    sizes = block.bincount(minlength=blocks).double()
    drawn = torch.randint(blocks, (RESAMPLES, blocks), generator=generator)
    weights = sizes.new_zeros(drawn.shape)
    weights.scatter_add_(1, drawn, sizes.new_ones(()).expand(drawn.shape))
    resampled = weights @ sizes
    found = []
    for own in errors.double():  # one by one, so that last digits do not depend on the others
        sums = sizes.new_zeros(blocks).index_add_(0, block, own.square())
        found.append((weights @ sums / resampled).sqrt().std())
    return torch.stack(found)


def rmse_standard_error(predicted: Tensor, truth: Tensor, generator: torch.Generator) -> float:
    """`rmse_standard_errors` of one network's predictions `(n, 1)`."""
    errors = (predicted.double() - truth.double()).T
    return rmse_standard_errors(errors, generator).item()


def bootstrap_generator() -> torch.Generator:
    """The source of the resamples by which test errors are reported."""
    return torch.Generator().manual_seed(BOOTSTRAP_SEED)


def finite(value: float) -> float | None:
    """None if not finite, such as R2 of a constant target."""
    return value if math.isfinite(value) else None


def linear_score(train: Split, test: Split) -> Score:
    """Score of the least-squares linear model of the same inputs on the same split."""
    train, test = (Split(part.x.double(), part.y.double()) for part in (train, test))
    mean, std = train.x.mean(0), train.x.std(0)
    std = torch.where(std > 0, std, torch.ones_like(std))

    def design(x: Tensor) -> Tensor:
        return torch.cat([(x - mean) / std, x.new_ones(len(x), 1)], dim=1)

    # gelsd copes with inputs that depend on each other, as columns of real tables do.
    weights = torch.linalg.lstsq(design(train.x).cpu(), train.y.cpu(), driver="gelsd").solution
    return score(design(test.x).cpu() @ weights, test.y.cpu())
