"""Base class of data sources: three splits, their columns and scaling, and mini-batches."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from kan_exp.data.checks import check_batch_size, check_whole
from kan_exp.data.points import Scaling, Split
from kan_exp.data.schema import Schema

HALF = Fraction(1, 2)
KNOWN_MARKS = 4  # the last ones


class ChunkLoader:
    """Mini-batches stacked into chunks, so that a trainer's loop turns once for many steps.

    One pass yields the chunks of one evaluation interval: `x` `(steps, batch, in)`, `y`
    `(steps, batch, out)` and, where points have weights, `weight` `(steps, batch)`, drawn without
    replacement until every point has been drawn. A pass begins where the last one ended, until
    `total_steps` are spent. With several generators a chunk has an axis of replicas, `(steps,
    replicas, batch, in)`: each replica has an order of its own, the same as if it were trained
    alone.

    Args:
        split: Standardized points.
        batch_size: Points per step; `None`, or more than there are, takes all of them each time.
        total_steps: Optimizer steps of the whole run.
        chunk_steps: Steps per chunk.
        interval_steps: Steps per pass. If it is a fraction, pass k ends at the step nearest to k
            times this.
        generators: Decide the order of the points, one for each replica.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int | None,
        total_steps: int,
        chunk_steps: int,
        interval_steps: int | Fraction,
        *generators: torch.Generator,
    ) -> None:
        self.split = split
        points = len(split.x)
        self.batch_size = points if batch_size is None else min(batch_size, points)
        self.total_steps = total_steps
        self.chunk_steps = chunk_steps
        self.interval_steps = Fraction(interval_steps)
        self.generators = generators
        self.steps_drawn = 0
        self._orders = [torch.empty(0, dtype=torch.long)] * len(generators)
        self._sources = [generator.get_state() for generator in generators]  # of these orders
        # A trainer draws a chunk ahead of the one it trains on.
        self._marks: deque[dict[str, Any]] = deque([self._mark()], maxlen=KNOWN_MARKS)

    def to(self, device: torch.device) -> ChunkLoader:
        """Moves the points, once; only indices travel after that."""
        self.split = self.split.map(lambda part: part.to(device))
        return self

    def __iter__(self) -> Iterator[Split]:
        end = self._pass_end(math.ceil((self.steps_drawn + HALF) / self.interval_steps))
        while (steps := min(self.chunk_steps, end - self.steps_drawn)) > 0:
            self.steps_drawn += steps
            chunk = self._chunk(steps)
            self._marks.append(self._mark())
            yield chunk

    def _chunk(self, steps: int) -> Split:
        replicas = len(self.generators)
        lead = (steps,) if replicas == 1 else (steps, replicas)
        if self.batch_size == len(self.split.x):
            return self.split.expand(*lead)
        drawn = [self._draw(k, steps * self.batch_size) for k in range(replicas)]
        orders = [order.view(steps, self.batch_size) for order in drawn]
        index = torch.stack(orders, 1).view(*lead, self.batch_size)
        return self.split.rows(index.to(self.split.x.device))

    def _pass_end(self, number: int) -> int:
        """The last step of a pass, counted from 1."""
        return min(math.floor(number * self.interval_steps + HALF), self.total_steps)

    def share(self, steps: int) -> Fraction | None:
        """The share of passes that are complete after `steps`; None within a pass."""
        number = math.ceil((steps - HALF) / self.interval_steps)
        if steps != self._pass_end(number):
            return None
        return min(number * self.interval_steps / self.total_steps, Fraction(1))

    def _draw(self, replica: int, count: int) -> Tensor:
        parts: list[Tensor] = []
        while count > 0:
            order = self._orders[replica]
            if not len(order):
                self._sources[replica] = self.generators[replica].get_state()
                order = torch.randperm(len(self.split.x), generator=self.generators[replica])
            parts.append(order[:count])
            self._orders[replica] = order[count:]
            count -= len(parts[-1])
        return torch.cat(parts)

    def _mark(self) -> dict[str, Any]:
        """The loader's state; an order is given by the generator's state before it was drawn."""
        left = len(self._orders[0]) if self._orders else 0
        return {"steps": self.steps_drawn, "left": left, "sources": list(self._sources)}

    def position(self, steps: int) -> dict[str, Any] | None:
        """The loader's state after so many steps, in plain containers.

        None if no chunk ended there, or too many have been drawn since.
        """
        mark = next((mark for mark in self._marks if mark["steps"] == steps), None)
        return mark and {**mark, "sources": torch.stack(mark["sources"])}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Continues from a position."""
        self.steps_drawn = position["steps"]
        points, left = len(self.split.x), position["left"]
        for k, (generator, source) in enumerate(
            zip(self.generators, position["sources"], strict=True)
        ):
            self._sources[k] = source.clone()  # torch 2.13 reads a view from its storage's start
            generator.set_state(self._sources[k])
            if self.batch_size < points and self.steps_drawn:
                self._orders[k] = torch.randperm(points, generator=generator)[points - left :]
        self._marks = deque([self._mark()], maxlen=KNOWN_MARKS)


class WholeSplit:
    """A loader whose only batch is a whole split."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __iter__(self) -> Iterator[Split]:
        yield self.split

    def __len__(self) -> int:
        return 1


class ExperimentData(LightningDataModule, ABC):
    """Train, validation and test points of one experiment, and batches of them.

    A subclass sets `schema`, `train`, `val`, `test` and `scaling`. All points are in the user's own
    units; only the batches of `train_dataloader` are standardized. `num_folds` is the number of
    test parts of a cross-validation, 0 if there is none. `units` has those of columns by name,
    which only the search for formulas uses.

    Args:
        seed: Decides which points are drawn or which rows go to which split.
    """

    schema: Schema
    train: Split
    val: Split
    test: Split
    scaling: Scaling
    num_folds: int = 0
    units: Mapping[str, str] = MappingProxyType({})

    def __init__(self, seed: int) -> None:
        super().__init__()
        check_whole("data.seed", seed, least=0)
        self.seed = seed

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self.schema.features

    @property
    def width(self) -> int:
        """How many numbers a network reads."""
        return len(self.features)

    @property
    def read_bounds(self) -> Tensor:
        """Ranges of what a network reads, `(width, 2)`."""
        return self.bounds

    def standardized(self) -> Split:
        """The training points as a network reads them."""
        return self.scaling.standardize(self.train)

    @property
    def target_name(self) -> str:
        return self.schema.target_name

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line: what was read or drawn, and how much of it."""

    @property
    def noise_free(self) -> bool:
        """Whether the output is an exact function of the inputs."""
        return False

    @property
    def data_warnings(self) -> list[str]:
        """Lines about what may make the result worth less than it seems."""
        return []

    def fold(self, number: int) -> ExperimentData:
        """The data of a fold of the cross-validation, from 0."""
        raise NotImplementedError

    def true_edges(self, x: Tensor) -> list[Tensor]:
        """Per layer the known true edges at `x` `(n, in)`, each `(n, edges)`; empty if unknown."""
        return []

    @property
    def bounds(self) -> Tensor:
        """Least and greatest value of each input in training, `(in, 2)`."""
        return torch.stack([self.train.x.amin(0), self.train.x.amax(0)], dim=1)

    @property
    def fingerprint(self) -> str:
        """A digest of the test points, by which `evaluate` recognizes them."""
        return _digest(self.test)

    @cached_property
    def training_fingerprint(self) -> str:
        """A digest of the other points, without which a run cannot be resumed."""
        return _digest(self.train, self.val)

    def plan(
        self,
        batch_size: int | None,
        steps: int,
        chunk_steps: int,
        evaluations: int,
        *generators: torch.Generator,
    ) -> None:
        """Plans the batches of `steps` steps, in `evaluations` passes of nearly equal length.

        Each pass, of at least one step, ends with a validation. See `ChunkLoader`.

        Raises:
            KanExpError: `batch_size` is below 1.
        """
        check_batch_size(batch_size)
        interval = Fraction(steps, max(1, min(evaluations, steps)))
        self._loader = self._make_loader(batch_size, (steps, chunk_steps, interval), generators)

    def _make_loader(
        self,
        batch_size: int | None,
        passes: tuple[int, int, Fraction],
        generators: Sequence[torch.Generator],
    ) -> ChunkLoader:
        """The loader of the training points; `passes` are the steps that `ChunkLoader` takes."""
        split = self.standardized()
        if split.weight is not None:  # of mean one, so that the mean over any batch is unbiased
            split = split._replace(weight=(split.weight / split.weight.mean()).float())
        return ChunkLoader(split, batch_size, *passes, *generators)

    def share(self, steps: int) -> Fraction | None:
        """k/n if the k-th of n validations takes place after `steps`, else None."""
        return self._loader.share(steps)

    def position(self, steps: int) -> dict[str, Any] | None:
        """See `ChunkLoader.position`."""
        return self._loader.position(steps)

    def restore(self, position: Mapping[str, Any]) -> None:
        """Continues from a position, after `plan`."""
        self._loader.restore(position)

    def train_dataloader(self) -> ChunkLoader:
        if self.trainer is not None:
            self._loader.to(self.trainer.strategy.root_device)
        return self._loader

    def val_dataloader(self) -> WholeSplit:
        return WholeSplit(self.val)


def _digest(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for part in split:
            if part is not None:
                digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()
