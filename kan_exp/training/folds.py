"""Cross-validation: for each fold a network is trained, and scored on the fold's test rows."""

from __future__ import annotations

import logging
import math
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kan_exp.data import ExperimentData
from kan_exp.data.columns import as_texts
from kan_exp.runs.files import write_text
from kan_exp.runs.printable import csv_text
from kan_exp.tasks import Scoring
from kan_exp.tasks.metrics import LINEAR, STANDARD_ERROR, TEST
from kan_exp.tasks.numbers import metric_text
from kan_exp.training.callbacks.checkpoint import save
from kan_exp.training.left_out import sampled_errors

if TYPE_CHECKING:
    from kan_exp.data.schema import Schema
    from kan_exp.models.model import KANModel

FOLDER = "folds"  # of the results so far, in the folder of the run

log = logging.getLogger(__name__)


@dataclass
class FoldResult:
    """The result of one fold.

    Args:
        metrics: Of its network, as in `metrics.json`.
        rows: Numbers of its test rows `(n,)`, from 0.
        truth: Their outputs, `(n, out)`.
        predictions: The network's, `(n, columns)`.
    """

    metrics: dict[str, Any]
    rows: Tensor
    truth: Tensor
    predictions: Tensor


class CrossValidation:
    """Trains the folds of a run.

    A fold that is done is kept on disk, so that a run that was interrupted does not repeat it.

    Args:
        data: The run's data, with folds.
        fit: Trains folds with these data; ends early if it was told to stop.
        folder: Of the run; `None` keeps nothing on disk.
        at_once: How many folds `fit` gets at most, to train them together.
    """

    def __init__(
        self,
        data: ExperimentData,
        fit: Callable[[Sequence[ExperimentData]], Iterator[FoldResult]],
        folder: Path | None = None,
        at_once: int = 1,
    ) -> None:
        self.data, self.fit, self.at_once = data, fit, at_once
        self.folder = None if folder is None else folder / FOLDER

    def run(self, scoring: Scoring) -> list[FoldResult]:
        """The results of all folds, or of those before one that was told to stop."""
        found: list[FoldResult] = []
        every = range(self.data.num_folds)
        for first in every[:: self.at_once]:
            numbers = every[first : first + self.at_once]
            folds = {number: self.data.fold(number) for number in numbers}
            digests = {number: data.training_fingerprint for number, data in folds.items()}
            known = {number: self._known(number, digests[number]) for number in numbers}
            results = {number: result for number, result in known.items() if result is not None}
            for number, result in results.items():
                self._log(number, result, scoring)
            missing = [number for number in numbers if number not in results]
            trained = self.fit([folds[number] for number in missing])
            for number, result in zip(missing, trained, strict=False):  # fewer if it was stopped
                self._keep(number, digests[number], result)
                self._log(number, result, scoring)
                results[number] = result
            found += [results[number] for number in takewhile(results.__contains__, numbers)]
            if len(results) < len(numbers):
                break
        return found

    def _log(self, number: int, result: FoldResult, scoring: Scoring) -> None:
        text = metric_text(scoring.primary, result.metrics[scoring.judged_by])
        count = f"{number + 1} of {self.data.num_folds}"
        diverged = ", diverged" if result.metrics["stopped"] == "diverged" else ""
        log.info("fold %s: test %s %s%s", count, scoring.primary.title, text, diverged)

    def clear(self) -> None:
        """Removes the results on disk."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{number + 1}.pt"

    def _known(self, number: int, fingerprint: str) -> FoldResult | None:
        """The result of a fold that an earlier attempt at the same run has trained."""
        path = self._path(number)
        if path is None or not path.is_file():
            return None
        stored = torch.load(path, weights_only=True)
        if stored.pop("fingerprint") != fingerprint:
            return None
        return FoldResult(**stored)

    def _keep(self, number: int, fingerprint: str, result: FoldResult) -> None:
        if (path := self._path(number)) is not None:
            save(path, {"fingerprint": fingerprint, **vars(result)})


def fold_name(number: int, folds: int, repeats: int) -> str:
    """Name of a fold, such as `fold 3` or `repeat 2, fold 3`."""
    repeat, fold = divmod(number, folds)
    return f"repeat {repeat + 1}, fold {fold + 1}" if repeats > 1 else f"fold {fold + 1}"


def fold_metrics(
    results: Sequence[FoldResult], scoring: Scoring, folds: int, repeats: int
) -> dict[str, Any]:
    """The entries of `metrics.json` of a cross-validation.

    The run's own test metrics are the means over folds, and the standard error of the primary one
    is that over folds. Repeats use the same rows again, so that they do not lower it.
    """
    each = [
        {"repeat": number // folds + 1, "fold": number % folds + 1, "rows": len(result.rows)}
        | result.metrics
        for number, result in enumerate(results)
    ]
    names = [prefix + one.name for one in scoring.metrics for prefix in (TEST, LINEAR)]
    spread: dict[str, dict[str, float | None]] = {"mean": {}, "std": {}, "se": {}}
    for name in names:
        values = [one[name] for one in each]
        complete = values and all(value is not None for value in values)
        mean = statistics.fmean(values) if complete else None
        std = statistics.stdev(values) if complete and len(values) > 1 else None
        se = None if std is None else std / math.sqrt(min(folds, len(values)))
        for statistic, value in zip(spread, (mean, std, se), strict=True):
            spread[statistic][name] = value
    errors = {f"{scoring.judged_by}{STANDARD_ERROR}": spread["se"][scoring.judged_by]}
    about = {"count": folds, "repeats": repeats, **spread, "each": each}
    return {**spread["mean"], **(errors if scoring.primary.terms else {}), "folds": about}


def first_of_each_row(results: Sequence[FoldResult]) -> tuple[Tensor, Tensor, Tensor]:
    """Truth, out-of-fold predictions and numbers of the rows in order, from the first repeat."""
    if not results:
        return torch.empty(0, 1), torch.empty(0, 1), torch.empty(0, dtype=torch.long)
    numbers, first = np.unique(torch.cat([one.rows for one in results]), return_index=True)
    kept = torch.from_numpy(first)
    truth = torch.cat([one.truth for one in results])[kept]
    predictions = torch.cat([one.predictions for one in results])[kept]
    return truth, predictions, torch.from_numpy(numbers)


def fold_errors(results: Sequence[FoldResult], schema: Schema) -> Tensor:
    """Truth minus prediction of each row, `(m, out)`, on the scale on which outputs are learned."""
    truth, predictions, _ = first_of_each_row(results)
    return sampled_errors(
        schema.scale_outputs(truth.double()) - schema.scale_outputs(predictions.double())
    )


def write_predictions(
    path: Path, results: Sequence[FoldResult], model: KANModel, data: ExperimentData, folds: int
) -> None:
    """Writes the out-of-fold prediction of every row as CSV, in the order of the rows.

    `model` names predictions as the model of each fold does; `folds` is their number in a repeat.
    """
    rows = torch.cat([result.rows for result in results])
    number = torch.cat([torch.full_like(one.rows, k) for k, one in enumerate(results)])
    columns: dict[str, list[Any]] = {
        "row": (rows + 1).tolist(),
        "repeat": (number // folds + 1).tolist(),
        "fold": (number % folds + 1).tolist(),
    }
    truth = torch.cat([result.truth.double() for result in results])
    for name, values in zip(data.schema.targets, truth.T.tolist(), strict=True):
        texts = [f"{value:.9g}" for value in values]
        columns[name] = [model.classes[int(v)] for v in values] if model.classes else texts
    predicted = model.as_columns(torch.cat([result.predictions.double() for result in results]))
    columns |= {name: as_texts(column) for name, column in predicted.items()}
    order = sorted(zip(*columns.values(), strict=True), key=itemgetter(0, 1, 2))
    write_text(path, csv_text(dict(zip(columns, row, strict=True)) for row in order))


def fold_table(metrics: Mapping[str, Any], scoring: Scoring) -> list[str]:
    """The lines of a table of folds, for the terminal."""
    about = metrics["folds"]
    shown = [*scoring.metrics, scoring.primary]
    titles = [one.title for one in scoring.metrics]
    header = ["", "rows", *titles, f"linear {scoring.primary.title}"]
    keys = [*(TEST + one.name for one in scoring.metrics), LINEAR + scoring.primary.name]
    body = [
        [
            fold_name(number, about["count"], about["repeats"]),
            f"{one['rows']:,}",
            *(metric_text(metric, one[key]) for metric, key in zip(shown, keys, strict=True)),
        ]
        for number, one in enumerate(about["each"])
    ]
    for title, statistic in (("mean", "mean"), ("standard deviation", "std")):
        values = (about[statistic][key] for key in keys)
        cells = ["" if value is None else f"{value:.3g}" for value in values]
        body.append([title, "", *cells])
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *body)
    ]
