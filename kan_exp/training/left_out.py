"""Errors at points that a network was not fitted to, from which its intervals come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kan_exp.data import ExperimentData
from kan_exp.models.loading import model_from
from kan_exp.tasks import Task
from kan_exp.tasks.equation import Equation
from kan_exp.tasks.metrics import NUMBERS
from kan_exp.training.module import KANModule

MAX_ERRORS = 10_000  # errors that are kept


def left_out_errors(
    module: KANModule, data: ExperimentData, best: Mapping[str, Any]
) -> Tensor | None:
    """Truth minus prediction where the network has not seen the truth, `(m, out)`.

    That is what a training leaves out of itself, see `KANModule.left_out_errors`, or the validation
    points.

    Returns:
        Errors on the scale on which outputs are learned; None if there are none, or predictions
        are no numbers with errors of one size, such as classes, quantiles and counts.
    """
    model = model_from(best)
    if not has_intervals(module.task):
        return None
    if (found := module.left_out_errors()) is not None:
        found = found.cpu() * data.scaling.y_std.cpu()
        return sampled_errors(found - found.new_tensor(model.smearing or 0.0))
    if data.val is data.train or module.selects:  # which fits to all points at the end
        return None
    val = data.val.map(lambda part: part.double().cpu())
    return sampled_errors(val.y - data.schema.scale_outputs(model.predict(val.x).double()))


def has_intervals(task: Task) -> bool:
    """Whether predictions are numbers, learned from data, whose errors do not grow with them."""
    learns = task.predicts == NUMBERS and not isinstance(task, Equation)
    return learns and task.activation == "identity"


def sampled_errors(errors: Tensor) -> Tensor:
    """At most `MAX_ERRORS` of the errors, evenly spaced."""
    return errors[:: -(-len(errors) // MAX_ERRORS) or 1].clone()
