"""A progress bar on the terminal."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kan_exp.training.module import KANModule

NOTEBOOK_WIDTH = 90


def progress_bar(*columns: ProgressColumn) -> Progress | None:
    """A bar on a terminal or in a notebook; None elsewhere."""
    console = Console(stderr=True)
    if console.is_jupyter:  # where rich would need widgets; a line is shown without them
        width = NOTEBOOK_WIDTH
        console = Console(stderr=True, force_jupyter=False, force_terminal=True, width=width)
    return Progress(*columns, console=console, transient=True) if console.is_terminal else None


class ProgressLine(Callback):
    """Shows steps, loss and time left on a terminal or in a notebook; silent elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._progress = progress_bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps   loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        if self._progress is None:
            return
        self._progress.start()
        self._task = self._progress.add_task(
            "training", total=trainer.max_steps, completed=trainer.global_step, loss="-"
        )

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self._progress is not None:
            step, loss = cast(KANModule, trainer.lightning_module).train_history[-1]
            self._progress.update(self._task, completed=step, loss=f"{loss:.2e}")

    def on_train_end(self, *_: Any) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()
