"""Prunes the network of a training: the search, its checkpoint, and tables of the edges."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kan_exp.data import ExperimentData
from kan_exp.layers import LayerSpec, find_layer
from kan_exp.layers.importance import errors_without_edges
from kan_exp.layers.sparsity import connected, count_edges, masks_of, thinned
from kan_exp.layers.walk import layers_of, observe_domains, widths_of
from kan_exp.models.loading import model_from
from kan_exp.models.model import KANModel
from kan_exp.models.residuals import smearing
from kan_exp.runs import write_text
from kan_exp.runs.printable import aligned, counted, csv_text, shortened
from kan_exp.tasks import Task
from kan_exp.tasks.losses import Huber, Loss, Squared
from kan_exp.tasks.numbers import number
from kan_exp.training.module import KANModule
from kan_exp.training.smooth_pruning import SmoothSearch
from kan_exp.training.sparse_fit import Clock, Recipe, SparseFit
from kan_exp.training.sparse_search import SparseSearch

log = logging.getLogger(__name__)

MAX_ROWS = 20  # of the table on the terminal
MAX_MEASURED = 500  # edges; of each the network is evaluated without it


@dataclass(frozen=True)
class Pruned:
    """The result of pruning.

    Args:
        checkpoint: What `model_from` reads.
        metrics: The entry `pruning` of `metrics.json`.
        module: What has trained the network anew; None if it was trained further.
    """

    checkpoint: dict[str, Any]
    metrics: dict[str, Any]
    module: KANModule | None = None


class Trained(NamedTuple):
    """The network of another run.

    Args:
        checkpoint: What `model_from` reads.
        metrics: Entries of its `metrics.json` about the training.
        history: Of the training, pairs of step and loss by "train" and "val".
    """

    checkpoint: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: Mapping[str, Any]


@dataclass
class Pruning:
    """Removes edges that the validation error does not need.

    Args:
        specs: The kind of each layer with its options.
        recipe: How sparse networks are fitted.
        max_rise: The factor by which the validation error may rise.
        seconds: The time it may take.
        trained: The network of another run, which is pruned instead of training one.
        train: Trains a network anew, given its widths and masks; returns its experiment, or None if
            a signal has come. Takes the place of least squares where networks have seen the
            validation points in the end.
    """

    specs: Sequence[LayerSpec]
    recipe: Recipe
    max_rise: float
    seconds: float
    trained: Trained | None = None
    train: Callable[[Sequence[int], Sequence[Tensor]], Any] | None = None

    def run(
        self,
        best: Mapping[str, Any],
        task: Task,
        data: ExperimentData,
        interrupted: Callable[[], bool],
    ) -> Pruned:
        """Prunes the network of a checkpoint.

        `interrupted` says whether the user has asked to stop.
        """
        began = time.monotonic()
        model = model_from(best)
        fit = self._fit(best, task, data, interrupted)
        network = copy.deepcopy(model.network).double().requires_grad_(True)
        error = after = fit.error(network)
        before = self._table(fit, network, model)
        unit = _unit(fit.loss, model)
        log.info(
            "pruning: validation error %.3g with %s", error * unit, counted(len(before), "edge")
        )
        stopped, found, module = "done", network, None
        with torch.no_grad():
            outputs: Tensor = network(fit.validation.x)
        if error >= fit.error_of(outputs.mean(0).expand_as(outputs)):
            stopped = "nothing learned"
        elif self.train is not None:
            retrained = SmoothSearch(self.train, fit, self.max_rise).run(network)
            if retrained is not None:
                best, module = retrained.checkpoint, retrained.module
                error, after = retrained.errors
                found = copy.deepcopy(model_from(best).network).double()
                masks = connected(masks_of(found)) or masks_of(found)
                found = thinned(found, fit.present_specs(found), masks)
        else:
            is_limited = any(layer.limits is not None for layer in layers_of(network))
            for layer in layers_of(network):  # which would not follow what is trained anew
                layer.set_limits(None)
            found, after = SparseSearch(fit, self.max_rise).run(network)
            if is_limited:
                observe_domains(found, [fit.train.x], bounds=fit.bounds)
                after = fit.error(found)
        if stopped == "done" and fit.clock.is_over:
            stopped = "interrupted" if interrupted() else "seconds"
        checkpoint = self._checkpoint(best, found, fit, data)
        pruned = model_from(checkpoint)
        table = self._table(fit, copy.deepcopy(pruned.network).double(), pruned)
        metrics = {
            "stopped": stopped,
            "seconds": round(time.monotonic() - began, 3),
            "edges": [len(before), len(table)],
            "error": [error * unit, after * unit],
            "without_effect": _without_effect(pruned),
            "before": before,
            "after": table,
        }
        return Pruned(checkpoint, metrics, module)

    def _fit(
        self,
        best: Mapping[str, Any],
        task: Task,
        data: ExperimentData,
        interrupted: Callable[[], bool],
    ) -> SparseFit:
        scaling = data.scaling
        train, validation = (
            scaling.standardize(split).map(lambda part: part.cpu().double())
            for split in (data.train, data.val)
        )
        specs = self.specs
        if self.train is not None:  # which has decided about the sizes
            entries = best["kan_exp"]["layers"]
            specs = [LayerSpec(find_layer(each["kind"]), each["options"]) for each in entries]
        return SparseFit(
            specs,
            task.loss(),
            train,
            validation,
            scaling.standardize_bounds(data.bounds),
            self.recipe,
            Clock(self.seconds, interrupted),
        )

    @staticmethod
    def _table(fit: SparseFit, network: nn.Sequential, model: KANModel) -> list[dict[str, Any]]:
        """Each edge, its form, and the validation error without it; None of too many edges."""
        names, unit = model.unit_names(), _unit(fit.loss, model)
        masks = masks_of(network)
        is_measured = count_edges(masks) <= MAX_MEASURED
        errors: Sequence[Tensor] = masks
        if is_measured:
            errors = errors_without_edges(network, fit.validation.x, fit.error_of)
        rows = []
        layers = layers_of(network)
        for depth, (layer, mask, without) in enumerate(zip(layers, masks, errors, strict=True)):
            for i, j in mask.nonzero().tolist():
                straight = layer.straight is not None and bool(layer.straight[i, j])
                rows.append(
                    {
                        "layer": depth + 1,
                        "input": names[depth][i],
                        "output": names[depth + 1][j],
                        "form": "line" if straight else "curve",
                        "error_without": float(without[i, j]) * unit if is_measured else None,
                    }
                )
        return rows

    def _checkpoint(
        self, best: Mapping[str, Any], network: nn.Sequential, fit: SparseFit, data: ExperimentData
    ) -> dict[str, Any]:
        """The checkpoint with another network."""
        observe_domains(network, [fit.train.x])
        weights = best["state_dict"]
        dtype = next(w.dtype for n, w in weights.items() if n.startswith("model.network."))
        network = copy.deepcopy(network).to(dtype)
        described = zip(best["kan_exp"]["layers"], fit.present_specs(network), strict=True)
        kept = {n: w for n, w in weights.items() if not n.startswith("model.network.")}
        own = {f"model.network.{n}": w.detach() for n, w in network.state_dict().items()}
        description = {
            **best["kan_exp"],
            "dims": widths_of(network),
            "layers": [{**entry, "options": dict(spec.options)} for entry, spec in described],
        }
        made = {**best, "kan_exp": description, "state_dict": {**kept, **own}}
        if "smearing" in description:
            with torch.no_grad():
                residuals = data.train.y - model_from(made).scaled(data.train.x)
            description["smearing"] = smearing(residuals, data.schema, data.train.weight)
        return made


def _unit(loss: Loss, model: KANModel) -> float:
    """The factor from errors of standardized outputs to the unit of the target."""
    one = isinstance(loss, Squared | Huber) and model.y_std.numel() == 1
    return float(model.y_std) if one else 1.0


def write_edges(path: Path, metrics: Mapping[str, Any]) -> None:
    """Writes the edges before and after as CSV, from the entry `pruning` of `metrics.json`."""
    rows = [{"network": name, **row} for name in ("before", "after") for row in metrics[name]]
    write_text(path, csv_text(rows))


def pruning_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Lines about removed and remaining edges, from the entry `pruning` of `metrics.json`."""
    before, after = metrics["edges"]
    are = "is" if after == 1 else "are"
    old, new = (number(error) for error in metrics["error"])
    lines = [
        f"Pruned: {after} of {counted(before, 'edge')} {are} left; validation error {old} before, "
        f"{new} now."
    ]
    if metrics["stopped"] == "nothing learned":
        return [
            f"Not pruned: the network predicts no better than a constant (validation error {old}), "
            f"so that it does not show which edges matter: train it longer, or with other dims."
        ]
    if metrics["stopped"] != "done":
        why = {"seconds": "the time is over (pruning.seconds)", "interrupted": "interrupted"}
        lines.append(f"The search did not end: {why[metrics['stopped']]}. The best so far is kept.")
    if after > MAX_MEASURED:
        return [*lines, f"Of more than {MAX_MEASURED} edges it is not measured how each matters."]
    rows = sorted(metrics["after"], key=lambda row: -row["error_without"])[:MAX_ROWS]
    cells = [
        (
            shortened(f"{row['input']} → {row['output']}"),
            f"{row['form']:<5}  {number(row['error_without'])}",
        )
        for row in rows
    ]
    lines += aligned([("edge", "form   validation error without it"), *cells])
    if after > len(rows):
        lines.append(f"  ... and {after - len(rows)} that matter less")
    if without := metrics["without_effect"]:
        lines.append(f"Without effect: {', '.join(map(shortened, without))}")
    return lines


def _without_effect(model: KANModel) -> list[str]:
    """Names of the inputs without edges."""
    first = model.edge_layers[0]
    if first.mask is None:
        return []
    used = first.mask.any(1).tolist()
    return [name for name, is_used in zip(model.features, used, strict=True) if not is_used]
