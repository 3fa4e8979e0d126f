"""What every source of data promises to the training: three splits, their names and scales."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from kan_exp.data.checks import check_batch_size, check_whole
from kan_exp.data.points import Scaling, Split

HALF = Fraction(1, 2)
KNOWN_DRAWS = 4  # of a loader's last


class ChunkLoader:
    """Mini-batches stacked into chunks, so that a trainer's loop turns once for many steps.

    One pass yields the chunks of one evaluation interval: `x` `(steps, batch, in)` and `y`
    `(steps, batch, 1)`, drawn without replacement until every point has had its turn. The passes go
    on where the last one stopped, until `total_steps` are spent. With several generators a chunk
    has an axis of replicas, `(steps, replicas, batch, in)`: each sees the points in an order of its
    own, the same as if it were alone.

    Args:
        split: Standardised points.
        batch_size: Points per step; `None`, or more than there are, takes all of them each time.
        total_steps: Optimizer steps of the whole run.
        chunk_steps: Steps per chunk.
        interval_steps: Steps per pass. Of a fraction, pass k ends at the step nearest to k times
            this, so that passes are as even as can be.
        generators: Where the order of the points comes from, one for each replica.
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
        # A trainer draws a chunk ahead of the one it trains on: what is known of the last draws.
        self._marks: deque[dict[str, Any]] = deque([self._mark()], maxlen=KNOWN_DRAWS)

    def to(self, device: torch.device) -> ChunkLoader:
        """Moves the points, once; only indices travel after that."""
        self.split = Split(self.split.x.to(device), self.split.y.to(device))
        return self

    def __iter__(self) -> Iterator[Split]:
        left = self._pass_end(self.steps_drawn) - self.steps_drawn  # also of a pass that goes on
        while left > 0:
            steps = min(self.chunk_steps, left)
            left -= steps
            self.steps_drawn += steps
            replicas = len(self.generators)
            lead = (steps,) if replicas == 1 else (steps, replicas)
            if self.batch_size == len(self.split.x):
                self._marks.append(self._mark())
                yield Split(*(part.expand(*lead, *part.shape) for part in self.split))
                continue
            drawn = [self._draw(k, steps * self.batch_size) for k in range(replicas)]
            index = torch.stack(drawn).view(replicas, steps, self.batch_size).transpose(0, 1)
            index = index.reshape(*lead, self.batch_size).to(self.split.x.device)
            self._marks.append(self._mark())
            yield Split(self.split.x[index], self.split.y[index])

    def _pass_end(self, steps: int) -> int:
        """The last step of the pass that contains step `steps + 1`."""
        number = math.ceil((steps + HALF) / self.interval_steps)
        return min(math.floor(number * self.interval_steps + HALF), self.total_steps)

    def share(self, steps: int) -> Fraction | None:
        """The share of passes that are complete after `steps`; None within a pass."""
        number = math.ceil((steps - HALF) / self.interval_steps)
        if steps != min(math.floor(number * self.interval_steps + HALF), self.total_steps):
            return None
        return min(number * self.interval_steps / self.total_steps, Fraction(1))

    def _draw(self, replica: int, count: int) -> Tensor:
        parts = [self._orders[replica]]
        while sum(map(len, parts)) < count:
            self._sources[replica] = self.generators[replica].get_state()
            parts.append(torch.randperm(len(self.split.x), generator=self.generators[replica]))
        order = torch.cat(parts)
        self._orders[replica] = order[count:]
        return order[:count]

    def _mark(self) -> dict[str, Any]:
        """Where the loader is: an order is known by the generator's state before it was drawn."""
        left = len(self._orders[0]) if self._orders else 0
        return {"steps": self.steps_drawn, "left": left, "sources": list(self._sources)}

    def position(self, steps: int) -> dict[str, Any] | None:
        """Where the loader was when so many steps had been drawn, in plain containers.

        Nothing where that was no end of a chunk, or long ago.
        """
        mark = next((mark for mark in self._marks if mark["steps"] == steps), None)
        return mark and {**mark, "sources": torch.stack(mark["sources"])}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Draws from now on what it drew after this position."""
        self.steps_drawn = position["steps"]
        points, left = len(self.split.x), position["left"]
        for k, (generator, source) in enumerate(
            zip(self.generators, position["sources"], strict=True)
        ):
            self._sources[k] = source.clone()  # torch 2.13 reads a view from its storage's start
            generator.set_state(self._sources[k])
            if self.batch_size < points and self.steps_drawn:
                self._orders[k] = torch.randperm(points, generator=generator)[points - left :]
        self._marks = deque([self._mark()], maxlen=KNOWN_DRAWS)


class WholeSplit:
    """A loader whose only batch is a whole split."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __iter__(self) -> Iterator[Split]:
        yield self.split

    def __len__(self) -> int:
        return 1


class ExperimentData(LightningDataModule, ABC):
    """Train, validation and test points of one experiment, and how they are fed.

    A subclass fills `train`, `val` and `test` (see `Split`), `scaling`, `features` and
    `target_name` in its constructor, and says in `summary` what it took. All points are in the
    user's own units; only what `plan` feeds to the training is standardised.

    Args:
        seed: Decides which points are drawn or which rows go to which split.
    """

    features: tuple[str, ...]
    target_name: str
    train: Split
    val: Split
    test: Split
    scaling: Scaling

    def __init__(self, seed: int) -> None:
        super().__init__()
        check_whole("data.seed", seed, least=0)
        self.seed = seed

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line: what was read or drawn, and how much of it."""

    @property
    def noise_free(self) -> bool:
        """Whether the output is an exact function of the inputs, so that it can be found."""
        return False

    @property
    def data_warnings(self) -> list[str]:
        """Lines about what may make the result worth less than it seems; mostly none."""
        return []

    def true_edges(self, x: Tensor) -> list[Tensor]:
        """Per layer the known true edges at `x` `(n, in)`, each `(n, edges)`; empty if unknown."""
        return []

    @property
    def bounds(self) -> Tensor:
        """Least and greatest value of each input, `(in, 2)`: those of the training points."""
        return torch.stack([self.train.x.amin(0), self.train.x.amax(0)], dim=1)

    @property
    def fingerprint(self) -> str:
        """A digest of the test points, by which a later scoring knows that they are the same."""
        return _digest(self.test)

    @cached_property
    def training_fingerprint(self) -> str:
        """A digest of the points that a training sees, by which it goes on with the same only."""
        return _digest(self.train, self.val)

    def plan(
        self,
        batch_size: int | None,
        steps: int,
        chunk_steps: int,
        evaluations: int,
        *generators: torch.Generator,
    ) -> None:
        """Decides how the training points are fed: `evaluations` passes of `steps` in all.

        Each ends with a validation. The passes are as even as can be, and never more than steps.
        Where several generators are given, chunks have an axis of replicas (see `ChunkLoader`).

        Raises:
            KanExpError: `batch_size` is below 1.
        """
        check_batch_size(batch_size)
        split = self.scaling.standardise(self.train)
        interval = Fraction(steps, max(1, min(evaluations, steps)))
        self._loader = ChunkLoader(split, batch_size, steps, chunk_steps, interval, *generators)

    def share(self, steps: int) -> Fraction | None:
        """The share of the run that is over at the validation after `steps`.

        It is k/n for the k-th of n validations, whatever the length of the run. None if no
        validation takes place at this step.
        """
        return self._loader.share(steps)

    def position(self, steps: int) -> dict[str, Any] | None:
        """Where the feeding is after so many steps, see `ChunkLoader`."""
        return self._loader.position(steps)

    def restore(self, position: Mapping[str, Any]) -> None:
        """Feeds what came after a position; to be called once all is planned."""
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
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()
