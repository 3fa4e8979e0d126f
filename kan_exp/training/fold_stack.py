"""Trains the networks of several folds as one stacked network."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from kan_exp.data import ExperimentData, Split
from kan_exp.data.base import WholeSplit
from kan_exp.training.experiment import fit_trainer
from kan_exp.training.module import OBSERVED_POINTS
from kan_exp.training.replicas import ReplicaModule, observe
from kan_exp.training.result import Result, make_result

if TYPE_CHECKING:
    from kan_exp.training.experiment import Experiment

log = logging.getLogger(__name__)


class FoldsModule(ReplicaModule):
    """Trains the networks of folds, each on its own rows and in its own scaling.

    Each network is validated by the module of its fold, and kept by that fold's `BestNetwork`. A
    fold that diverges is frozen; the others train on.

    Args:
        folds: Experiments that differ in their data alone, see `can_stack`.
    """

    def __init__(self, folds: Sequence[Experiment]) -> None:
        first = folds[0].module
        super().__init__(
            copy.deepcopy(first.model),
            first.task,
            [fold.module.model.network for fold in folds],
            0,
            first.optimizer_factory,
            first.scheduler_factory,
            first.penalty,
            first.description,
            constraints=first.constraints,
        )
        self.folds = list(folds)
        self._points = torch.stack(_observed(folds))
        bounds = [fold.module.bounds for fold in folds if fold.module.bounds is not None]
        self.bounds = torch.stack(bounds) if bounds else None

    def _observe(self) -> None:
        observe(self.stack, self._points.to(self.device), self.bounds)

    def validation_step(self, split: Split, _: int) -> None:
        losses = torch.zeros(self.count, dtype=torch.float64)
        state = self.stack.state_dict()
        for replica in self.alive.nonzero().flatten().tolist():
            fold = self.folds[replica]
            for name, part in fold.module.model.network.state_dict().items():
                part.copy_(state[name][replica])
            losses[replica], scores = fold.module.score(fold.data.val)
            if losses[replica].isfinite():
                error = fold.module.primary_error(scores)
                fold.best.see(error, fold.module, fold.data, self.global_step)
        self._undo(self._freeze(losses, self.global_step, "validation loss"))

    def _log_diverged(self, newly: Sequence[int]) -> None:
        """Does nothing: the results of the folds tell."""

    def _record_all(self, losses: Tensor, rate: float, penalties: Mapping[str, Tensor]) -> None:
        """Does nothing: a fold has no curves."""


class _Stacked:
    """A loader of stacked chunks, as `ReplicaModule` takes them.

    The loaders of the folds draw as they do alone.
    """

    def __init__(self, folds: Sequence[ExperimentData]) -> None:
        self.loaders = [data.train_dataloader() for data in folds]

    def __iter__(self) -> Iterator[Split]:
        for chunks in zip(*self.loaders, strict=True):
            x, y, weight = zip(*chunks, strict=True)
            stacked = None if weight[0] is None else torch.stack(weight, 1)
            yield Split(torch.stack(x, 1), torch.stack(y, 1), stacked)


def can_stack(folds: Sequence[Experiment]) -> bool:
    """Whether the networks of folds have the same shapes and constraints, and so have batches."""
    shapes = {
        (
            fold.data.train_dataloader().batch_size,
            fold.data.train.weight is None,
            *fold.module.constraints,
            *(part.shape for part in fold.module.model.network.state_dict().values()),
        )
        for fold in folds
    }
    return len(shapes) == 1


def train_stacked(folds: Sequence[Experiment], trainer: Trainer) -> Iterator[Result]:
    """Trains folds together.

    The results are those of the folds trained one by one, to rounding.

    Args:
        folds: For which `can_stack` is true.
        trainer: Has the callbacks that end a training early.

    Yields:
        The result of each fold; its `train_seconds` is the share of the whole time.
    """
    log.info("%d folds are trained together, as one stacked network", len(folds))
    start = time.perf_counter()
    for fold in folds:
        fold.best.begin(fold.module, fold.data)
    module = FoldsModule(folds)
    data = [fold.data for fold in folds]
    loaders = _Stacked(data), WholeSplit(data[0].val)  # the module validates each fold on its own
    fit_trainer(trainer, module, folds[0].stop, *loaders)
    seconds = round((time.perf_counter() - start) / len(folds), 3)
    for replica, fold in enumerate(folds):
        about: dict[str, Any] = {
            "stopped": "diverged" if replica in module.diverged else "steps",
            "train_seconds": seconds,
        }
        yield make_result(fold.module, fold.data, fold.best.checkpoint, about)


def _observed(folds: Sequence[Experiment]) -> list[Tensor]:
    """The standardized points by which domains are observed, equally many for each fold.

    Where a fold has fewer, its last one is repeated, which leaves their range as it is.
    """
    each = [fold.module.model.standardize(fold.data.train.x[:OBSERVED_POINTS]) for fold in folds]
    rows = torch.arange(max(map(len, each)))
    return [points[rows.clamp(max=len(points) - 1)] for points in each]
