"""A training from its first step to its result, and to the sinks that keep the result."""

from __future__ import annotations

import logging
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from kan_exp.data import ExperimentData
from kan_exp.errors import DivergedError, KanExpError, message_of
from kan_exp.layers import EdgeLayer
from kan_exp.layers.kernels import kernel_name
from kan_exp.runs import holding, versions
from kan_exp.runs.best_effort import begin_run
from kan_exp.training.callbacks import BestNetwork, RunCheckpoint, SignalStop, TrialPruning
from kan_exp.training.closing import CUT_SHORT
from kan_exp.training.folds import CrossValidation, fold_errors
from kan_exp.training.left_out import has_intervals, left_out_errors
from kan_exp.training.module import KANModule
from kan_exp.training.pruning import Pruning, Trained
from kan_exp.training.result import Result, make_result
from kan_exp.training.sinks import Sink
from kan_exp.training.state import restore

CallbackT = TypeVar("CallbackT", bound=Callback)

log = logging.getLogger(__name__)

KEPT = ("kan_exp", "global_step", "state_dict")  # of the checkpoint of another run


def quiet_lightning() -> None:
    """Silences the trainer's advice; the program prints what matters itself."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning", message=".*(num_workers|many workers).*")
    warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
    # Hydra has written to the folder already; a folder with another run's results is refused.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* is not empty")


@dataclass(eq=False)
class Experiment:
    """A network, its data and its trainer, ready to be trained once.

    Args:
        module: What is trained.
        data: What it is trained on, already planned.
        trainer: Lightning's trainer, with a `BestNetwork` among its callbacks.
        choices: The options of the run, flat; stored with the result.
        folder: Locked while the experiment runs; None if it writes no files.
        sinks: What takes the result, in this order.
        notes: Lines about what was recognized, logged at the start.
        folds: The cross-validation that estimates the network's error, if there is one.
        pruning: Makes the trained network smaller, if asked for.
    """

    module: KANModule
    data: ExperimentData
    trainer: Trainer
    choices: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    sinks: Sequence[Sink] = ()
    notes: Sequence[str] = ()
    folds: CrossValidation | None = None
    pruning: Pruning | None = None

    def __post_init__(self) -> None:
        begin_run()
        self.choices = dict(self.choices)  # which the data may add to
        self.best = cast(BestNetwork, self._callback(BestNetwork))
        self.stop = self._callback(SignalStop) or SignalStop()
        self._checkpoint = self._callback(RunCheckpoint)
        self._resumed_at: int | None = None  # step of the checkpoint, if the training is resumed

    def _callback(self, kind: type[CallbackT]) -> CallbackT | None:
        return next((c for c in cast(Any, self.trainer).callbacks if isinstance(c, kind)), None)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of the packages and, if splines are summed, the `kernel` that sums them.

        Compiles the kernel if this machine has not done so before.
        """
        network = self.module.model.network
        if not any(isinstance(layer, EdgeLayer) and layer.sums_splines for layer in network):
            return dict(versions())
        parameter = next(network.parameters())
        sample = torch.empty(0, dtype=parameter.dtype, device=self.trainer.strategy.root_device)
        return {**versions(), "kernel": kernel_name(sample)}

    @cached_property
    def all_notes(self) -> list[str]:
        """Lines about what was recognized, and what may make the result worth less."""
        return [*self.notes, *self.data.data_warnings]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resumes from a state of `read_state`; to be called before `run`.

        Raises:
            KanExpError: The training points have changed, or the state does not fit.
        """
        restore(state, self.trainer, self.module, self.data)
        if self._checkpoint is not None:
            self._checkpoint.restore(state["kept"])
        self._resumed_at = state["global_step"]

    def start_over(self) -> None:
        """Removes what an earlier attempt has left in the folder."""
        if self._checkpoint is not None:
            self._checkpoint.clear()
        if self.folds is not None:
            self.folds.clear()
        for sink in self.sinks:
            sink.clear()

    def run(self) -> Result:
        """Trains, scores the best network on the test points, and passes the result to the sinks.

        The result is on disk before anything is printed or drawn, and a failure there is a note.
        Ctrl-C and SIGTERM end the training early; the process then exits with code 130 or 143, and
        the folder is as complete as after a whole run.

        Raises:
            DivergedError: The loss became NaN or infinite; the last good network is kept.
            KanExpError: Another process writes to the folder.
        """
        with holding(self.folder) if self.folder else nullcontext(), self.stop:
            self._log_start()
            for sink in self.sinks:
                sink.begin(self.module, resumed=self._resumed_at is not None)
            result = self.fit()
            for sink in self.sinks:
                sink.write(result)
            if self.folds is not None and self.stop.received is None:
                self.folds.clear()  # metrics.json has them
            if result.diverged is not None:
                log.info("Stopped: %s", result.diverged)  # for train.log
        if result.diverged is not None:
            raise result.diverged
        if self.stop.received is not None:
            sys.exit(128 + self.stop.received)
        return result

    def _log_start(self) -> None:
        size = self.module.size if self._trained is None else "of another run"
        log.info("%s %s", self.choices.get("layer"), size)
        log.info("%s", self.data.summary)
        for note in self.all_notes:
            log.info("Note: %s", note)
        if self._trained is None:
            log.info("%s", self.module.summary)
        if self._resumed_at is not None:
            total = self.trainer.max_steps
            log.info("resumes at step %s of %s", f"{self._resumed_at:,}", f"{total:,}")

    def fit(self) -> Result:
        """Trains and scores the best network; what `run` does without its sinks."""
        spent = self._checkpoint.spent if self._checkpoint else 0.0
        start = time.perf_counter() - spent
        diverged = None
        if (trained := self._trained) is not None:
            self._take(trained)
        else:
            diverged = self.train()
        whole = self._stopped(diverged) not in CUT_SHORT
        folds = self.folds.run(self.module.task) if self.folds is not None and whole else ()
        details = {
            "steps": self.trainer.global_step,
            "train_seconds": round(time.perf_counter() - start, 3),
            "stopped": self._stopped(diverged),
            "choices": self.choices,
            "notes": self.all_notes,
            "device": str(self.trainer.strategy.root_device),
            "devices": self.trainer.world_size,
            "versions": self.versions,
        }
        if "dims" in self.choices:  # which the data may have decided
            self.choices["dims"] = list(self.best.checkpoint["kan_exp"]["dims"])
        if self.pruning is not None and whole:
            details["pruning"] = self.prune(self.pruning)
            details["train_seconds"] = round(time.perf_counter() - start, 3)
            before = {"stopped": self._stopped(diverged)}
            details |= before if trained is None else trained.metrics
        if folds and has_intervals(self.module.task):
            self.best.checkpoint["residuals"] = fold_errors(folds, self.data.schema)
            self._write_best()
        return make_result(self.module, self.data, self.best.checkpoint, details, diverged, folds)

    def left_out_errors(self) -> Tensor | None:
        """Errors where the best network has not seen the truth, see `left_out_errors`."""
        return left_out_errors(self.module, self.data, self.best.checkpoint)

    def _write_best(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.write_best(self.module, changed=True)

    @property
    def _trained(self) -> Trained | None:
        """The network of another run, if that is pruned instead of training one."""
        return None if self.pruning is None else self.pruning.trained

    def _take(self, trained: Trained) -> None:
        """Takes the network of another run in the place of a training."""
        best = trained.checkpoint
        if best["kan_exp"].get("test_points") != self.data.fingerprint:
            raise KanExpError(
                "pruning.run: the data of that run have changed since, so that its network cannot "
                "be pruned on them: train it again with --from."
            )
        self.best.checkpoint = {name: best[name] for name in KEPT}
        for name in ("train", "val"):
            setattr(self.module, f"{name}_history", trained.history.get(name, []))

    def prune(self, pruning: Pruning) -> dict[str, Any]:
        """Puts the pruned network in the place of the best; returns what is known about it."""
        task, best = self.module.task, self.best.checkpoint
        pruned = pruning.run(best, task, self.data, lambda: self.stop.received is not None)
        self.best.checkpoint = dict(pruned.checkpoint)
        if pruned.module is not None:
            histories = self.module.train_history, self.module.val_history
            self.module = pruned.module
            self.module.train_history, self.module.val_history = histories
        self.best.checkpoint["residuals"] = self.left_out_errors()
        self._write_best()
        return pruned.metrics

    def train(self) -> DivergedError | None:
        """Trains, after which `best` has the network; returns why if the training diverged."""
        return fit_trainer(self.trainer, self.module, self.stop, datamodule=self.data)

    def _stopped(self, diverged: DivergedError | None) -> str:
        """The reason why the training ended, for `metrics.json`."""
        pruning = self._callback(TrialPruning)
        if diverged is not None:
            return "diverged"
        if self.stop.received is not None:
            return "interrupted"
        if pruning is not None and pruning.pruned:
            return "pruned"
        if self.module.overfits:
            return "overfitting"
        if self.module.converged is not None:
            return f"converged ({self.module.converged})"
        whole = self.trainer.global_step >= self.trainer.max_steps
        return "steps" if whole else "ended by a callback"


def fit_trainer(
    trainer: Trainer, module: KANModule, stop: SignalStop, *loaders: Any, **data: Any
) -> DivergedError | None:
    """Trains a module on data as `Trainer.fit` takes them; returns why it ended, if it diverged.

    Raises:
        KanExpError: Lightning refused something.
    """
    try:
        trainer.fit(module, *loaders, **data)
    except DivergedError as error:
        return error
    except SystemExit as error:
        if stop.received is not None:  # how Lightning passes on a second Ctrl-C
            raise KeyboardInterrupt from error
        raise
    except Exception as error:
        if not raised_in_lightning(error):
            raise
        raise KanExpError(
            f"Lightning's trainer, logger or a callback refused: {message_of(error)}"
        ) from error
    return None


def raised_in_lightning(error: Exception) -> bool:
    """Whether Lightning itself raised an exception, for instance about a callback's options."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("lightning.")
