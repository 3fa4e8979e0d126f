"""Metrics as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from kan_exp.tasks.metrics import LINEAR, STANDARD_ERROR, TEST, Metric


def number(value: float | None, digits: int = 3) -> str:
    """A metric in a few digits."""
    return "not finite" if value is None else f"{value:.{digits}g}"


def with_error(value: float | None, error: float | None) -> str:
    """A metric with one digit of its standard error, two if the first is 1: `0.00123 ± 0.00004`."""
    shown = number(value)
    if value is None or error is None:
        return shown
    if error == 0:
        return f"{shown} ± 0"
    exponent = math.floor(math.log10(error))
    digits = 2 if error < 2 * 10**exponent else 1
    if "e" in shown:
        return f"{shown} ± {error:.{digits}g}"
    return f"{shown} ± {round(error, digits - 1 - exponent):.{max(0, digits - 1 - exponent)}f}"


def near_one(value: float | None) -> str:
    """A number that is 1 at best, such as R2: all its nines and one digit more, not rounded up."""
    if value is None:
        return "undefined"
    if not 0.99 < value < 1:
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"
    digits = min(9, 1 - math.floor(math.log10(1 - value) + 1e-9))
    scale = 10**digits
    return f"{math.floor(value * scale) / scale:.{digits}f}"


def metric_text(metric: Metric, value: float | None, error: float | None = None) -> str:
    """A metric in as many digits as tell it from its best, with its standard error if given."""
    return near_one(value) if metric.higher_is_better else with_error(value, error)


def metric_texts(
    metrics: Iterable[Metric], values: Mapping[str, float | None]
) -> Iterator[tuple[Metric, str]]:
    """Metrics of test points as text, with that of the linear model if it is known.

    Args:
        metrics: What is shown.
        values: Entries of `metrics.json`.
    """
    for metric in metrics:
        key, linear = TEST + metric.name, LINEAR + metric.name
        text = metric_text(metric, values[key], values.get(key + STANDARD_ERROR))
        if linear in values:
            text += f" (linear model {metric_text(metric, values[linear])})"
        yield metric, text
