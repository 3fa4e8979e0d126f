"""The best network of a training in memory, and the checkpoints of a run on disk."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from kan_exp.data import ExperimentData
from kan_exp.errors import DivergedError
from kan_exp.models.loading import model_from
from kan_exp.models.residuals import smearing
from kan_exp.runs import replacing
from kan_exp.tasks.metrics import NUMBERS
from kan_exp.training.callbacks.stop import SignalStop
from kan_exp.training.left_out import left_out_errors
from kan_exp.training.module import CHOSEN_BY, KANModule
from kan_exp.training.state import whole_state
from kan_exp.training.tensorboard import RunLogger

BEST, LAST = "best.ckpt", "last.ckpt"
MAX_SHARE = 0.01  # of a run's time that writing may take


class BestNetwork(Callback):
    """Keeps the network that was best on validation, in memory.

    Attributes:
        checkpoint: What `model_from` reads: description, weights on the CPU, `global_step`; empty
            before the training starts.
        error: Its validation error.
    """

    def __init__(self) -> None:
        self.checkpoint: dict[str, Any] = {}
        self.error = float("inf")

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.checkpoint:
            self.begin(cast(KANModule, module), _data(trainer))

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        error = float(trainer.callback_metrics[CHOSEN_BY])
        self.see(error, cast(KANModule, module), _data(trainer), trainer.global_step)

    def begin(self, module: KANModule, data: ExperimentData) -> None:
        """Keeps the network before the first step, which counts until the first validation."""
        self._keep(module, data, 0)
        if module.start_margin is not None:
            start = module.validation_error(data.val)
            if math.isfinite(start):
                self.error = start - module.start_margin * abs(start)

    def see(self, error: float, module: KANModule, data: ExperimentData, step: int) -> None:
        """Keeps the network if its validation error is the lowest so far."""
        if error < self.error or module.selects:
            self.error = error
            self._keep(module, data, step)

    def _keep(self, module: KANModule, data: ExperimentData, step: int) -> None:
        weights = {n: w for n, w in module.state_dict().items() if n.startswith("model.")}
        content: dict[str, Any] = {}
        module.on_save_checkpoint(content)
        self.checkpoint = {
            "kan_exp": dict(content["kan_exp"]),
            "global_step": step,
            "state_dict": {name: weight.to("cpu", copy=True) for name, weight in weights.items()},
        }
        if data.schema.scales_outputs and module.task.predicts == NUMBERS:
            model = model_from(self.checkpoint)
            with torch.no_grad():
                residuals = data.train.y - model.scaled(data.train.x)
            found = smearing(residuals, data.schema, data.train.weight)
            self.checkpoint["kan_exp"] |= {"smearing": found}


def _data(trainer: Trainer) -> ExperimentData:
    return cast(ExperimentData, cast(Any, trainer).datamodule)


class RunCheckpoint(Checkpoint):
    """Writes `best.ckpt`, the best network, and `last.ckpt`, the whole state of the training.

    It writes between two chunks of steps, and at the end. A chunk that a signal has cut short is
    not part of the state, nor is the validation after it: a resumed run does what it would have
    done without the signal.

    Args:
        folder: Where the files go.
        seconds: Time between two writes, at least; longer where writing takes long.
        best: Keeps the best network.
    """

    def __init__(self, folder: Path, seconds: float, best: BestNetwork) -> None:
        self.folder, self.seconds, self.best = folder, seconds, best
        self.spent = 0.0  # seconds of training before this process
        self._finished = False
        self._best_is_written = False
        self._written = self._began = time.perf_counter()
        self._cost = 0.0  # seconds of the last write

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Restores what a `last.ckpt` holds about checkpoints."""
        self.spent, self._finished = kept["seconds"], kept["finished"]
        self.best.checkpoint, self.best.error = kept["best"], kept["least"]

    def clear(self) -> None:
        """Removes the checkpoints of an earlier training."""
        for name in (BEST, LAST):
            (self.folder / name).unlink(missing_ok=True)

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._written = self._began = time.perf_counter()
        if self.best.checkpoint and trainer.is_global_zero:
            self.write_best(module)  # the file may be later than the state

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self._finished

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        # Not at the end of a chunk: a validation may follow that belongs to it.
        now = time.perf_counter()
        if now - self._written >= max(self.seconds, self._cost / MAX_SHARE):
            self._write(trainer, module)
            self._written = time.perf_counter()
            self._cost = self._written - now

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._best_is_written = False  # replicas may have improved even if the best has not

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            errors = left_out_errors(cast(KANModule, module), _data(trainer), self.best.checkpoint)
            self.best.checkpoint["residuals"] = errors
            self._best_is_written = False
        stops = [c for c in cast(Any, trainer).callbacks if isinstance(c, SignalStop)]
        if all(stop.received is None for stop in stops):
            self._finished = True
            self._write(trainer, module)
        elif trainer.is_global_zero:
            self.write_best(module)

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError) and trainer.is_global_zero:
            self.write_best(module)

    def write_best(self, module: LightningModule, changed: bool = False) -> None:
        """Writes the best network, unless it is written and has not `changed`."""
        if not self.best.checkpoint or (self._best_is_written and not changed):
            return
        content: dict[str, Any] = {}
        module.on_save_checkpoint(content)
        save(self.folder / BEST, {**content, **self.best.checkpoint})
        self._best_is_written = True

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:  # the curves so far must not be lost either
            if isinstance(logger, RunLogger):
                logger.flush()
            else:
                logger.save()
        self.write_best(module)
        kept = {
            "best": self.best.checkpoint,
            "least": self.best.error,
            "finished": self._finished,
            "seconds": self.spent + time.perf_counter() - self._began,
        }
        save(self.folder / LAST, {**whole_state(trainer, module), "kept": kept})


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a checkpoint of plain containers and tensors atomically.

    Tensors are written from the CPU, so that the file does not depend on the device.

    Raises:
        OSError: It cannot be written; an older file is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        try:
            torch.save(move_data_to_device(dict(content), torch.device("cpu")), file)
        except RuntimeError as error:  # torch's writer says so of a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
