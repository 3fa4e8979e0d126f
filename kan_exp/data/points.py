"""Points, and the scaling that a network sees them through; pure torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """Points in the user's own units: `x` `(n, in)` and `y` `(n, out)`.

    Sampled points are float32. Tables are float64, because a year or a timestamp in float32 loses
    the very digits that vary; `Scaling.standardize` makes float32 of either.
    """

    x: Tensor
    y: Tensor


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
        return Split(x.float(), y.float())


def measure_scaling(split: Split) -> Scaling:
    """Means and standard deviations of a split; a constant output keeps its size."""
    y_std = split.y.std(0, correction=0)
    return Scaling(
        split.x.mean(0),
        split.x.std(0, correction=0),
        split.y.mean(0),
        torch.where(y_std > 0, y_std, torch.ones_like(y_std)),
    )
