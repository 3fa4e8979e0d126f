"""Bootstrap intervals of a median and of the ratio of two, from a few seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Fewer get no interval: with three paired seeds, a quarter of equal settings would seem to differ
# (benchmarks/intervals.py).
MIN_SEEDS = 5
MAX_DRAWN = 2_000_000  # values drawn at once, which bounds the memory


class Interval(NamedTuple):
    """From `low` to `high`, both included."""

    low: float
    high: float


class Effect(NamedTuple):
    """The median of one group compared with that of the first, as ratio or difference."""

    value: float
    interval: Interval | None  # None if a group has too few seeds
    paired: bool  # whether seeds were drawn together
    is_ratio: bool

    @property
    def visible(self) -> bool | None:
        """Whether the interval excludes equality; None without an interval."""
        if self.interval is None:
            return None
        return not self.interval.low <= float(self.is_ratio) <= self.interval.high


@dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals, with a share `level` of the resampled medians of seeds.

    The same values give the same interval, whatever else is reported.
    """

    level: float
    resamples: int
    seed: int

    def medians(self, values: Values, stream: int = 0) -> Values:
        """Medians of resamples, `(seeds,)` -> `(resamples,)`.

        Groups with the same number of seeds draw the same seeds in the same stream, which pairs
        them, and independent ones in different streams.
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
        """The ends between which `level` of the samples lie, with as many on either side."""
        tail = (1 - self.level) / 2
        low, high = np.quantile(samples, [tail, 1 - tail])
        return Interval(float(low), float(high))


@dataclass
class Sample:
    """The values of one group `(seeds,)`, with the medians of their resamples."""

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
        """Its median compared with that of `first`: their ratio, or else their difference.

        `paired` means that both have the same seeds in the same order, which are drawn together.
        """
        compare = np.divide if is_ratio else np.subtract
        value = float(compare(np.median(self.values), np.median(first.values)))
        if self.medians is None or first.medians is None:
            return Effect(value, None, paired, is_ratio)
        own = self.medians if paired else self.bootstrap.medians(self.values, stream=1)
        interval = self.bootstrap.interval(compare(own, first.medians))
        return Effect(value, interval, paired, is_ratio)
