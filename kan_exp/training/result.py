"""The result of a training, in memory: the best network, its metrics and its history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from kan_exp.data import EquationData, ExperimentData
from kan_exp.data.split_table import SplitTableData
from kan_exp.errors import DivergedError
from kan_exp.models.loading import model_from
from kan_exp.models.model import KANModel
from kan_exp.models.residuals import smearing
from kan_exp.runs.best_effort import best_effort
from kan_exp.tasks import Task
from kan_exp.tasks.metrics import LINEAR, NUMBERS, TEST
from kan_exp.training.equations import equation_scores
from kan_exp.training.folds import FoldResult, first_of_each_row, fold_metrics
from kan_exp.training.module import OBSERVED_POINTS, KANModule
from kan_exp.training.replicas import QUANTILES, ReplicaModule, spread
from kan_exp.training.score import finite, linear_predictions_by, score_networks
from kan_exp.training.solutions import equation_result


@dataclass
class Result:
    """The result of a training.

    Args:
        model: The network that was best on validation, on the CPU, frozen, in evaluation mode.
        task: What was minimized and measured.
        data: What it was trained on.
        metrics: The content of `metrics.json`.
        history: The content of `history.json`: pairs of step and loss.
        truth: Outputs of the test points, `(n, out)`, in the user's units.
        predictions: Of the test points, `(n, columns)`; those of the folds, if there are any.
        diverged: Why the training ended, if the loss became NaN or infinite.
        folds: The results of a cross-validation.
    """

    model: KANModel
    task: Task
    data: ExperimentData
    metrics: dict[str, Any]
    history: dict[str, Any]
    truth: Tensor
    predictions: Tensor
    diverged: DivergedError | None = None
    folds: Sequence[FoldResult] = ()

    def of_fold(self, rows: Tensor) -> FoldResult:
        """What a cross-validation keeps of a fold, of whose test rows `rows` are the numbers."""
        names = [prefix + one.name for one in self.task.metrics for prefix in (TEST, LINEAR)]
        names += [self.task.chosen_by, "parameters", "best_step", "stopped", "train_seconds"]
        metrics = {name: self.metrics[name] for name in names}
        return FoldResult(metrics, rows, self.truth, self.predictions)


def make_result(
    module: KANModule,
    data: ExperimentData,
    best: Mapping[str, Any],
    details: Mapping[str, Any],
    diverged: DivergedError | None = None,
    folds: Sequence[FoldResult] = (),
) -> Result:
    """Scores the best network of a training on the test points.

    With a cross-validation, the scores are those of the folds.

    Args:
        module: As the training has left it.
        data: What it was trained on.
        best: The checkpoint of the best network.
        details: Entries of `metrics.json` about the run, such as its device.
        diverged, folds: See `Result`.
    """
    task, model, weight = module.task, model_from(best), data.test.weight
    if data.num_folds:
        options = cast(SplitTableData, data).options
        truth, predictions, rows = first_of_each_row(folds)
        if weight is not None:
            weight = weight[np.searchsorted(cast(SplitTableData, data).test_rows, rows.numpy())]
        scores = fold_metrics(folds, task, cast(int, options.folds), options.repeats)
    elif isinstance(data, EquationData):
        truth, predictions = data.test.y, model.predict(data.test.x)
        scores = equation_result(task, data, model, data.test)
    else:
        truth = data.schema.decode_outputs(data.test.y)
        predictions = model.predict(data.test.x)
        (scores,) = score_networks(task, [predictions], truth, weight)
        scores |= {LINEAR + name: finite(v) for name, v in _linear_scores(task, data).items()}
    if isinstance(data, EquationData):
        coefficients = model.description["coefficients"]
        found = equation_scores(task, data, model, data.val, coefficients)
        validation = found.get(task.primary.name, math.nan)
    elif module.validated is None:
        validation = _validation_error(task, model, data)
    else:
        validation = module.validated[1][task.primary.name]
    outputs: dict[str, Any] = {}
    if len(truth) and bool(truth.isfinite().all()):
        outputs = task.details(predictions, truth, model.names, weight)
    metrics = {
        **scores,
        task.chosen_by: finite(validation),
        "outputs": outputs,
        "parameters": sum(layer.num_parameters for layer in model.edge_layers),
        "best_step": int(best["global_step"]),
        **details,
        **module.details,
        "edge_r2": _edge_agreements(model, data),
        "scoring": task.describe(),
        "data": data.summary,
        "test_points": data.fingerprint,
    }
    history: dict[str, Any] = {"train": module.train_history, "val": module.val_history}
    if isinstance(module, ReplicaModule):
        kept = best["kan_exp"].get("replica", int(module.best_errors.argmin()))
        metrics["replicas"] = _replica_metrics(module, data, kept)
        history = _replica_history(module, kept)
    return Result(model, task, data, metrics, history, truth, predictions, diverged, folds)


def _validation_error(task: Task, model: KANModel, data: ExperimentData) -> float:
    """The primary metric on the validation points."""
    val, truth = data.val, data.schema.decode_outputs(data.val.y)
    scores = task.score(model.predict(val.x), truth, [task.primary], val.weight)
    return scores[task.primary.name]


def _linear_scores(task: Task, data: ExperimentData) -> dict[str, float]:
    with best_effort("the linear model could not be fitted"):
        outputs = task.num_outputs(data.schema)
        linear = linear_predictions_by(task, data.train, data.test, data.scaling, outputs)
        if data.schema.scales_outputs and task.predicts == NUMBERS:
            fitted = linear_predictions_by(task, data.train, data.train, data.scaling, outputs)
            residuals = data.train.y - fitted
            linear += linear.new_tensor(smearing(residuals, data.schema, data.train.weight))
        decode = data.schema.decode_outputs
        return task.score(decode(linear), decode(data.test.y), weight=data.test.weight)
    return {metric.name: math.nan for metric in task.metrics}


def _edge_agreements(model: KANModel, data: ExperimentData) -> dict[str, float]:
    """R2 of every edge whose true function is known, by its name."""
    agreements: dict[str, float] = {}
    with best_effort("the edges could not be compared with the true ones"):
        x = data.train.x[:OBSERVED_POINTS]
        for view in model.views(x, data.true_edges(x)):
            for i, j in view.shown():
                agreement = view.agreement(i, j)
                if agreement is not None and math.isfinite(agreement[0]):
                    agreements[view.name(i, j)] = agreement[0]
    return agreements


def _replica_metrics(module: ReplicaModule, data: ExperimentData, kept: int) -> dict[str, Any]:
    """The scores of all replicas, each as it was when it was best on validation."""
    task = module.task
    predictions, errors_on_val = [], []
    for model in module.best_models():  # the same one, with other weights each time
        predictions.append(model.predict(data.test.x))
        errors_on_val.append(_validation_error(task, model, data))
    truth = data.schema.decode_outputs(data.test.y)
    scores = score_networks(task, predictions, truth, data.test.weight)
    judged = [score[task.judged_by] for score in scores]
    errors = torch.tensor([math.nan if v is None else v for v in judged], dtype=torch.float64)
    trained = errors[module.alive]
    quantiles = spread("test", trained) if len(trained) else {}
    return {
        "count": module.count,
        "kept_seed": module.seed + kept,
        **{name: quantiles.get(f"test/{name}") for name in QUANTILES},
        "diverged": [
            {"seed": module.seed + replica, "step": step}
            for replica, step in sorted(module.diverged.items())
        ],
        "each": [
            {
                "seed": module.seed + replica,
                **score,
                task.chosen_by: finite(errors_on_val[replica]),
                "best_step": int(module.best_steps[replica]),
            }
            for replica, score in enumerate(scores)
        ],
    }


def _replica_history(module: ReplicaModule, kept: int) -> dict[str, Any]:
    """The curves of the replica that is kept, and those of all."""
    losses = {"train": module.train_losses, "val": module.val_losses}
    own = {
        name: [(step, v) for step, values in history if math.isfinite(v := float(values[kept]))]
        for name, history in losses.items()
    }
    every = {
        name: [[step, [finite(value) for value in values.tolist()]] for step, values in history]
        for name, history in losses.items()
    }
    return {**own, "replicas": every}
