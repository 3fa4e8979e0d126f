"""What a run keeps on the disk while it goes on: its best network, and all it needs to go on."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from kan_exp.errors import DivergedError
from kan_exp.runs import replacing
from kan_exp.training.callbacks.stop import SignalStop
from kan_exp.training.module import CHOSEN_BY
from kan_exp.training.state import whole_state
from kan_exp.training.tensorboard import RunLogger

BEST, LAST = "best.ckpt", "last.ckpt"
MAX_SHARE = 0.01  # of a run's time that writing may take


class RunCheckpoint(Checkpoint):
    """Writes `best.ckpt`, the network that is best on validation, and `last.ckpt`, the whole state.

    Between two chunks of steps, at most every so many seconds, and at the end. A chunk that a
    signal has cut, and the validation after it, are no part of the state: a run that goes on does
    what it would have done without the signal.

    Args:
        folder: Where the files go.
        seconds: How long to wait between two writings, at least; longer where they take long.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.spent = 0.0  # seconds of training before this process
        self._best: dict[str, Any] | None = None
        self._least = float("inf")  # validation error of the best
        self._finished = False
        self._best_is_written = False
        self._written = self._began = time.perf_counter()
        self._cost = 0.0  # seconds that writing takes

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Takes up what it kept when it wrote a `last.ckpt`."""
        self.spent, self._finished = kept["seconds"], kept["finished"]
        self._best, self._least = kept["best"], kept["least"]

    def clear(self) -> None:
        """Removes what another training has left."""
        for name in (BEST, LAST):
            (self.folder / name).unlink(missing_ok=True)

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._written = self._began = time.perf_counter()
        if self._best is not None and trainer.is_global_zero:
            self._write_best(module)  # the file may be from later than the state

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self._best is None:  # so that there is one, whatever comes
            self._take(trainer, module)
        trainer.should_stop = trainer.should_stop or self._finished

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        # Not at the end of a chunk: a validation may follow that belongs to it.
        now = time.perf_counter()
        if now - self._written >= max(self.seconds, self._cost / MAX_SHARE):
            self._write(trainer, module)
            self._written = time.perf_counter()
            self._cost = self._written - now

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        error = float(trainer.callback_metrics[CHOSEN_BY])
        self._best_is_written = False  # there is news of replicas, if not of the best
        if error < self._least:
            self._least = error
            self._take(trainer, module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        stops = [c for c in cast(Any, trainer).callbacks if isinstance(c, SignalStop)]
        if any(stop.received is not None for stop in stops):
            if trainer.is_global_zero:
                self._write_best(module)
            return
        self._finished = True
        self._write(trainer, module)

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError) and trainer.is_global_zero:
            self._write_best(module)

    def _take(self, trainer: Trainer, module: LightningModule) -> None:
        """Keeps the present network as the best."""
        weights = {n: w for n, w in module.state_dict().items() if n.startswith("model.")}
        found: dict[str, Any] = {"global_step": trainer.global_step}
        module.on_save_checkpoint(found)
        self._best = {
            "kan_exp": found["kan_exp"],
            "global_step": found["global_step"],
            "state_dict": {name: weight.to("cpu", copy=True) for name, weight in weights.items()},
        }
        self._best_is_written = False

    def _write_best(self, module: LightningModule) -> None:
        if self._best is None or self._best_is_written:
            return
        content: dict[str, Any] = {}
        module.on_save_checkpoint(content)
        save(self.folder / BEST, {**content, **self._best})
        self._best_is_written = True

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:  # what a curve has until now must not be lost either
            if isinstance(logger, RunLogger):
                logger.flush()
            else:
                logger.save()
        self._write_best(module)
        seconds = self.spent + time.perf_counter() - self._began
        kept = {"best": self._best, "least": self._least, "finished": self._finished}
        save(
            self.folder / LAST,
            {**whole_state(trainer, module), "kept": {**kept, "seconds": seconds}},
        )


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a checkpoint of plain containers and tensors, whole or not at all.

    Tensors are written from the CPU, so that the file does not depend on the device.

    Raises:
        OSError: It cannot be written; the file is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        try:
            torch.save(move_data_to_device(dict(content), torch.device("cpu")), file)
        except RuntimeError as error:  # torch's writer says so of a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
