"""Points drawn from a target function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kan_exp.data.base import ExperimentData
from kan_exp.data.checks import check_sampled
from kan_exp.data.points import Scaling, Split, measure_scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError
from kan_exp.targets import Target
from kan_exp.targets.formula import quote

MAX_TEXT = 200  # characters of a formula that a summary shows
# Largest error of float32 that a value may have, in standard deviations of the values.
MAX_ROUNDING = 1e-3
# Relative range up to which values in float64 are those of a constant.
CONSTANT = 1e-15


class SampledData(ExperimentData):
    """Points drawn from a target's domain.

    Validation and test points are uniform. A fraction of the training points lies on the border of
    the domain: between the outermost uniform points and the border a network would extrapolate, and
    a few test points there would cause most of its error.

    Noise of the target is added to the training and validation values only: the test measures the
    distance to the function itself.

    Args:
        target: The function with its domain.
        num_train: Training points.
        num_val: Validation points.
        num_test: Test points.
        seed: Decides the points and the noise.
        border: Fraction of each input's training values that are moved to an end of its range,
            half to either. Points at which the target is not finite, or far beyond its values
            inside, are not moved. The other points do not depend on it.

    Raises:
        KanExpError: A count is below 2, `border` is no fraction below 1, the target is not finite
            somewhere in its domain, or float32 cannot hold its values or their differences.
    """

    def __init__(
        self,
        target: Target,
        num_train: int,
        num_val: int,
        num_test: int,
        seed: int,
        border: float = 0.0,
    ) -> None:
        super().__init__(seed)
        check_sampled(target, num_train, num_val, num_test, border=border)
        self.target = target
        self.schema = Schema.of_numbers(target.inputs, ["f"])
        # Each split has its own stream: more training points or noise leave the test points alone.
        train, val, test, noise = (
            torch.Generator().manual_seed(4 * seed + stream) for stream in range(4)
        )
        self.train = self._draw(num_train, train, noise, border)
        self.val = self._draw(num_val, val, noise)
        self.test = self._draw(num_test, test)

        lows, highs = torch.tensor(target.domain).unbind(1)
        measured = measure_scaling(self.train)
        self._check_values(measured)
        # The domain is known, so its own mean and deviation serve instead of a sample's.
        self.scaling = Scaling(
            (lows + highs) / 2, (highs - lows) / math.sqrt(12), measured.y_mean, measured.y_std
        )

    @property
    def bounds(self) -> Tensor:
        return torch.tensor(self.target.domain)

    @property
    def summary(self) -> str:
        noise = f", noise {self.target.noise:g}" if self.target.noise else ""
        counts = f"{len(self.train.x):,} train, {len(self.val.x):,} validation, "
        text = self.target.formula.text
        text = f"{text[:MAX_TEXT]}..." if len(text) > MAX_TEXT else text
        return f"{text}{noise}; {counts}{len(self.test.x):,} test points"

    @property
    def noise_free(self) -> bool:
        return self.target.noise == 0

    def true_edges(self, x: Tensor) -> list[Tensor]:
        return self.target.true_edges(x)

    def _check_values(self, scaling: Scaling) -> None:
        """Refuses values that float32 cannot hold, or rounds more than they differ."""
        parts = (self.train.y, self.val.y, scaling.y_mean, scaling.y_std)
        if not all(part.isfinite().all() for part in parts):
            raise KanExpError(
                "the training values go beyond float32: lower target.noise, or scale the formula."
            )
        exact = self.target.formula(self.train.x.double())
        low, high = exact.aminmax()
        largest = exact.abs().max()
        error = (exact.float() - exact).abs().max()
        if high - low > CONSTANT * largest and error > MAX_ROUNDING * exact.std(correction=0):
            cure = "multiply it by a large number" if largest < 1e-30 else f"subtract {low:.3g}"
            raise KanExpError(
                f"target.formula {quote(self.target.formula.text)} has training values from "
                f"{low:.10g} to {high:.10g}, too close to each other for float32: {cure}."
            )

    def _draw(
        self,
        count: int,
        points: torch.Generator,
        noise: torch.Generator | None = None,
        border: float = 0.0,
    ) -> Split:
        x = self.target.sample(count, points)
        y = self.target(x)
        if border:
            x, y = self._to_border(x, y, border, points)
        if noise is not None and self.target.noise:
            y = y + self.target.noise * torch.randn(y.shape, generator=noise)
        return Split(x, y)

    def _to_border(
        self, x: Tensor, y: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Moves a fraction of each input's values to the ends of its range."""
        lows, highs = torch.tensor(self.target.domain).unbind(1)
        chance = torch.rand(x.shape, generator=generator)
        moved = x.where(chance >= share, lows.where(chance < share / 2, highs))
        values = self.target.formula(moved.double()).to(y)[:, None]
        # The border may be a pole, as of 1/x, whose value is finite only by rounding.
        low, high = y.aminmax()
        near = (values >= low - (high - low)) & (values <= high + (high - low))  # false for NaN
        return moved.where(near, x), values.where(near, y)
