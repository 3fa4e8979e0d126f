"""Sinks of the result of a training: files, the terminal, figures, TensorBoard."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kan_exp.board.summaries import Trial
from kan_exp.data import EquationData
from kan_exp.models.importance import Importance
from kan_exp.models.model import KANModel
from kan_exp.plots import (
    TASK_FIGURES,
    conditions_figure,
    history_figure,
    moving_picture,
    network_figure,
    replicas_figure,
    solution_figure,
)
from kan_exp.plots.saving import save_bytes, save_png, save_svg
from kan_exp.quoting import shell, word
from kan_exp.runs import from_here, write_json
from kan_exp.runs.best_effort import Failures, best_effort
from kan_exp.runs.printable import aligned
from kan_exp.runs.results import write_metrics
from kan_exp.tasks.metrics import NUMBERS, TEST, title
from kan_exp.tasks.numbers import metric_text
from kan_exp.training.callbacks import EdgeFigures
from kan_exp.training.closing import CUT_SHORT, advice, result_rows
from kan_exp.training.folds import fold_table, write_predictions
from kan_exp.training.module import KANModule
from kan_exp.training.pruning import pruning_lines, write_edges
from kan_exp.training.result import Result
from kan_exp.training.solutions import MET, moving_fields, remainders, solution_fields, time_of
from kan_exp.training.tensorboard import RunLogger

NETWORK = "network"
MOVING = "solution_in_time"
MAX_POINTS = 1000  # on which the importance of edges is measured

log = logging.getLogger(__name__)


class Sink:
    """Takes the result of a training. The base class ignores everything."""

    def begin(self, module: KANModule, *, resumed: bool) -> None:
        """Called before the first step."""

    def write(self, result: Result) -> None:
        """Called once, with the result."""

    def clear(self) -> None:
        """Removes what an earlier attempt at the same training has left."""


@dataclass
class FileSink(Sink):
    """Writes `history.json` and `metrics.json`; the presence of the latter means done.

    A cross-validation adds `predictions.csv`, the prediction of each row by the network that has
    not seen it.
    """

    folder: Path

    def write(self, result: Result) -> None:
        write_json(self.folder / "history.json", result.history, indent=None)
        if result.folds:
            path, count = self.folder / "predictions.csv", result.metrics["folds"]["count"]
            write_predictions(path, result.folds, result.model, result.data, count)
        if "pruning" in result.metrics:
            write_edges(self.folder / "edges.csv", result.metrics["pruning"])
        write_metrics(self.folder, result.metrics)


@dataclass
class TerminalSink(Sink):
    """Logs the result as a table, and advice on what to try next.

    Args:
        folder: Of the run.
        max_steps: Steps of the whole run.
        has_curves: Whether TensorBoard can show the run.
        has_figures: Whether figures are drawn.
        arguments: The command line that repeats the run; None if there is none.
    """

    folder: Path
    max_steps: int
    has_curves: bool
    has_figures: bool
    arguments: Sequence[str] | None

    def write(self, result: Result) -> None:
        with best_effort("the table of the result could not be shown"):
            for line in self._lines(result):
                log.info("%s", line)

    def _lines(self, result: Result) -> Iterator[str]:
        metrics, task, folder = result.metrics, result.task, from_here(self.folder)
        rows = result_rows(metrics, task, self.max_steps)
        if self.has_figures:
            rows.append(("figures", f"{folder / 'figures'}"))
        if result.folds:
            rows.append(("predictions", f"{folder / 'predictions.csv'}"))
        if "pruning" in metrics:
            rows.append(("edges", f"{folder / 'edges.csv'}"))
        if self.has_curves:
            rows.append(("curves", f"python -m kan_exp.dashboard {shell(word(folder))}"))
        yield from aligned(rows)
        if "pruning" in metrics:
            yield from pruning_lines(metrics["pruning"])
        if result.folds:
            yield from fold_table(metrics, task)
            yield (
                "The network was trained on all rows; its error is estimated by that of the "
                "folds, each on rows that its network has not seen."
            )
        errors = None
        if task.predicts == NUMBERS:
            errors = result.predictions.double() - result.truth.double()
        yield from advice(metrics, task, result.data, errors, self.arguments)


@dataclass
class FigureSink(Sink):
    """Draws the final figures into a folder and, if there is a logger, into TensorBoard.

    Args:
        folder: Where the PNG files go.
        edges: Draws the edges of the layers.
        logger: Of the run.
    """

    folder: Path
    edges: EdgeFigures
    logger: RunLogger | None

    def write(self, result: Result) -> None:
        contents, failures = {}, Failures()
        for name, draw in self._figures(result).items():
            with failures.attempt(f"figures/{name}.png"):
                figure = draw()
                contents[name] = save_png(figure, self.folder / f"{name}.png")
                if name == NETWORK:
                    with failures.attempt(f"figures/{name}.svg"):
                        save_svg(figure, self.folder / f"{name}.svg")
        if (data := result.data) and isinstance(data, EquationData) and time_of(data) is not None:
            with failures.attempt(f"figures/{MOVING}.gif"):
                picture = moving_picture([*moving_fields(data, result.model)])
                contents[MOVING] = save_bytes(picture, self.folder / f"{MOVING}.gif")
        failures.log("could not be drawn")
        if self.logger is not None:
            with best_effort("the figures could not be written to TensorBoard"):
                for name, png in contents.items():
                    group = "edges" if name.startswith("layer") else "result"
                    self.logger.figure(f"{group}/{name}", png, result.metrics["steps"])

    def _figures(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """Functions that draw the figures, by name."""
        metrics, edges = result.metrics, self.edges
        figures: dict[str, Callable[[], Figure]] = {}
        views = cache(partial(edges.views, result.model, result.data))

        def draw(layer: int) -> Figure:
            return edges.draw(layer, views()[layer])

        for n in range(len(result.model.edge_layers)):
            figures[f"layer_{n + 1}"] = partial(draw, n)
        figures[NETWORK] = lambda: network_figure(views(), _importance(result))
        figures["loss"] = lambda: history_figure(
            result.history["train"], result.history["val"], metrics["best_step"]
        )
        truth, predictions = result.truth.numpy(), result.predictions.numpy()
        columns, caption = result.model.names, _caption(result)
        for name in result.task.figures:
            figures[name] = partial(TASK_FIGURES[name], truth, predictions, columns, caption)
        data = result.data
        if isinstance(data, EquationData):
            figures["solution"] = lambda: solution_figure(
                solution_fields(data, result.model), _caption(result)
            )
            figures["conditions"] = lambda: _conditions_figure(data, result.model)
        if "replicas" in metrics:
            figures["replicas"] = lambda: _replicas_figure(result)
        return figures


def _importance(result: Result) -> Importance:
    """On validation points, or on training points if there are none."""
    split = result.data.val if len(result.data.val.x) else result.data.train
    weight = None if split.weight is None else split.weight[:MAX_POINTS]
    return result.model.importance(split.x[:MAX_POINTS], weight)


def _conditions_figure(data: EquationData, model: KANModel) -> Figure:
    left = remainders(data, model, model.description.get("coefficients", {}))
    sizes = [one.residuals.abs().flatten().numpy() for one in left]
    return conditions_figure([one.name for one in left], sizes, [one.relative for one in left], MET)


def _caption(result: Result) -> str:
    values = {metric: result.metrics[TEST + metric.name] for metric in result.task.curves}
    return ", ".join(
        f"{metric.title} {metric_text(metric, value)}"
        for metric, value in values.items()
        if value is not None
    )


def _replicas_figure(result: Result) -> Figure:
    replicas, judged_by = result.metrics["replicas"], result.task.judged_by
    each = replicas["each"]
    first = each[0]["seed"]
    diverged = {one["seed"] for one in replicas["diverged"]}
    curves = result.history["replicas"]
    return replicas_figure(
        [(step, _array(values)) for step, values in curves["train"]],
        [(step, _array(values)) for step, values in curves["val"]],
        _array([one[judged_by] for one in each]),
        np.array([one["seed"] in diverged for one in each]),
        replicas["kept_seed"] - first,
        first,
        title(judged_by),
    )


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values])


class TensorBoardSink(Sink):
    """Logs options, configuration and graph at the start, and the result at the end.

    Args:
        logger: Of the run.
        trial: The run as the HParams tab shows it.
        config: The whole configuration as YAML.
    """

    def __init__(self, logger: RunLogger, trial: Trial, config: str) -> None:
        self.logger, self.trial, self.config = logger, trial, config
        # Widths that the data decide are known at the end of the training.
        self.described = trial.choices.get("dims") is not None

    def begin(self, module: KANModule, *, resumed: bool) -> None:
        if resumed:
            return
        with best_effort("the run could not be described in TensorBoard"):
            if self.described:
                self.logger.describe(self.trial, self.config)
            self.logger.lay_out(module.task.primary, module.logs_penalties, module.logs_replicas)
        if self.described:
            self._draw_graph(module.model)

    def _draw_graph(self, model: KANModel) -> None:
        with best_effort("TensorBoard's graph could not be drawn"):
            self.logger.graph(model)

    def write(self, result: Result) -> None:
        metrics: Mapping[str, Any] = result.metrics
        if not self.described:
            self.trial = replace(self.trial, choices=metrics["choices"])
            with best_effort("the run could not be described in TensorBoard"):
                self.logger.describe(self.trial, self.config)
            self._draw_graph(result.model)
        with best_effort("the result could not be written to TensorBoard"):
            complete = metrics["stopped"] not in CUT_SHORT
            self.logger.conclude(self.trial, metrics, metrics["steps"], complete=complete)

    def clear(self) -> None:
        self.logger.restore(-1)
