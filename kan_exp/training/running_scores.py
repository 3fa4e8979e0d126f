"""Test metrics of predictions that come a part at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from kan_exp.tasks import Metric, Scoring
from kan_exp.tasks.metrics import STANDARD_ERROR, TEST
from kan_exp.training.score import (
    MAX_BLOCKS,
    bootstrap_error,
    bootstrap_generator,
    finite,
    resamples,
    score_networks,
)

MAX_KEPT = 10**6  # points up to which all are kept


class RunningScores:
    """The metrics of `score_networks` for any number of points.

    Up to `MAX_KEPT` points are kept and scored together. Of more, sums are kept, which most
    metrics are functions of, and the predictions and true values that the others need: those of all
    points for the ROC AUC. Standard errors are then those of sums over random blocks of points.

    Args:
        scoring: The metrics.
    """

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.points = 0
        self._kept: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._sums: _Sums | None = None

    def add(self, predicted: Tensor, truth: Tensor, weight: Tensor | None = None) -> None:
        """Adds predictions `(n, columns)`, true values `(n, out)` and weights `(n,)` of points."""
        self.points += len(truth)
        if not len(truth):
            return
        self._kept.append((predicted.double(), truth.double(), weight))
        if self._sums is None and self.points > MAX_KEPT:
            center = torch.cat([truth for _, truth, _ in self._kept]).mean(0)
            self._sums = _Sums(self.scoring, center)
        if self._sums is not None:
            for part in self._kept:
                self._sums.add(*part)
            self._kept.clear()

    def scores(self) -> dict[str, float | None]:
        """The entries of `metrics.json`."""
        if self._sums is not None:
            return self._sums.scores()
        predicted, truth, weight = zip(*self._kept, strict=True)
        weights = None if weight[0] is None else torch.cat(weight)
        (found,) = score_networks(self.scoring, [torch.cat(predicted)], torch.cat(truth), weights)
        return found


class _Sums:
    """Sums over points, from which metrics are computed.

    Args:
        scoring: The metrics.
        center: Near the true values, `(out,)`: squares of differences from it keep their digits.
    """

    def __init__(self, scoring: Scoring, center: Tensor) -> None:
        self.scoring, self.center = scoring, center
        self.generator = bootstrap_generator()
        self.points = 0
        self.weight = 0.0
        self.sums: dict[str, Tensor] = {}
        self.deciding: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.blocks = torch.zeros(2, MAX_BLOCKS, dtype=torch.float64)  # of terms, and of weights

    def add(self, predicted: Tensor, truth: Tensor, weight: Tensor | None) -> None:
        weights = torch.ones(len(truth), dtype=torch.float64) if weight is None else weight.double()
        self.points += len(truth)
        self.weight += float(weights.sum())
        for metric in self.scoring.metrics:
            if metric.terms is not None:
                terms = metric.terms(predicted, truth) * weights
                self._add_sum(metric, terms.sum())
                if metric is self.scoring.primary:
                    block = torch.randint(MAX_BLOCKS, (len(truth),), generator=self.generator)
                    self.blocks.index_add_(1, block, torch.stack([terms, weights]))
            elif metric.moments is not None:
                shift = self.center if metric.of_differences else 0.0
                self._add_sum(metric, metric.moments(predicted - shift, truth - shift).sum(0))
            else:
                self._decide(metric, predicted, truth)

    def _add_sum(self, metric: Metric, values: Tensor) -> None:
        self.sums[metric.name] = self.sums.get(metric.name, 0.0) + values

    def _decide(self, metric: Metric, predicted: Tensor, truth: Tensor) -> None:
        """Keeps the points by which a metric is decided."""
        kept = self.deciding.setdefault(metric.name, [])
        kept.append((predicted, truth))
        if metric.decisive is not None:
            predicted, truth = map(torch.cat, zip(*kept, strict=True))
            row = metric.decisive(predicted, truth)
            kept[:] = [(predicted[row], truth[row])]

    def scores(self) -> dict[str, float | None]:
        found = {}
        for metric in self.scoring.metrics:
            if metric.terms is not None:
                value = metric.of_mean(self.sums[metric.name] / self.weight)
            elif metric.moments is not None:
                value = metric.of_moments(self.sums[metric.name] / self.points)
            else:
                value = metric.value(*map(torch.cat, zip(*self.deciding[metric.name], strict=True)))
            found[TEST + metric.name] = finite(value.item())
        if (primary := self.scoring.primary).terms is not None:
            drawn = resamples(self.blocks[1], self.generator)
            error = bootstrap_error(primary, drawn, *self.blocks)
            found[self.scoring.judged_by + STANDARD_ERROR] = finite(error)
        return found
