"""Checkpoints from the first moment on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """Keeps the best network on validation and the last, and the start, so that there is one.

    Args:
        folder: Where `best.ckpt` and `last.ckpt` go.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor="error/val_rmse",
            save_top_k=1,
            enable_version_counter=False,
        )

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        super().on_train_start(trainer, module)
        self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        super().on_validation_end(trainer, module)
        self._save_last(trainer)  # Lightning's own option writes it only when the best is written

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(Path(str(self.dirpath)) / f"{self.CHECKPOINT_NAME_LAST}.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """The callback's state with paths as text, which `weights_only` loading accepts."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in super().state_dict().items()
        }
