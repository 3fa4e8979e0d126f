"""Metrics of predictions; a new one is a function and an entry in `METRICS`.

Importing it does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Values = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Metric:
    """A comparison of predictions with the truth.

    Args:
        name: Its name in `task.metrics`; `test_NAME` in `metrics.json`.
        title: Its name in figures and tables.
        value: From predictions and truth, float64 `(n, out)` each, to a scalar; NaN where it is
            undefined.
        higher_is_better: Whether the largest value is the best.
        in_target_units: Whether it scales with predictions and truth.
        terms: From predictions and truth to one term per point `(n,)`, if `value` is a function of
            their mean; its standard error can then be estimated.
        of_mean: That function.
        has_curve: Whether it is logged at each validation; the primary metric always is.
    """

    name: str
    title: str
    value: Values
    higher_is_better: bool = False
    in_target_units: bool = False
    terms: Values | None = None
    of_mean: Callable[[Tensor], Tensor] = lambda mean: mean
    has_curve: bool = False


def rmse(predicted: Tensor, truth: Tensor) -> Tensor:
    """Root mean squared error."""
    return (predicted - truth).square().mean().sqrt()


def mae(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error."""
    return (predicted - truth).abs().mean()


def max_error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Largest absolute error."""
    return (predicted - truth).abs().max()


def relative_error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Euclidean norm of the errors divided by that of the truth; NaN if the truth is zero."""
    norm = truth.square().sum().sqrt()
    error = (predicted - truth).square().sum().sqrt()
    return error / norm if norm > 0 else norm.new_tensor(math.nan)


def r2(predicted: Tensor, truth: Tensor) -> Tensor:
    """Coefficient of determination: 1 for a perfect fit, 0 for the mean of the truth."""
    unexplained = (predicted - truth).square().sum()
    spread = (truth - truth.mean()).square().sum()
    if spread > 0:
        return 1 - unexplained / spread
    return spread.new_tensor(1.0 if unexplained == 0 else -math.inf)


def r(predicted: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation coefficient; NaN if either side is constant."""
    centered, around = truth - truth.mean(), predicted - predicted.mean()
    norm = (centered.square().sum() * around.square().sum()).sqrt()
    return ((centered * around).sum() / norm).clamp(-1, 1)


def _squares(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).square().mean(1)


def _sizes(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).abs().mean(1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "rmse",
            "RMSE",
            rmse,
            in_target_units=True,
            terms=_squares,
            of_mean=lambda mean: mean.sqrt(),
        ),
        Metric("mae", "MAE", mae, in_target_units=True, terms=_sizes),
        Metric("r2", "R²", r2, higher_is_better=True, has_curve=True),
        Metric("relative_error", "relative error", relative_error),
        Metric("max_error", "max error", max_error, in_target_units=True),
        Metric("r", "r", r, higher_is_better=True),
    )
}

TEST, VALIDATION, LINEAR = "test_", "val_", "linear_"
STANDARD_ERROR = "_se"
TITLES = {TEST: "test {}", VALIDATION: "validation {}", LINEAR: "linear model's test {}"}


def _parts(key: str) -> tuple[str, str]:
    """Prefix and name of a metric's key in `metrics.json`; both empty for any other key."""
    prefix = next((prefix for prefix in TITLES if key.startswith(prefix)), "")
    name = key.removeprefix(prefix)
    return (prefix, name) if prefix and name in METRICS else ("", "")


def title(key: str) -> str:
    """What a number of `metrics.json` is called where it is shown."""
    measured = key.removesuffix(STANDARD_ERROR)
    if key == standard_error_of(measured):
        return f"standard error of the {title(measured)}"
    prefix, name = _parts(key)
    return TITLES[prefix].format(METRICS[name].title) if prefix else key


def higher_is_better(key: str) -> bool:
    """Whether the largest value of a number of `metrics.json` is the best."""
    prefix, name = _parts(key)
    return bool(prefix) and METRICS[name].higher_is_better


def standard_error_of(key: str) -> str | None:
    """Under which key `metrics.json` may have the standard error of a number."""
    prefix, name = _parts(key)
    return key + STANDARD_ERROR if prefix == TEST and METRICS[name].terms else None


def linear_of(key: str) -> str | None:
    """Under which key `metrics.json` has the same number of a linear model."""
    prefix, name = _parts(key)
    return LINEAR + name if prefix == TEST else None
