"""How well a median, and the ratio of two, is known from a few seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Of fewer nothing is said: of three, paired, a quarter of equal settings would seem to differ
# (benchmarks/intervals.py).
MIN_SEEDS = 5
MAX_DRAWN = 2_000_000  # values drawn at once, which bounds the memory


class Interval(NamedTuple):
    """From `low` to `high`, both included."""

    low: float
    high: float

    def includes(self, value: float) -> bool:
        """Whether the value lies in it."""
        return self.low <= value <= self.high


class Effect(NamedTuple):
    """How one group's median stands to the first's.

    `value` is their ratio, or, where values are not all positive, their difference; `interval` is
    None where a group has too few seeds; `paired` tells whether seeds were drawn together.
    """

    value: float
    interval: Interval | None
    paired: bool
    is_ratio: bool

    @property
    def visible(self) -> bool | None:
        """Whether the interval leaves out "the same"; None if there is none."""
        return None if self.interval is None else not self.interval.includes(float(self.is_ratio))


@dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals from resampled seeds.

    Draws come from generators of a fixed start: the same values give the same interval, whatever
    else is reported.

    Args:
        level: Share of resamples that lie in the interval, such as 0.95.
        resamples: How many are drawn.
        seed: Start of the generators.
    """

    level: float
    resamples: int
    seed: int

    def medians(self, values: Values, stream: int = 0) -> Values:
        """Medians of resamples, `(seeds,)` -> `(resamples,)`.

        Groups of as many seeds are drawn alike in the same stream, which pairs their seeds, and
        independently in different streams.
        """
        count = len(values)
        generator = np.random.default_rng([self.seed, stream])
        rows = max(1, MAX_DRAWN // count)
        parts = []
        for start in range(0, self.resamples, rows):
            drawn = generator.integers(count, size=(min(rows, self.resamples - start), count))
            ordered = np.sort(values[drawn], axis=1)  # several times as fast as np.median
            parts.append((ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2)
        return np.concatenate(parts)

    def interval(self, samples: Values) -> Interval:
        """Between which ends `level` of the samples lie, with as many on either side."""
        tail = (1 - self.level) / 2
        low, high = np.quantile(samples, [tail, 1 - tail])
        return Interval(float(low), float(high))


@dataclass
class Sample:
    """The values of one group, `(seeds,)`, with what resampling them gives."""

    values: Values
    bootstrap: Bootstrap

    def __post_init__(self) -> None:
        enough = len(self.values) >= MIN_SEEDS
        self.medians = self.bootstrap.medians(self.values) if enough else None

    @property
    def interval(self) -> Interval | None:
        """Of the median; None for fewer than `MIN_SEEDS` values."""
        return None if self.medians is None else self.bootstrap.interval(self.medians)

    def against(self, first: Sample, paired: bool, is_ratio: bool) -> Effect:
        """How its median stands to that of `first`.

        Args:
            first: What it is held against; if a ratio is wanted, both have positive values.
            paired: Whether both have the same seeds in the same order, which are drawn together.
            is_ratio: The ratio of medians, else their difference.
        """
        ends = np.array([np.median(self.values)]), np.array([np.median(first.values)])
        value = float(_stand(*ends, is_ratio)[0])
        if self.medians is None or first.medians is None:
            return Effect(value, None, paired, is_ratio)
        own = self.medians if paired else self.bootstrap.medians(self.values, stream=1)
        samples = _stand(own, first.medians, is_ratio)
        return Effect(value, self.bootstrap.interval(samples), paired, is_ratio)


def _stand(other: Values, first: Values, is_ratio: bool) -> Values:
    return other / first if is_ratio else other - first
