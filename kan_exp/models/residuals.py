"""Intervals and means of predictions, from errors at points that the network was not fitted to."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from kan_exp.errors import KanExpError

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.data.schema import Schema


def check_coverage(name: str, coverage: Any) -> float:
    """The share of cases that intervals hold; `name` is the option or argument that sets it.

    Raises:
        KanExpError: It is not between 0 and 1.
    """
    is_number = isinstance(coverage, Real)
    if not is_number or not 0 < coverage < 1:
        hint = f": set {name}={coverage / 100:g}" if is_number and 1 < coverage < 100 else ""
        raise KanExpError(f"{name} must be between 0 and 1, got {coverage!r}{hint}.")
    return float(coverage)


def interval_margins(residuals: Tensor, coverage: float) -> Tensor:
    """By how much intervals exceed predictions on both sides, `(out,)`.

    Args:
        residuals: Errors at points that the network was not fitted to, `(m, out)`.
        coverage: Share of cases in which the true value lies inside.

    Raises:
        KanExpError: There are too few errors for this share.

    Source:
        J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018);
        R. Barber et al., "Predictive inference with the jackknife+", 2021.
    """
    errors = residuals.double().cpu().abs().sort(0).values
    count = len(errors)
    place = math.ceil((count + 1) * coverage - 1e-9)
    if place > count:
        most = math.floor(100 * count / (count + 1)) / 100
        raise KanExpError(
            f"intervals for {coverage:.4g} of cases need more than {count} errors at rows that "
            f"the network was not fitted to: ask for {most:g} at most, or train on more rows."
        )
    return errors[place - 1]


def interval_ends(schema: Schema, predicted: Tensor, margins: Tensor) -> Tensor:
    """Ends `(n, out, 2)` of the intervals around predictions `(n, out)`, float64."""
    import torch

    scaled = schema.scale_outputs(predicted.double().cpu())
    return torch.stack([schema.decode_outputs(scaled + side) for side in (-margins, margins)], -1)


def smearing(residuals: Tensor, schema: Schema, weight: Tensor | None = None) -> list[float]:
    """What is added to outputs on a logarithmic scale so that predictions are means, not medians.

    Args:
        residuals: Errors on the scale on which outputs are learned, `(n, out)`.
        schema: Of the outputs; those on a plain scale get 0.
        weight: Of the points, `(n,)`.

    Source:
        Duan, "Smearing estimate: a nonparametric retransformation method", JASA 78 (1983).
    """
    residuals = residuals.double()
    if weight is None:
        logs = residuals.logsumexp(0) - math.log(len(residuals))
    else:
        logs = (residuals + (weight / weight.sum()).log()[:, None]).logsumexp(0)
    found: list[float] = logs.nan_to_num(0.0, 0.0, 0.0).tolist()
    return [one if to.scale else 0.0 for one, to in zip(found, schema.outputs, strict=True)]
