"""One run from the first step to the last line on the terminal."""

from __future__ import annotations

import logging
import math
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import Callback, Trainer
from matplotlib.figure import Figure

from kan_exp.board.summaries import Trial
from kan_exp.data import ExperimentData
from kan_exp.errors import DivergedError, KanExpError, message_of
from kan_exp.layers import EdgeLayer
from kan_exp.layers.kernels import kernel_name
from kan_exp.models.loading import load, read_checkpoint
from kan_exp.plots import TASK_FIGURES, history_figure
from kan_exp.plots.saving import save_png
from kan_exp.quoting import shell, word
from kan_exp.runs import from_here, holding, versions, write_json
from kan_exp.runs.best_effort import Failures, begin_run, best_effort
from kan_exp.runs.results import write_metrics
from kan_exp.tasks.metrics import LINEAR, TEST
from kan_exp.tasks.numbers import metric_text
from kan_exp.training.callbacks import EdgeFigures, RunCheckpoint, SignalStop, TrialPruning
from kan_exp.training.closing import CUT_SHORT, advice, result_rows
from kan_exp.training.module import OBSERVED_POINTS, KANModule
from kan_exp.training.score import finite, linear_predictions, score_networks
from kan_exp.training.state import restore
from kan_exp.training.tensorboard import RunLogger

CallbackT = TypeVar("CallbackT", bound=Callback)

FigureMakers = dict[str, Callable[[], Figure]]

log = logging.getLogger(__name__)


def quiet_lightning() -> None:
    """Keeps the trainer's advice off the terminal: what a run says, it says itself."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning", message=".*(num_workers|many workers).*")
    warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
    # Hydra has put its own files there already; a folder with another run's is refused.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* is not empty")


@dataclass
class Experiment:
    """A network, its data and its trainer, ready to run once.

    Args:
        module: What is trained.
        data: What it is trained on, already planned.
        trainer: Lightning's trainer, with its callbacks and logger.
        folder: Where the run writes.
        choices: What the user chose, flat, for the HParams table.
        config: The whole configuration as text.
        trial: What the HParams tab is told of it.
        arguments: By which `python -m kan_exp.train` repeats the run, if that is possible.
    """

    module: KANModule
    data: ExperimentData
    trainer: Trainer
    folder: Path
    choices: Mapping[str, Any]
    config: str
    trial: Trial
    arguments: Sequence[str] | None = None

    def __post_init__(self) -> None:
        begin_run()
        self.stop = self._callback(SignalStop) or SignalStop()
        self.figures = self._callback(EdgeFigures)
        self._checkpoint = self._callback(RunCheckpoint)
        self._begun = 0  # steps that were taken before this process
        logger = self.trainer.logger
        self._tensorboard = logger if isinstance(logger, RunLogger) else None

    @cached_property
    def versions(self) -> dict[str, str]:
        """With what the run is made, and by which `kernel` its splines are summed, if it has any.

        Compiles the kernel where that has not been done on this machine.
        """
        network = self.module.model.network
        if not any(isinstance(one, EdgeLayer) and one.sums_splines for one in network):
            return dict(versions())
        parameter = next(network.parameters())
        sample = torch.empty(0, dtype=parameter.dtype, device=self.trainer.strategy.root_device)
        return {**versions(), "kernel": kernel_name(sample)}

    def _callback(self, kind: type[CallbackT]) -> CallbackT | None:
        return next((c for c in cast(Any, self.trainer).callbacks if isinstance(c, kind)), None)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up the training where a state from `read_state` has it, before `run`.

        Raises:
            KanExpError: The training points are others, or the state does not fit.
        """
        restore(state, self.trainer, self.module, self.data)
        if self._checkpoint is not None:
            self._checkpoint.restore(state["kept"])
        self._begun = state["global_step"]

    def start_over(self) -> None:
        """Sees to it that nothing of an earlier attempt in the same folder is taken for this."""
        if self._checkpoint is not None:
            self._checkpoint.clear()
        if self._tensorboard is not None:
            self._tensorboard.restore(-1)

    def run(self) -> None:
        """Trains, scores the best network on the test points, and writes what came of it.

        The result is on the disk before anything is shown or drawn, and none of that can cost it:
        what fails there is a note. Ctrl-C and kill end the training early and then leave with exit
        code 130 or 143; the folder is as complete as after a whole run.

        Raises:
            DivergedError: The loss stopped being a number; the last good network is kept.
            KanExpError: Another process writes in the folder.
        """
        with holding(self.folder), self.stop:
            self._announce()
            diverged, seconds = self._fit()
            self._keep_best()
            metrics = self._score(seconds, diverged)
            write_json(self.folder / "history.json", self._history(), indent=None)
            write_metrics(self.folder, metrics)
            with best_effort("the table of the result could not be shown"):
                self._report(metrics)
            self._conclude(metrics, self._draw(metrics))
            if diverged is not None:
                log.info("Stopped: %s", diverged)  # for train.log; the command says it as its error
        if diverged is not None:
            raise diverged
        if self.stop.received is not None:
            sys.exit(128 + self.stop.received)

    def _announce(self) -> None:
        parameters = sum(weight.numel() for weight in self.module.model.network.parameters())
        dims = ",".join(str(width) for width in self._dims())
        log.info("%s [%s], %s parameters", self.choices.get("layer"), dims, f"{parameters:,}")
        log.info("%s", self.data.summary)
        for warning in self.data.data_warnings:
            log.info("Note: %s", warning)
        log.info("%s", self.module.summary)
        if self._begun:
            log.info("goes on at step %s of %s", f"{self._begun:,}", f"{self.trainer.max_steps:,}")

    def _dims(self) -> list[int]:
        return list(self.module.description["dims"])

    def _fit(self) -> tuple[DivergedError | None, float]:
        if self._tensorboard is not None and not self._begun:
            with best_effort("the run could not be described in TensorBoard"):
                self._tensorboard.describe(self.trial, self.config)
                module = self.module
                self._tensorboard.lay_out(
                    module.task.primary, module.logs_penalties, module.logs_replicas
                )
            with best_effort("TensorBoard's graph could not be drawn"):
                self._tensorboard.graph(self.module.model)
        start = time.perf_counter() - (self._checkpoint.spent if self._checkpoint else 0.0)
        diverged = None
        try:
            self.trainer.fit(self.module, datamodule=self.data)
        except DivergedError as error:
            diverged = error
        except SystemExit as error:
            if self.stop.received is not None:  # Lightning's way of passing on a second Ctrl-C
                raise KeyboardInterrupt from error
            raise
        except Exception as error:
            if not _is_of_lightning(error):
                raise
            raise KanExpError(
                f"Lightning's trainer, logger or a callback refused: {message_of(error)}"
            ) from error
        return diverged, time.perf_counter() - start

    def _keep_best(self) -> None:
        self.best_step = int(read_checkpoint(self.folder)["global_step"])
        self.module.model = load(self.folder)  # whose grids may be coarser than the last
        self.module.eval()

    def _score(self, seconds: float, diverged: DivergedError | None) -> dict[str, Any]:
        model, data, task = self.module.model, self.data, self.module.task
        self.predicted = model.cpu().predict(data.test.x)
        validation = task.score(model.predict(data.val.x), data.val.y)
        linear = {one.name: math.nan for one in task.metrics}
        with best_effort("the linear model could not be fitted"):
            linear = task.score(linear_predictions(data.train, data.test), data.test.y)
        converged = self.module.converged
        whole = self.trainer.global_step >= self.trainer.max_steps
        stopped = "steps" if whole else "ended by a callback"
        if converged is not None:
            stopped = f"converged ({converged})"
        if self.module.overfits:
            stopped = "overfitting"
        pruning = self._callback(TrialPruning)
        if pruning is not None and pruning.pruned:
            stopped = "pruned"
        if diverged is not None:
            stopped = "diverged"
        elif self.stop.received is not None:
            stopped = "interrupted"
        return {
            **score_networks(task, [self.predicted], data.test.y)[0],
            task.chosen_by: finite(validation[task.primary.name]),
            **{LINEAR + name: finite(value) for name, value in linear.items()},
            "parameters": sum(weight.numel() for weight in model.network.parameters()),
            "steps": self.trainer.global_step,
            "best_step": self.best_step,
            "train_seconds": round(seconds, 3),
            "stopped": stopped,
            "edge_r2": self._agreements(),
            "scoring": task.describe(),
            "data": data.summary,
            "test_points": data.fingerprint,
            "choices": dict(self.choices),
            "device": str(self.trainer.strategy.root_device),
            "devices": self.trainer.world_size,
            "versions": self.versions,
        }

    def _history(self) -> dict[str, Any]:
        """The curves of what is trained and of validation, for tables of many runs."""
        module = self.module
        return {"train": module.train_history, "val": module.val_history}

    def _agreements(self) -> dict[str, float]:
        """R2 of every edge whose true function is known, by its name."""
        found: dict[str, float] = {}
        with best_effort("the edges could not be compared with the true ones"):
            x = self.data.train.x[:OBSERVED_POINTS]
            for view in self.module.model.views(x, self.data.true_edges(x)):
                for i, j in view.shown():
                    agreement = view.agreement(i, j)
                    if agreement is not None and math.isfinite(agreement[0]):
                        found[view.name(i, j)] = agreement[0]
        return found

    def _report(self, metrics: Mapping[str, Any]) -> None:
        """Shows the result as a table, on the terminal and in train.log, and what to try next."""
        folder = from_here(self.folder)
        rows = [
            *result_rows(metrics, self.module.task, self.trainer.max_steps),
            ("figures", f"{folder / 'figures'}"),
        ]
        if self._tensorboard is not None:
            rows.append(("curves", f"python -m kan_exp.dashboard {shell(word(folder))}"))
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            log.info("  %-*s  %s", width, name, value)
        errors = self.predicted.double() - self.data.test.y.double()
        for line in advice(metrics, self.module.task, self.data, errors, self.arguments):
            log.info("%s", line)

    def _draw(self, metrics: Mapping[str, Any]) -> dict[str, bytes]:
        """Writes the final figures; returns the files' contents by their names."""
        folder, drawn, failures = self.folder / "figures", {}, Failures()
        for name, make in self._figure_makers(metrics).items():
            with failures.attempt(f"figures/{name}.png"):
                drawn[name] = save_png(make(), folder / f"{name}.png")
        failures.tell("could not be drawn")
        return drawn

    def _figure_makers(self, metrics: Mapping[str, Any]) -> FigureMakers:
        """What draws each of the final figures, by its name."""
        model, module, edges = self.module.model, self.module, self.figures
        figures: FigureMakers = {}
        if edges is not None:
            views = cache(lambda: edges.views(model, self.data))

            def draw(layer: int, figures: EdgeFigures = edges) -> Figure:
                return figures.draw(layer, views()[layer])

            for n in range(len(model.edge_layers)):
                figures[f"layer_{n + 1}"] = partial(draw, n)
        figures["loss"] = lambda: history_figure(
            module.train_history, module.val_history, self.best_step
        )
        caption = ", ".join(
            f"{one.title} {metric_text(one, metrics[TEST + one.name])}"
            for one in module.task.curves
            if metrics[TEST + one.name] is not None
        )
        truth, predicted = self.data.test.y.numpy(), self.predicted.numpy()
        for name in module.task.figures:
            figures[name] = partial(
                TASK_FIGURES[name], truth, predicted, model.target_name, caption
            )
        return figures

    def _conclude(self, metrics: Mapping[str, Any], figures: Mapping[str, bytes]) -> None:
        """Writes the result and the final figures to TensorBoard."""
        if self._tensorboard is None:
            return
        step, complete = self.trainer.global_step, metrics["stopped"] not in CUT_SHORT
        with best_effort("the result could not be written to TensorBoard"):
            for name, figure in figures.items():
                group = "edges" if name.startswith("layer") else "result"
                self._tensorboard.figure(f"{group}/{name}", figure, step)
            self._tensorboard.conclude(self.trial, metrics, step, complete=complete)


def _is_of_lightning(error: Exception) -> bool:
    """Whether Lightning itself has raised an exception, as of what one of its callbacks lacks."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("lightning.")
