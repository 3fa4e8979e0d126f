"""Errors at points that a network was not fitted to, from which its intervals come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kan_exp.data import ExperimentData
from kan_exp.models.loading import model_from
from kan_exp.tasks.metrics import NUMBERS
from kan_exp.training.folds import FoldResult, first_of_each_row
from kan_exp.training.module import KANModule

MOST = 10_000  # errors that are kept


def left_out_errors(
    module: KANModule,
    data: ExperimentData,
    best: Mapping[str, Any],
    folds: Sequence[FoldResult] = (),
) -> Tensor | None:
    """Truth minus prediction where the network has not seen the truth, `(m, out)`.

    These are the rows of the folds, if there are any; else what a training leaves out of itself,
    see `KANModule.left_out_errors`; else the validation points.

    Args:
        module: As the training has left it.
        data: What it was trained on.
        best: The checkpoint of the best network.
        folds: The results of a cross-validation.

    Returns:
        Errors on the scale on which outputs are learned; None if there are none, or predictions
        are no numbers with errors of one size, such as classes, quantiles and counts.
    """
    model = model_from(best)
    if module.task.predicts != NUMBERS or model.activation != "identity":
        return None
    encode = data.schema.scale_outputs
    if folds:
        truth, predictions, _ = first_of_each_row(folds)
        errors = encode(truth.double()) - encode(predictions.double())
    elif (found := module.left_out_errors()) is not None:
        errors = found.cpu() * data.scaling.y_std.cpu() - torch.tensor(model.smearing or 0.0)
    elif data.val is not data.train and not module.selects:  # which fits to all points at the end
        val = data.val.map(lambda part: part.double().cpu())
        errors = val.y - encode(model.predict(val.x).double())
    else:
        return None
    return errors[:: -(-len(errors) // MOST) or 1].clone()
