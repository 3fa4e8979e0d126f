"""Which rows are for training, validation and test; row numbers alone, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Parts(NamedTuple):
    """Numbers of the rows of each part."""

    train: Rows
    val: Rows
    test: Rows


@dataclass(frozen=True)
class Splitter:
    """Divides rows into parts, in a given order of the rows.

    Rows of a part follow each other in that order, unless they are grouped or stratified.

    Args:
        groups: Number of each row's group, `(rows,)`: no group is in two parts.
        classes: Of each row, `(rows,)`: each part has them in nearly the same proportions.

    Source:
        The names are scikit-learn's: `ShuffleSplit`, `StratifiedShuffleSplit`, `GroupShuffleSplit`,
        and `KFold`, `StratifiedKFold`, `GroupKFold`, `TimeSeriesSplit`.
    """

    groups: Rows | None = None
    classes: Rows | None = None

    def split(self, order: Rows, sizes: Sequence[int]) -> list[Rows]:
        """Parts of about these sizes: exactly, unless groups have to stay whole.

        `order` are the numbers of the rows to divide, such as shuffled; `sizes` sum to their count.
        """
        if self.groups is not None:
            return self._deal(order, sizes)
        if self.classes is not None:
            order = order[self._spread(self.classes[order])]
        return np.split(order, np.cumsum(sizes)[:-1])

    def folds(self, order: Rows, count: int) -> list[Rows]:
        """Divides the rows into so many parts of nearly equal sizes."""
        if self.groups is not None:
            return self._deal(order, [len(order) / count] * count)
        if self.classes is not None:
            by_class = order[np.argsort(self.classes[order], kind="stable")]
            return [by_class[first::count] for first in range(count)]
        return np.array_split(order, count)

    @staticmethod
    def _spread(classes: Rows) -> Rows:
        """Places of the rows such that any first part has about its share of every class."""
        rank = np.empty(len(classes))
        for one in np.unique(classes):
            places = np.flatnonzero(classes == one)
            rank[places] = (np.arange(len(places)) + 0.5) / len(places)
        return np.argsort(rank, kind="stable")

    def _deal(self, order: Rows, sizes: Sequence[float]) -> list[Rows]:
        """Gives whole groups to parts, each to the part that lacks the most rows.

        Groups larger than the smallest part come first, by size, the others in the order of their
        first rows. No part stays empty if there are enough groups.
        """
        assert self.groups is not None
        own = self.groups[order]
        names, first, counts = np.unique(own, return_index=True, return_counts=True)
        large = np.where(counts > min(sizes), counts, 0)
        lacks, empty = list(map(float, sizes)), set(range(len(sizes)))
        part_of = {}
        for left, place in zip(range(len(names), 0, -1), np.lexsort((first, -large)), strict=True):
            open_parts = empty if left <= len(empty) else range(len(sizes))
            part = max(open_parts, key=lambda part: lacks[part])
            part_of[names[place]] = part
            lacks[part] -= counts[place]
            empty.discard(part)
        parts = np.array([part_of[name] for name in names])[np.searchsorted(names, own)]
        return [order[parts == part] for part in range(len(sizes))]


def cross_validation(
    splitter: Splitter, order: Rows, count: int, share: float, *, in_order: bool = False
) -> Iterator[Parts]:
    """The parts of each fold: it is the test part, and the other rows are for training.

    Args:
        splitter: Divides the rows.
        order: Numbers of all rows, shuffled unless `in_order`.
        count: Number of folds.
        share: Part of the other rows that is for validation.
        in_order: Whether a fold is trained on the rows before it alone, as in `TimeSeriesSplit`;
            there is then one more part, the first, that is no fold.
    """
    folds = splitter.folds(order, count + in_order)
    for number in range(in_order, len(folds)):
        before = folds[:number]
        rest = np.concatenate(before) if in_order else order[~np.isin(order, folds[number])]
        train, val = splitter.split(rest, halves(len(rest), share))
        yield Parts(train, val, folds[number])


def halves(rows: int, share: float) -> tuple[int, int]:
    """Numbers of rows for training and for validation, at least one for the latter."""
    val = max(1, round(rows * share))
    return rows - val, val
