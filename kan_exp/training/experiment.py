"""One run from the first step to the last line on the terminal."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from lightning.pytorch import Callback, Trainer
from matplotlib.figure import Figure

from kan_exp.board.summaries import Trial
from kan_exp.data import ExperimentData
from kan_exp.errors import DivergedError
from kan_exp.plots import history_figure, prediction_figure
from kan_exp.plots.style import pixels, png, short_r2
from kan_exp.quoting import shell, word
from kan_exp.runs import from_here, versions, write_json
from kan_exp.training.callbacks import EdgeFigures, RunCheckpoint, SignalStop, TrialPruning
from kan_exp.training.folder import load, read_checkpoint, write_metrics
from kan_exp.training.model import Score, linear_score, score
from kan_exp.training.module import OBSERVED_POINTS, KANModule
from kan_exp.training.state import go_on
from kan_exp.training.tensorboard import RunLogger

CallbackT = TypeVar("CallbackT", bound=Callback)

log = logging.getLogger(__name__)

MOST_AGREEMENTS = 4
CUT_SHORT = ("diverged", "interrupted", "pruned")
FOUND = 0.999  # R2 from which on a noise-free function counts as found


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
    """

    module: KANModule
    data: ExperimentData
    trainer: Trainer
    folder: Path
    choices: Mapping[str, Any]
    config: str
    trial: Trial

    def __post_init__(self) -> None:
        self.stop = self._callback(SignalStop) or SignalStop()
        self.figures = self._callback(EdgeFigures)
        self._checkpoint = self._callback(RunCheckpoint)
        self._begun = 0  # steps that were taken before this process
        logger = self.trainer.logger
        self._tensorboard = logger if isinstance(logger, RunLogger) else None

    def _callback(self, kind: type[CallbackT]) -> CallbackT | None:
        return next((c for c in cast(Any, self.trainer).callbacks if isinstance(c, kind)), None)

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Takes up the training where a state from `read_state` has it, before `run`.

        Raises:
            KanExpError: The training points are others, or the state does not fit.
        """
        go_on(state, self.trainer, self.module, self.data)
        if self._checkpoint is not None:
            self._checkpoint.go_on(state["kept"])
        self._begun = state["global_step"]

    def start_over(self) -> None:
        """Sees to it that nothing of an earlier attempt in the same folder is taken for this."""
        if self._checkpoint is not None:
            self._checkpoint.clear()
        if self._tensorboard is not None:
            self._tensorboard.go_on(-1)

    def run(self) -> None:
        """Trains, scores the best network on the test points, and writes what came of it.

        Ctrl-C and kill end the training early and then leave with exit code 130 or 143; the folder
        is as complete as after a whole run.

        Raises:
            DivergedError: The loss stopped being a number; the last good network is kept.
        """
        with self.stop:
            self._announce()
            diverged, seconds = self._fit()
            self._keep_best()
            metrics = self._score(seconds, diverged)
            self._draw(metrics)
            write_json(self.folder / "history.json", self._history(), indent=None)
            write_metrics(self.folder, metrics)
            self._report(metrics)
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
        for doubt in self.data.doubts:
            log.info("Note: %s", doubt)
        log.info("%s", self.module.summary)
        if self._begun:
            log.info("goes on at step %s of %s", f"{self._begun:,}", f"{self.trainer.max_steps:,}")

    def _dims(self) -> list[int]:
        return list(self.module.description["dims"])

    def _fit(self) -> tuple[DivergedError | None, float]:
        if self._tensorboard is not None and not self._begun:
            self._tensorboard.describe(self.trial, self.config)
            self._tensorboard.lay_out(self.module.logs_penalties, self.module.logs_replicas)
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
        return diverged, time.perf_counter() - start

    def _keep_best(self) -> None:
        self.best_step = int(read_checkpoint(self.folder)["global_step"])
        self.module.model = load(self.folder)  # whose grids may be coarser than the last
        self.module.eval()

    def _score(self, seconds: float, diverged: DivergedError | None) -> dict[str, Any]:
        model, data = self.module.model, self.data
        self.predicted = model.cpu().predict(data.test.x)
        test: Score = score(self.predicted, data.test.y)
        validation = score(model.predict(data.val.x), data.val.y)
        linear = linear_score(data.train, data.test)
        converged = self.module.converged
        stopped = "steps" if converged is None else f"converged ({converged})"
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
            "test_rmse": test.rmse,
            "test_mae": test.mae,
            "test_r2": finite(test.r2),
            "test_r": finite(test.r),
            "val_rmse": validation.rmse,
            "linear_rmse": linear.rmse,
            "linear_r2": finite(linear.r2),
            "parameters": sum(weight.numel() for weight in model.network.parameters()),
            "steps": self.trainer.global_step,
            "best_step": self.best_step,
            "train_seconds": round(seconds, 3),
            "stopped": stopped,
            "edge_r2": self._agreements(),
            "data": data.summary,
            "test_points": data.fingerprint,
            "choices": dict(self.choices),
            "device": str(self.trainer.strategy.root_device),
            "devices": self.trainer.world_size,
            "versions": dict(versions()),
        }

    def _history(self) -> dict[str, Any]:
        """The curves of what is trained and of validation, for tables of many runs."""
        module = self.module
        return {"train": module.train_history, "val": module.val_history}

    def _agreements(self) -> dict[str, float]:
        """R2 of every edge whose true function is known, by its name."""
        x = self.data.train.x[:OBSERVED_POINTS]
        views = self.module.model.views(x, self.data.true_edges(x))
        found = {}
        for view in views:
            for i, j in view.shown():
                agreement = view.agreement(i, j)
                if agreement is not None:
                    found[view.name(i, j)] = agreement[0]
        return found

    def _draw(self, metrics: Mapping[str, Any]) -> None:
        """Writes the final pictures and shows them, with the result, in TensorBoard."""
        figures = self._make_figures(metrics)
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        step = self.trainer.global_step
        for name, figure in figures.items():
            picture = png(pixels(figure))
            (folder / f"{name}.png").write_bytes(picture)
            if self._tensorboard is not None:
                group = "edges" if name.startswith("layer") else "result"
                self._tensorboard.picture(f"{group}/{name}", picture, step)
        if self._tensorboard is not None:
            complete = metrics["stopped"] not in CUT_SHORT
            self._tensorboard.conclude(self.trial, metrics, step, complete=complete)

    def _make_figures(self, metrics: Mapping[str, Any]) -> dict[str, Figure]:
        model = self.module.model
        layers = [] if self.figures is None else self.figures.draw(model, self.data)
        figures = {f"layer_{n}": layer.figure for n, layer in enumerate(layers, 1)}
        caption = f"RMSE {metrics['test_rmse']:.3g}, R² {short_r2(metrics['test_r2'])}"
        figures["loss"] = history_figure(
            self.module.train_history, self.module.val_history, self.best_step
        )
        figures["prediction"] = prediction_figure(
            self.data.test.y[:, 0].numpy(),
            self.predicted[:, 0].numpy(),
            model.target_name,
            caption,
        )
        return figures

    def _report(self, metrics: Mapping[str, Any]) -> None:
        """Says what came of it: a table on the terminal and in train.log."""
        folder = from_here(self.folder)
        steps = f"{metrics['steps']:,}"
        best = metrics["best_step"]
        kept = f"the best on validation, of step {best:,}" if best else "the start"
        if metrics["stopped"] != "steps":
            steps += f" of {self.trainer.max_steps:,}, {metrics['stopped']}"
        rows = [
            (
                "test RMSE",
                f"{metrics['test_rmse']:.3g} (linear model {metrics['linear_rmse']:.3g})",
            ),
            ("test MAE", f"{metrics['test_mae']:.3g}"),
            (
                "test R²",
                f"{short_r2(metrics['test_r2'])} (linear model {short_r2(metrics['linear_r2'])}), "
                f"r {short_r2(metrics['test_r'])}",
            ),
            *self._agreement_row(metrics["edge_r2"]),
            *self._more_rows(metrics),
            ("parameters", f"{metrics['parameters']:,}"),
            ("steps", f"{steps}; kept {kept}"),
            ("seconds", f"{metrics['train_seconds']:.1f}"),
            ("figures", f"{folder / 'figures'}"),
        ]
        if self._tensorboard is not None:
            rows.append(("curves", f"python -m kan_exp.dashboard {shell(word(folder))}"))
        for name, value in rows:
            log.info("  %-11s %s", name, value)
        r2 = metrics["test_r2"]
        done = metrics["stopped"] not in CUT_SHORT
        if done and self.data.noise_free and r2 is not None and r2 < FOUND:
            log.info(
                "This run did not find the function: it leaves %.3g%% of the variance unexplained. "
                "Try another seed, more steps or other dims.",
                100 * (1 - r2),
            )

    def _more_rows(self, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What a special kind of run has to say beside."""
        return []

    def _agreement_row(self, agreements: Mapping[str, float]) -> list[tuple[str, str]]:
        """Edges against the true ones: all if they are few, else the best and the worst."""
        if not agreements:
            return []
        shown = sorted(agreements, key=lambda name: -agreements[name])
        if len(shown) > MOST_AGREEMENTS:
            shown = [shown[0], shown[-1]]
        text = ", ".join(f"{name} {short_r2(agreements[name])}" for name in shown)
        ends = " (best, worst)" if len(shown) < len(agreements) else ""
        return [("true edges", f"R² {text}{ends}")]


def finite(value: float) -> float | None:
    """A number, or nothing where it is none, as R2 is not where values are all the same."""
    return value if math.isfinite(value) else None
