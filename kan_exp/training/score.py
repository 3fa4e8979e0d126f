"""Test metrics with their standard errors, and the predictions of a linear model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kan_exp.data.points import Scaling, Split
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.tasks import Metric, Scoring, Task
from kan_exp.tasks.losses import Squared
from kan_exp.tasks.metrics import STANDARD_ERROR, TEST

RESAMPLES = 200  # the standard error is then known to 5%
MAX_BLOCKS = 2_000  # resampled units: larger sets are resampled in blocks of points
BOOTSTRAP_SEED = 0
LINEAR_STEPS = 50


def standard_errors(
    metric: Metric,
    predictions: Sequence[Tensor],
    truth: Tensor,
    generator: torch.Generator,
    weight: Tensor | None = None,
) -> list[float]:
    """Bootstrap standard errors of a metric over the draw of the test points.

    It does not cover the randomness of training. Where a few points dominate the squared error it
    is uncertain and mostly too small: compare with the largest error.

    Args:
        metric: A function of a mean over points (`Metric.terms`).
        predictions: Of each network, `(n, out)`; scored on the same resamples.
        truth: `(n, out)`.
        generator: Draws the resamples.
        weight: Of each point, `(n,)`; `None` for equal weights.

    Returns:
        One for each network; NaN for a single point or non-finite predictions.

    Raises:
        ValueError: The metric is not a function of a mean over points.

    Source:
        B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6.
    """
    if metric.terms is None:
        raise ValueError(f"{metric.name} is not a function of a mean over points.")
    points = len(truth)
    if points < 2:
        return [math.nan] * len(predictions)
    # Sums over random blocks vary like the points, at a cost that does not grow with their number.
    blocks = min(points, MAX_BLOCKS)
    block = torch.randperm(points, generator=generator) % blocks
    given = None if weight is None else weight.double()
    sizes = block.bincount(given, minlength=blocks).double()
    drawn = resamples(sizes, generator)
    errors = []
    for predicted in predictions:  # one by one: the last digits must not depend on the others
        terms = metric.terms(predicted.double(), truth.double())
        terms = terms if given is None else terms * given
        sums = sizes.new_zeros(blocks).index_add_(0, block, terms)
        errors.append(bootstrap_error(metric, drawn, sums, sizes))
    return errors


def resamples(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Counts of each block in each bootstrap resample, `(RESAMPLES, blocks)`."""
    drawn = torch.randint(len(sizes), (RESAMPLES, len(sizes)), generator=generator)
    times = sizes.new_zeros(drawn.shape)
    return times.scatter_add_(1, drawn, sizes.new_ones(()).expand(drawn.shape))


def bootstrap_error(metric: Metric, drawn: Tensor, sums: Tensor, sizes: Tensor) -> float:
    """The standard deviation of a metric over resamples of blocks, see `resamples`.

    `sums` are those of the terms of each block's points, `sizes` those of their weights.
    """
    return metric.of_mean(drawn @ sums / (drawn @ sizes)).std().item()


def bootstrap_generator() -> torch.Generator:
    """The generator of the resamples for reported test errors."""
    return torch.Generator().manual_seed(BOOTSTRAP_SEED)


def finite(value: float) -> float | None:
    """None if not finite, such as R2 of a constant target."""
    return value if math.isfinite(value) else None


def score_networks(
    scoring: Scoring, predictions: Sequence[Tensor], truth: Tensor, weight: Tensor | None = None
) -> list[dict[str, float | None]]:
    """The test metrics of `metrics.json`, for the predictions of each network."""
    each = [scoring.score(predicted, truth, weight=weight) for predicted in predictions]
    scores = [{TEST + name: finite(value) for name, value in one.items()} for one in each]
    if scoring.primary.terms:
        draw = bootstrap_generator()
        errors = standard_errors(scoring.primary, predictions, truth, draw, weight)
        for score, error in zip(scores, errors, strict=True):
            score[scoring.judged_by + STANDARD_ERROR] = finite(error)
    return scores


def linear_predictions(train: Split, test: Split) -> Tensor:
    """Predictions of the least-squares linear model of the same inputs, `(n, out)`."""
    rows, others = _designs(train, test)
    truth = train.y.double().cpu()
    if train.weight is not None:
        share = train.weight.double().sqrt()[:, None].cpu()
        rows, truth = rows * share, truth * share
    # gelsd handles linearly dependent inputs.
    weights = torch.linalg.lstsq(rows, truth, driver="gelsd").solution
    return others @ weights


def linear_predictions_by(
    task: Task, train: Split, test: Split, scaling: Scaling, outputs: int
) -> Tensor:
    """Predictions of the linear model that minimizes a task's loss, `(n, outputs)`.

    Of classes, that is logistic regression. The scaling is that between target and outputs.
    """
    loss = task.loss()
    if isinstance(loss, Squared):
        return linear_predictions(train, test)
    rows, others = _designs(train, test)
    y_mean, y_std = scaling.y_mean.double().cpu(), scaling.y_std.double().cpu()
    y = (train.y.double().cpu() - y_mean) / y_std
    weight = None if train.weight is None else (train.weight / train.weight.mean()).cpu()
    linear = nn.Linear(rows.shape[1], outputs, bias=False).double()
    nn.init.zeros_(linear.weight)
    optimizer = LevenbergMarquardt(linear, loss=loss)
    for _ in range(LINEAR_STEPS):
        optimizer.step(lambda: (rows, y, weight))
        if optimizer.stopped != [None]:
            break
    with torch.no_grad():
        return task.predictions(linear(others), y_mean, y_std)


def _designs(*splits: Split) -> list[Tensor]:
    """Inputs in units of the first split's deviations, and a column of ones."""
    parts = [split.x.double() for split in splits]
    mean, std = parts[0].mean(0), parts[0].std(0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return [torch.cat([(x - mean) / std, x.new_ones(len(x), 1)], dim=1).cpu() for x in parts]
