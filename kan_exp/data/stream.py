"""Tables that are streamed from disk: statistics in a first pass, mini-batches in further ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kan_exp.data.base import ChunkLoader, ExperimentData
from kan_exp.data.columns import FloatArray, shown
from kan_exp.data.data_warnings import few_rows, same_as_target
from kan_exp.data.large_table import BLOCK, LargeTable
from kan_exp.data.points import Scaling, Split
from kan_exp.data.split_options import MIN_TRAIN, check_fractions
from kan_exp.data.table import scale_fault_of
from kan_exp.errors import KanExpError
from kan_exp.lazy import polars as pl
from kan_exp.runs.printable import counted

# Training rows that stand for all, such as for the linear model; up to twice as many.
SAMPLE = 50_000
MIN_MEMORY = 10_000_000
FLOAT, DOUBLE = 4, 8  # bytes


class Moments:
    """Means, variances and ranges of columns, gathered block by block.

    Source:
        T. Chan, G. Golub and R. LeVeque, "Algorithms for computing the sample variance", 1983.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(columns), np.zeros(columns)
        self.low, self.high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values: FloatArray) -> None:
        """Adds rows `(rows, columns)`."""
        if not len(values):
            return
        count, mean = len(values), values.mean(0)
        total, shift = self.count + count, mean - self.mean
        self.squares += ((values - mean) ** 2).sum(0) + shift**2 * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total
        self.low = np.minimum(self.low, values.min(0))
        self.high = np.maximum(self.high, values.max(0))

    @property
    def std(self) -> FloatArray:
        return np.sqrt(self.squares / max(self.count, 1))


class _Sample:
    """A sample of the training rows: those with the lowest chances, in their order.

    Args:
        held: Rows of lower chances are not for training.

    Attributes:
        parts: Arrays or frames of rows.
    """

    def __init__(self, held: float) -> None:
        self.held, self.most = held, 1.0
        self.parts: list[Any] = []
        self._chances: list[FloatArray] = []

    def add(self, rows: Any, chance: FloatArray) -> None:
        """Adds rows, an array or a frame, with a number in [0, 1) for each."""
        chosen = (chance >= self.held) & (chance < self.most)
        self.parts.append(rows[np.flatnonzero(chosen)])
        self._chances.append(chance[chosen])
        while sum(map(len, self.parts)) > 2 * SAMPLE:
            self.most = self.held + (self.most - self.held) / 2
            kept = [np.flatnonzero(each < self.most) for each in self._chances]
            self.parts = [rows[places] for rows, places in zip(self.parts, kept, strict=True)]
            self._chances = [each[each < self.most] for each in self._chances]


class StreamData(ExperimentData):
    """Rows of a table that need not fit into memory.

    A first pass over the files checks every field and measures the training rows; where columns are
    not all numbers, it follows one that fits their kinds to a sample of the training rows. Training
    rows that fit into half of `memory` as float32 are kept there; otherwise every further pass
    reads them again, and shuffles them in a buffer of that size. `train` is a sample of them.

    Args:
        path: See `LargeTable` for this, `target`, `features`, `separator` and `missing`.
        fractions: Of the rows for training, validation and test; the last two are kept in memory.
        seed: Decides which rows go where.
        memory: Bytes for rows.

    Raises:
        KanExpError: As `LargeTable` does; a column has no scale, there are too few rows, or those
            for validation and test do not fit.
    """

    def __init__(
        self,
        path: str,
        target: str | Sequence[str] | None,
        features: Sequence[str] | None,
        fractions: Sequence[float],
        seed: int,
        separator: str,
        memory: float,
        missing: str = "error",
    ) -> None:
        super().__init__(seed)
        _, val, test = check_fractions(fractions)
        if isinstance(memory, bool) or not memory >= MIN_MEMORY:
            raise KanExpError(f"data.memory must be at least {MIN_MEMORY:,} bytes, got {memory!r}.")
        self.table = LargeTable(path, target, features, separator, missing)
        self.memory, self._held = memory, (test, test + val)
        if not self.table.is_plain:
            self._fit()
        self.schema = self.table.schema
        self._width = len(self.schema.features)
        self._columns = (*self.schema.features, *self.schema.targets)
        self._measure()
        self._check()
        moments, width = self._moments, self._width
        mean, std = (torch.from_numpy(part) for part in (moments.mean, moments.std))
        self.scaling = Scaling(mean[:width], std[:width], mean[width:], std[width:])

    def _chances(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Blocks of all rows, and a number in [0, 1) for each row that decides where it goes."""
        draws = np.random.default_rng(self.seed)
        for block in self.table.blocks():
            yield block, draws.random(len(block))

    def _fit(self) -> None:
        """Fits the kinds of the columns to a sample of the training rows."""
        draws, sample = np.random.default_rng(self.seed), _Sample(self._held[1])
        for frame in self.table.frames():
            sample.add(frame, draws.random(len(frame)))
        self.table.fit(pl.concat(sample.parts))

    def _measure(self) -> None:
        """The first pass."""
        test, held = self._held
        self._moments, sample = Moments(len(self._columns)), _Sample(held)
        parts: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        size = 0
        for values, chance in self._chances():
            parts[0].append(values[chance < test])
            parts[1].append(values[(chance >= test) & (chance < held)])
            size += len(parts[0][-1]) + len(parts[1][-1])
            if size * values.shape[1] * DOUBLE > self.memory / 2:
                raise KanExpError(
                    f"{self.table.source}: its rows for validation and test take more than half of "
                    f"data.memory={self.memory:g}: lower their data.fractions, or raise it."
                )
            self._moments.add(values[chance >= held])
            sample.add(values, chance)
        self.test, self.val = (self._split(np.concatenate(part)) for part in parts)
        self.train = self._split(np.concatenate(sample.parts))

    def _split(self, values: FloatArray) -> Split:
        return Split(
            *torch.from_numpy(values).split([self._width, values.shape[1] - self._width], 1)
        )

    def _check(self) -> None:
        moments, source = self._moments, self.table.source
        for part, name in ((self.val, "validation"), (self.test, "test")):
            if not len(part.x) or moments.count < MIN_TRAIN:
                raise KanExpError(
                    f"{source}: has {self.rows:,} rows, which leave {len(part.x)} for the {name} "
                    f"and {moments.count} for training: raise their data.fractions, or use "
                    f"data=table."
                )
        measured = zip(self._columns, moments.low, moments.high, moments.std, strict=True)
        for name, low, high, std in measured:
            if fault := scale_fault_of(name, low, high, std):
                raise KanExpError(
                    f"{source}: column {shown(name)} has {fault.kind} in its training rows "
                    f"({fault.example}): leave it out of data.features or data.target."
                )

    @property
    def rows(self) -> int:
        return self._moments.count + len(self.val.x) + len(self.test.x)

    @property
    def buffer_rows(self) -> int:
        """Training rows that are in memory at once."""
        most = int(self.memory / 2 / (FLOAT * len(self._columns)))
        return min(self._moments.count, most)

    @property
    def summary(self) -> str:
        count, buffer = len(self.table.files), self.buffer_rows
        files = f" in {count} files" if count > 1 else ""
        kept = "" if buffer == self._moments.count else f", through a buffer of {buffer:,} rows"
        return (
            f"{self.table.source}: {self.rows:,} rows{files}, {counted(self._width, 'feature')} -> "
            f"{self.target_name}; {self._moments.count:,} train, {len(self.val.x):,} validation, "
            f"{len(self.test.x):,} test{kept}"
        )

    @property
    def data_warnings(self) -> list[str]:
        return [*same_as_target(self.schema, self.train), *few_rows(len(self.test.x))]

    @property
    def bounds(self) -> Tensor:
        ends = np.stack([self._moments.low, self._moments.high], axis=1)
        return torch.from_numpy(ends[: self._width])

    @cached_property
    def training_fingerprint(self) -> str:
        moments = self._moments
        parts = [np.array([float(moments.count)]), moments.mean, moments.squares]
        parts += [moments.low, moments.high]
        return hashlib.sha256(np.concatenate(parts).tobytes()).hexdigest()

    def training_rows(self) -> Iterator[Tensor]:
        """The standardized training rows in their order, blocks `(rows, in + out)` of float32."""
        for values, chance in self._chances():
            split = self.scaling.standardize(self._split(values[chance >= self._held[1]]))
            yield torch.cat([split.x, split.y], 1)

    def _make_loader(
        self,
        batch_size: int | None,
        passes: tuple[int, int, Fraction],
        generators: Sequence[torch.Generator],
    ) -> ChunkLoader:
        count, buffer = self._moments.count, self.buffer_rows
        if buffer == count:
            rows = torch.empty(count, len(self._columns))
            place = 0
            for block in self.training_rows():
                rows[place : place + len(block)] = block
                place += len(block)
            split = Split(rows[:, : self._width], rows[:, self._width :])
            return ChunkLoader(split, batch_size, *passes, *generators)
        if batch_size is None or batch_size > buffer or len(generators) > 1:
            raise KanExpError(
                f"{self.table.source}: {count:,} training rows do not fit into "
                f"data.memory={self.memory:g}, so that they are trained on in mini-batches, by one "
                f"seed at a time: set batch_size, optimizer=adam and replicas=1, or raise it."
            )
        (generator,) = generators
        size = (self._width, len(self._columns) - self._width)
        return StreamLoader(self.training_rows, size, buffer, batch_size, *passes, generator)


class StreamLoader(ChunkLoader):
    """A `ChunkLoader` of rows that are read again in every epoch, through a shuffle buffer.

    The buffer is filled first. Then each block of rows that is read takes the place of rows that
    are drawn from it, and at the end the rest is drawn.

    Args:
        read: The rows of an epoch, blocks `(rows, in + out)`.
        widths: Number of inputs and of outputs.
        buffer: Rows of the buffer.
        batch_size: Points per step, not more than these.
        others: See `ChunkLoader`, as for those that follow.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[Tensor]],
        widths: tuple[int, int],
        buffer: int,
        batch_size: int,
        *others: Any,
    ) -> None:
        self.read, self.widths, self.buffer = read, widths, buffer
        self._left = torch.empty(0, sum(widths))  # rows of the present epoch that wait
        self._given = 0  # rows of it that were drawn, those that wait included
        self._epoch: Iterator[Tensor] = iter(())
        self._device = torch.device("cpu")
        super().__init__(
            Split(*torch.empty(batch_size, sum(widths)).split(widths, 1)), None, *others
        )

    def to(self, device: torch.device) -> StreamLoader:
        self._device = device
        return self

    def _chunk(self, steps: int) -> Split:
        rows = self._take(steps * self.batch_size).view(steps, self.batch_size, -1)
        return Split(*rows.to(self._device).split(self.widths, 2))

    def _take(self, count: int) -> Tensor:
        parts, missing = [], count
        while missing > len(self._left):
            parts.append(self._left)
            missing -= len(self._left)
            block = next(self._epoch, None)
            if block is None:
                block = self._begin()
            self._left, self._given = block, self._given + len(block)
        parts.append(self._left[:missing])
        self._left = self._left[missing:]
        return torch.cat(parts)

    def _begin(self) -> Tensor:
        """Begins an epoch; its first rows."""
        self._sources = [self.generators[0].get_state()]
        self._given = 0
        self._epoch = self._shuffled(self.generators[0])
        return next(self._epoch)

    def _shuffled(self, generator: torch.Generator) -> Iterator[Tensor]:
        """The rows of an epoch in another order."""
        buffer, filled = torch.empty(self.buffer, sum(self.widths)), 0
        # A permutation of the whole buffer for each block would take longer than reading it.
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        for block in self.read():
            first = min(self.buffer - filled, len(block))
            buffer[filled : filled + first] = block[:first]
            filled += first
            for rows in block[first:].split(self.buffer):
                places = torch.from_numpy(draws.choice(self.buffer, len(rows), replace=False))
                drawn = buffer[places]
                buffer[places] = rows
                yield drawn
        yield from buffer[:filled][torch.randperm(filled, generator=generator)].split(BLOCK)

    def _mark(self) -> dict[str, Any]:
        drawn = self._given - len(self._left)
        return {"steps": self.steps_drawn, "left": drawn, "sources": list(self._sources)}

    def restore(self, position: Mapping[str, Any]) -> None:
        self.steps_drawn = position["steps"]
        (source,) = position["sources"]
        self.generators[0].set_state(source.clone())
        self._left, self._given = self._left[:0], 0
        if self.steps_drawn:
            self._left = self._begin()
            self._given = len(self._left)
            for start in range(0, position["left"], BLOCK):  # the whole may not fit into memory
                self._take(min(BLOCK, position["left"] - start))
        self._marks.clear()
        self._marks.append(self._mark())
