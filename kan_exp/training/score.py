"""Standard errors of test metrics over the draw of the test points, and a linear model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kan_exp.data.points import Split
from kan_exp.tasks import Metric, Scoring
from kan_exp.tasks.metrics import STANDARD_ERROR, TEST

RESAMPLES = 200  # the standard error is then known to 5%
MAX_BLOCKS = 2_000  # resampled units: larger sets are resampled in blocks of points
BOOTSTRAP_SEED = 0


def standard_errors(
    metric: Metric, predictions: Sequence[Tensor], truth: Tensor, generator: torch.Generator
) -> list[float]:
    """Bootstrap standard errors of a metric over the draw of the test points.

    It covers the draw of the test points, not the training. Where a few points make up most of the
    squared error it is itself uncertain, and mostly too small: compare with the largest error.

    Args:
        metric: One that is a function of a mean over points.
        predictions: Of each network, `(n, out)`; all are scored on the same resamples.
        truth: `(n, out)`.
        generator: Source of the resamples.

    Returns:
        One for each network; NaN for a single point, or where a prediction is not finite.

    Raises:
        ValueError: The metric is no function of a mean over points.

    Source:
        B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6.
    """
    if metric.terms is None:
        raise ValueError(f"{metric.name} is no function of a mean over points.")
    points = len(truth)
    if points < 2:
        return [math.nan] * len(predictions)
    # Sums over blocks of random points vary like the points: the cost does not grow with them.
    blocks = min(points, MAX_BLOCKS)
    block = torch.randperm(points, generator=generator) % blocks
    sizes = block.bincount(minlength=blocks).double()
    drawn = torch.randint(blocks, (RESAMPLES, blocks), generator=generator)
    weights = sizes.new_zeros(drawn.shape)
    weights.scatter_add_(1, drawn, sizes.new_ones(()).expand(drawn.shape))
    resampled = weights @ sizes
    found = []
    for predicted in predictions:  # one by one, so that last digits do not depend on the others
        terms = metric.terms(predicted.double(), truth.double())
        sums = sizes.new_zeros(blocks).index_add_(0, block, terms)
        found.append(metric.of_mean(weights @ sums / resampled).std().item())
    return found


def bootstrap_generator() -> torch.Generator:
    """The source of the resamples by which test errors are reported."""
    return torch.Generator().manual_seed(BOOTSTRAP_SEED)


def finite(value: float) -> float | None:
    """None if not finite, such as R2 of a constant target."""
    return value if math.isfinite(value) else None


def score_networks(
    scoring: Scoring, predictions: Sequence[Tensor], truth: Tensor
) -> list[dict[str, float | None]]:
    """The entries of `metrics.json` about the test points, for each network's predictions."""
    found = [
        {TEST + name: finite(value) for name, value in scoring.score(predicted, truth).items()}
        for predicted in predictions
    ]
    if scoring.primary.terms:
        errors = standard_errors(scoring.primary, predictions, truth, bootstrap_generator())
        for results, error in zip(found, errors, strict=True):
            results[scoring.judged_by + STANDARD_ERROR] = finite(error)
    return found


def linear_predictions(train: Split, test: Split) -> Tensor:
    """Predictions of the least-squares linear model of the same inputs, `(n, out)`."""
    train, test = (Split(part.x.double(), part.y.double()) for part in (train, test))
    mean, std = train.x.mean(0), train.x.std(0)
    std = torch.where(std > 0, std, torch.ones_like(std))

    def design(x: Tensor) -> Tensor:
        return torch.cat([(x - mean) / std, x.new_ones(len(x), 1)], dim=1)

    # gelsd copes with inputs that depend on each other, as columns of real tables do.
    weights = torch.linalg.lstsq(design(train.x).cpu(), train.y.cpu(), driver="gelsd").solution
    return design(test.x).cpu() @ weights
