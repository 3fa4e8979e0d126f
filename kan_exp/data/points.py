"""Points, and the scaling that a network sees them through; pure torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Split(NamedTuple):
    """Points in the user's own units: `x` `(n, in)`, `y` `(n, out)`, and their weights `(n,)`.

    Sampled points are float32. Tables are float64, because a year or a timestamp in float32 loses
    the very digits that vary; `Scaling.standardize` makes float32 of either. Without weights all
    points count alike.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Split:
        """Changes each part that is there."""
        weight = None if self.weight is None else change(self.weight)
        return Split(change(self.x), change(self.y), weight)

    def rows(self, index: Tensor) -> Split:
        """The points at these places, integers in any shape."""
        # An embedding takes a third of the time of indexing.
        return self.map(
            lambda part: functional.embedding(index, part) if part.ndim == 2 else part[index]
        )

    def expand(self, *lead: int) -> Split:
        """The points repeated along leading dimensions, without copies."""
        return self.map(lambda part: part.expand(*lead, *part.shape))

    def unbind(self) -> Iterator[Split]:
        """Its slices along the first dimension."""
        weights = repeat(None) if self.weight is None else self.weight.unbind()
        return map(Split, self.x.unbind(), self.y.unbind(), weights)


class Scaling(NamedTuple):
    """Mean and standard deviation of the inputs `(in,)` and of the outputs `(out,)`."""

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor
    y_std: Tensor

    def standardize(self, split: Split) -> Split:
        """The points in units of these deviations from these means, float32.

        The means are subtracted in the split's own precision; only the difference is rounded.
        """
        x = (split.x - self.x_mean) / self.x_std
        y = (split.y - self.y_mean) / self.y_std
        return Split(x.float(), y.float(), split.weight)

    def standardize_bounds(self, bounds: Tensor) -> Tensor:
        """Ranges `(in, 2)` of the inputs in units of their deviations, float64."""
        return ((bounds.double().T - self.x_mean) / self.x_std).T


def measure_scaling(split: Split) -> Scaling:
    """Weighted means and standard deviations of a split; a constant column keeps its size."""
    return Scaling(*_moments(split.x, split.weight), *_moments(split.y, split.weight))


def _moments(values: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    if weight is None:
        mean, std = values.mean(0), values.std(0, correction=0)
    else:
        share = (weight / weight.sum())[:, None]
        mean = (share * values).sum(0)
        std = (share * (values - mean).square()).sum(0).sqrt()
    return mean, torch.where(std > 0, std, torch.ones_like(std))
