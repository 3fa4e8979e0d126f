"""Metrics of predictions; a new one is a function and an entry in `METRICS`.

Importing it does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Values = Callable[..., "Tensor"]
# What predictions are: numbers `(n, out)`, probabilities of classes `(n, K)`, or quantiles of one
# number `(n, quantiles)`. The truth is numbers `(n, out)`, or indices of classes `(n, 1)`.
NUMBERS, CLASSES, QUANTILES = "numbers", "classes", "quantiles"
# Of solutions of differential equations: the residual; values with their first derivatives in the
# place of predictions; and an estimate, where the exact solution is not known.
RESIDUAL, H1, ESTIMATE = OF_EQUATIONS = ("residual", "h1_error", "estimated_error")
MIN_CHANCE = 2.0**-52  # the least probability in a logarithm, as scikit-learn has it


@dataclass(frozen=True)
class Metric:
    """A comparison of predictions with the truth.

    Args:
        name: Its name in `task.metrics`; `test_NAME` in `metrics.json`.
        title: Its name in figures and tables.
        value: From predictions and truth, float64, to a scalar; NaN where it is undefined. One of
            quantiles takes these as well.
        higher_is_better: Whether the largest value, which must be 1, is the best.
        in_target_units: Whether it scales with predictions and truth.
        terms: From predictions and truth to one term per point `(n,)`, if `value` is a function of
            their mean; its standard error can then be estimated.
        of_mean: That function.
        moments: From predictions and truth to numbers `(n, k)` for each point, if `value` is a
            function of the mean of each; so points need not all be in memory.
        of_moments: That function.
        of_differences: Whether `value` is the same if a number is added to predictions and truth.
        decisive: From predictions and truth to the indices of the points that decide `value`.
        has_curve: Whether it is logged at each validation; the primary metric always is.
        judges: What predictions are: `NUMBERS`, `CLASSES` or `QUANTILES`.
    """

    name: str
    title: str
    value: Values
    higher_is_better: bool = False
    in_target_units: bool = False
    terms: Values | None = None
    of_mean: Callable[[Tensor], Tensor] = lambda mean: mean
    moments: Values | None = None
    of_moments: Values = lambda mean: mean
    of_differences: bool = False
    decisive: Values | None = None
    has_curve: bool = False
    judges: str = NUMBERS

    def error(self, value: Any) -> Any:
        """A value, a number or a tensor, as what is to be minimized, 0 at best or below."""
        return 1 - value if self.higher_is_better else value

    def measure(self, predicted: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
        """The value; means over points take their weights `(n,)`, other functions none."""
        if weight is None or self.terms is None:
            return self.value(predicted, truth)
        weight = weight.to(predicted)
        return self.of_mean((self.terms(predicted, truth) * weight).sum() / weight.sum())

    def of_quantiles(self, quantiles: Sequence[float]) -> Metric:
        """The same metric, of predictions of these quantiles."""
        if self.judges != QUANTILES:
            return self
        terms = self.terms and partial(self.terms, quantiles=quantiles)
        given: dict[str, Any] = {"value": partial(self.value, quantiles=quantiles), "terms": terms}
        if self.moments is not None:
            given["of_moments"] = partial(self.of_moments, quantiles=quantiles)
        return replace(self, **given)


def _mean_over_outputs(value: Values) -> Values:
    """The mean of the values of each output, whose units may differ."""

    @wraps(value)
    def mean(predicted: Tensor, truth: Tensor) -> Tensor:
        if truth.shape[1] == 1:
            return value(predicted, truth)
        parts = [
            value(*pair) for pair in zip(predicted.split(1, 1), truth.split(1, 1), strict=True)
        ]
        return sum(parts[1:], parts[0]) / len(parts)

    return mean


def max_error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Largest absolute error."""
    return (predicted - truth).abs().max()


def _worst(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).abs().amax(1).argmax(keepdim=True)


def _error_and_size(predicted: Tensor, truth: Tensor) -> Tensor:
    """Squares of the error and of the truth, `(n, 2)`."""
    import torch

    return torch.stack([(predicted - truth).square().sum(1), truth.square().sum(1)], 1)


def _relative_error(moments: Tensor) -> Tensor:
    """Euclidean norm of the errors divided by that of the truth; NaN if the truth is zero."""
    error, size = moments
    return (error / size).sqrt() if size > 0 else size.new_tensor(math.nan)


def _second_moments(predicted: Tensor, truth: Tensor) -> Tensor:
    """Of each output predictions, truth, their squares and product, and squared errors, (n, 6)."""
    import torch

    error = predicted - truth
    parts = [predicted, truth, predicted.square(), truth.square(), predicted * truth]
    return torch.cat([*parts, error.square()], 1)


def _variances(moments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Variances of predictions and of truth, covariance and squared error of each output.

    What is left of a constant is rounding.
    """
    mean_p, mean_t, square_p, square_t, product, error = moments.view(6, -1)
    parts = ((square_p, mean_p), (square_t, mean_t))
    own, true = (v.where(v > 1e-13 * s, 0) for s, m in parts for v in [s - m.square()])
    return own, true, product - mean_p * mean_t, error


def _r2_of(moments: Tensor) -> Tensor:
    _, spread, _, error = _variances(moments)
    constant = spread.new_tensor(-math.inf).where(error > 0, 1.0)
    return (1 - error / spread).where(spread > 0, constant).mean()


def _r_of(moments: Tensor) -> Tensor:
    own, true, both, _ = _variances(moments)
    return (both / (own * true).sqrt()).clamp(-1, 1).mean()


@_mean_over_outputs
def r2(predicted: Tensor, truth: Tensor) -> Tensor:
    """Coefficient of determination: 1 for a perfect fit, 0 for the mean of the truth."""
    unexplained = (predicted - truth).square().sum()
    spread = (truth - truth.mean()).square().sum()
    if spread > 0:
        return 1 - unexplained / spread
    return spread.new_tensor(1.0 if unexplained == 0 else -math.inf)


@_mean_over_outputs
def r(predicted: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation coefficient; NaN if either side is constant."""
    centered, around = truth - truth.mean(), predicted - predicted.mean()
    norm = (centered.square().sum() * around.square().sum()).sqrt()
    return ((centered * around).sum() / norm).clamp(-1, 1)


def _squares(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).square().mean(1)


def _sizes(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).abs().mean(1)


def _deviances(predicted: Tensor, truth: Tensor) -> Tensor:
    half = truth.xlogy(truth / predicted) - truth + predicted
    return 2 * half.where(predicted > 0, math.nan).mean(1)


def _pinballs(predicted: Tensor, truth: Tensor, quantiles: Sequence[float]) -> Tensor:
    residuals, shares = truth - predicted, predicted.new_tensor(quantiles)
    return (shares * residuals).maximum((shares - 1) * residuals).mean(1)


def _below(predicted: Tensor, truth: Tensor) -> Tensor:
    return (truth <= predicted).double()


def _coverage_error(share: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Distance of the share of truths at or below a predicted quantile from the quantile; mean."""
    return (share - share.new_tensor(quantiles)).abs().mean()


def _log_losses(predicted: Tensor, truth: Tensor) -> Tensor:
    return -predicted.gather(1, truth.long()).squeeze(1).clamp(min=MIN_CHANCE).log()


def _hits(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted.argmax(1) == truth[:, 0]).double()


def _briers(predicted: Tensor, truth: Tensor) -> Tensor:
    """As scikit-learn has them: of two classes, the squared error of one of them."""
    classes = truth.new_tensor(range(predicted.shape[1]))
    squares = (predicted - (truth == classes).double()).square().sum(1)
    return squares / 2 if predicted.shape[1] == 2 else squares


def recalls(predicted: Tensor, truth: Tensor) -> Tensor:
    """The share of each class's points that are recognized, `(K,)`; NaN for a class without any."""
    return _recalls(_class_hits(predicted, truth).mean(0))


def _class_hits(predicted: Tensor, truth: Tensor) -> Tensor:
    """For each class whether it is recognized, and whether it is true, `(n, 2 K)`."""
    import torch

    true = truth == truth.new_tensor(range(predicted.shape[1]))
    hit = true & (predicted.argmax(1, keepdim=True) == truth)
    return torch.cat([hit, true], 1).double()


def _recalls(moments: Tensor) -> Tensor:
    hits, true = moments.chunk(2)
    return hits / true


def aucs(predicted: Tensor, truth: Tensor) -> Tensor:
    """Area under each class's ROC curve against the rest, `(K,)`; NaN where one side has none."""
    from torchmetrics.functional.classification import binary_auroc

    areas = []
    for k, scores in enumerate(predicted.unbind(1)):
        own = (truth[:, 0] == k).long()
        defined = 0 < int(own.sum()) < len(own) and bool(scores.isfinite().all())
        # In float32, whose rounding is cut off.
        areas.append(round(float(binary_auroc(scores, own)), 6) if defined else math.nan)
    return predicted.new_tensor(areas)


def _mean_of(
    name: str,
    title: str,
    terms: Values,
    of_mean: Callable[[Tensor], Tensor] = lambda mean: mean,
    **options: Any,
) -> Metric:
    """A metric that is the mean of its terms, or a function of that mean."""

    def value(*arguments: Any, **more: Any) -> Tensor:
        return of_mean(terms(*arguments, **more).mean())

    return Metric(name, title, value, terms=terms, of_mean=of_mean, **options)


def _of_moments(
    name: str, title: str, moments: Values, of_moments: Values, **options: Any
) -> Metric:
    """A metric that is a function of means of numbers for each point."""

    def value(predicted: Tensor, truth: Tensor, **more: Any) -> Tensor:
        return of_moments(moments(predicted, truth).mean(0), **more)

    return Metric(name, title, value, moments=moments, of_moments=of_moments, **options)


_OF_CLASSES: dict[str, Any] = {"judges": CLASSES, "higher_is_better": True}
# The second moments of numbers lose half of their digits, so that these are not `_of_moments`.
_OF_SECOND_MOMENTS: dict[str, Any] = {
    "higher_is_better": True,
    "moments": _second_moments,
    "of_differences": True,
}
METRICS = {
    metric.name: metric
    for metric in (
        _mean_of("rmse", "RMSE", _squares, lambda mean: mean.sqrt(), in_target_units=True),
        _mean_of("mae", "MAE", _sizes, in_target_units=True),
        Metric("r2", "R²", r2, of_moments=_r2_of, has_curve=True, **_OF_SECOND_MOMENTS),
        _of_moments("relative_error", "relative error", _error_and_size, _relative_error),
        Metric("max_error", "max error", max_error, in_target_units=True, decisive=_worst),
        Metric("r", "r", r, of_moments=_r_of, **_OF_SECOND_MOMENTS),
        _mean_of(RESIDUAL, "RMS residual", _squares, lambda mean: mean.sqrt()),
        _of_moments(H1, "relative H1 error", _error_and_size, _relative_error),
        _of_moments(
            ESTIMATE, "relative error, estimated from residuals", _error_and_size, _relative_error
        ),
        _mean_of("poisson_deviance", "Poisson deviance", _deviances),
        _mean_of("pinball", "pinball loss", _pinballs, in_target_units=True, judges=QUANTILES),
        _of_moments("coverage_error", "coverage error", _below, _coverage_error, judges=QUANTILES),
        _mean_of("log_loss", "log-loss", _log_losses, judges=CLASSES),
        _mean_of("accuracy", "accuracy", _hits, has_curve=True, **_OF_CLASSES),
        _mean_of("brier", "Brier score", _briers, judges=CLASSES),
        _of_moments(
            "balanced_accuracy",
            "balanced accuracy",
            _class_hits,
            lambda moments: _recalls(moments).nanmean(),
            **_OF_CLASSES,
        ),
        Metric("roc_auc", "ROC AUC", lambda p, t: aucs(p, t).nanmean(), **_OF_CLASSES),
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


def to_minimize(key: str, value: Any) -> Any:
    """A number of `metrics.json`, or an array of it, whose smallest value is the best."""
    return -value if higher_is_better(key) else value


def standard_error_of(key: str) -> str | None:
    """Under which key `metrics.json` may have the standard error of a number."""
    prefix, name = _parts(key)
    return key + STANDARD_ERROR if prefix == TEST and METRICS[name].terms else None


def linear_of(key: str) -> str | None:
    """Under which key `metrics.json` has the same number of a linear model."""
    prefix, name = _parts(key)
    return LINEAR + name if prefix == TEST else None
