"""Formulas of a run: sought in its data, compared with its network, written to its folder."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from torch import Tensor

from kan_exp.data import EquationData, ExperimentData, SampledData
from kan_exp.errors import KanExpError
from kan_exp.models.model import KANModel
from kan_exp.plots import formula_figure
from kan_exp.plots.formula import MAX_CURVES, Curve
from kan_exp.plots.saving import save_png
from kan_exp.runs import from_here
from kan_exp.runs.best_effort import best_effort
from kan_exp.runs.folders import CHECKPOINTS, FORMULA
from kan_exp.runs.printable import printable
from kan_exp.runs.results import write_metrics
from kan_exp.symbolic.explaining import solve
from kan_exp.symbolic.explanation import Explanation
from kan_exp.symbolic.expression import Array
from kan_exp.symbolic.functions import read_functions
from kan_exp.symbolic.observations import Observations, network_observations, output_of
from kan_exp.symbolic.records import save
from kan_exp.symbolic.workers import Workers
from kan_exp.training.callbacks.progress import progress_bar
from kan_exp.training.closing import CUT_SHORT
from kan_exp.training.result import Result
from kan_exp.training.sinks import Sink
from kan_exp.training.tensorboard import RunLogger

log = logging.getLogger(__name__)

CURVE_POINTS = 300
MARGIN = 0.05  # of an input's range, by which curves exceed the data
SHOWN_POINTS = 500
MAX_EDGES = 12  # on the terminal


@dataclass
class ExplainSink(Sink):
    """Seeks a formula once the result of a training is written; a failure is a note.

    Args:
        folder: Of the run.
        seconds: Limit of time for each output.
        seed: Of the search.
        functions: Of the user, see `kan_exp.symbolic.functions.read_functions`.
        workers: Processes that try things side by side, for one output after the other.
        shows_progress: Whether a terminal shows what is being tried.
        logger: Of the run; takes the figures.
    """

    folder: Path
    seconds: float
    seed: int
    functions: Mapping[str, Any]
    workers: int
    shows_progress: bool = True
    logger: RunLogger | None = None

    def write(self, result: Result) -> None:
        if result.metrics["stopped"] in CUT_SHORT:
            return
        with best_effort("no formula"), _interruptible():
            formulas, figures = self.explain(result.model, result.data)
            result.metrics["formulas"] = formulas
            write_metrics(self.folder, result.metrics)
            if self.logger is not None:
                for name, png in figures.items():
                    self.logger.figure(f"result/{name}", png, result.metrics["steps"])

    def clear(self) -> None:
        for path in (self.folder / FORMULA, *self.folder.glob(f"formula*/{CHECKPOINTS[0]}")):
            path.unlink(missing_ok=True)

    def explain(
        self, model: KANModel, data: ExperimentData, output: str | None = None
    ) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        """Seeks a formula for each output of a run, or for one, and writes and prints them.

        The search sees the training and validation points; the test points are fresh.

        Args:
            model: The run's network.
            data: What it was trained on.
            output: Name of an output; all if not given.

        Returns:
            The entry `formulas` of metrics.json, and PNG figures by name.

        Raises:
            KanExpError: The outputs are neither numbers nor two classes, or the data cannot be
                used.
        """
        if isinstance(data, EquationData):
            raise KanExpError(
                "explain: a differential equation has no data: explain its solution in Python, by "
                "kan_exp.explain(X, model.predict(X))."
            )
        library, seconds, folder = read_functions(self.functions), self.seconds, self.folder
        every = output is None and not model.classes
        outputs: list[str | None] = [*model.names] if every else [output]
        explanations, figures = [], []
        with Workers(self.workers) as processes:
            for observed in observations(model, data, outputs):
                with progress(seconds, self.shows_progress) as report:
                    explanation = solve(
                        observed, seconds, self.seed, library, report, processes, data.units
                    )
                explanations.append(explanation)
                figures.append(partial(draw, explanation, observed))
        save(explanations, folder)
        lines = [line for one in explanations for line in [*one.lines(), *one.table()]]
        edges = next((found for one in explanations if (found := one.edge_lines())), [])
        if len(edges) > MAX_EDGES:
            edges[MAX_EDGES:] = [f"  ... and {len(edges) - MAX_EDGES:,} more in formula.txt"]
        for line in (*lines, *edges):
            log.info("%s", line)
        many, drawn = len(figures) > 1, {}
        for number, (explanation, figure) in enumerate(zip(explanations, figures, strict=True), 1):
            name = f"formula_{number}" if many else "formula"
            with best_effort(f"the network {name} could not be written"):
                explanation.torch(only_used=True).save(folder / name)
            with best_effort(f"figures/{name}.png could not be drawn"):
                drawn[name] = save_png(figure(), folder / "figures" / f"{name}.png")
        log.info("  %s", from_here(folder / FORMULA))
        return [one.summary() for one in explanations], drawn


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C end the search rather than the training, which is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def observations(
    model: KANModel, data: ExperimentData, outputs: Sequence[str | None]
) -> list[Observations]:
    """The data and the network's predictions for some outputs of a run."""
    places = [output_of(model, output) for output in outputs]
    seen = [data.train, data.val]
    points = torch.cat([part.x.double() for part in seen])
    target = torch.cat([_target(data, part.x, part.y) for part in seen])
    weight = None
    if data.train.weight is not None:
        parts = [part.weight for part in seen if part.weight is not None]
        weight = torch.cat(parts).double().cpu().numpy()
    columns = places if target.shape[1] > 1 else [0] * len(places)
    fresh = None
    if not data.num_folds:  # or the test points are all rows, which the search has seen
        truth = _target(data, data.test.x, data.test.y)[:, columns].cpu().numpy()
        fresh = (data.test.x.double(), truth)
    rows = (points, target[:, columns].cpu().numpy())
    return network_observations(model, rows, fresh, weight, outputs)


def _target(data: ExperimentData, x: Tensor, y: Tensor) -> Tensor:
    """The target in float64: sampled points are float32, but their exact values are known."""
    if isinstance(data, SampledData) and data.noise_free:
        return data.target.formula(x.double())[:, None]
    return y.double()


@contextmanager
def progress(seconds: float, shown: bool) -> Iterator[Callable[[str], None]]:
    """Shows on a terminal what is being tried; gives the function that reports it."""
    bar = None
    if shown:
        doing = TextColumn("{task.fields[doing]}", markup=False)
        bar = progress_bar(TextColumn("formula"), BarColumn(), TimeElapsedColumn(), doing)
    if bar is None:
        yield lambda doing: None
        return
    with bar:
        task = bar.add_task("formula", total=seconds, doing="")

        def report(doing: str) -> None:
            spent = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=min(spent, seconds), doing=printable(doing))

        yield report


def draw(explanation: Explanation, observed: Observations) -> Figure:
    """The figure of a formula."""
    expression = explanation.chosen.expression
    points, truth = observed.compared
    kept = np.random.default_rng(0).permutation(len(points))[:SHOWN_POINTS]
    points = points[kept]
    truth = observed.network_values if truth is None else truth
    left = (np.zeros(len(kept)) if truth is None else truth[kept]) - expression(points)
    middle = np.median(observed.x, axis=0)
    curves: list[Curve] = []
    for index in expression.inputs:
        low, high = explanation.ranges[index]
        room = MARGIN * (high - low)
        x = np.linspace(low - room, high + room, CURVE_POINTS)
        along = _along(middle, index, x)
        network = None
        if observed.network is not None and len(curves) < MAX_CURVES:
            network = observed.network(along)
        at = points[:, index]
        data = expression(_along(middle, index, at)) + left
        label = explanation.labelled(explanation.names[index])
        curves.append(Curve(label, x, expression(along), network, at, data))
    text = f"{explanation.target} = {explanation.formula}"
    return formula_figure(
        explanation.latex(),
        text,
        explanation.labelled(explanation.target),
        curves,
        _caption(explanation),
    )


def _along(middle: Array, index: int, x: Array) -> Array:
    points = np.tile(middle, (len(x), 1))
    points[:, index] = x
    return points


def _caption(explanation: Explanation) -> str:
    verdict = explanation.verdict.partition(":")[0]
    parts = ", ".join(f"{one.between} {one.rmse:.3g}" for one in explanation.differences)
    return f"{verdict[0].upper()}{verdict[1:]}; RMSE: {parts}"
