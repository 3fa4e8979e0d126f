"""What a run shows in TensorBoard beside its scalars."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from kan_exp.training.model import KANModel


class RunLogger(TensorBoardLogger):
    """Lightning's logger, writing straight into the run's folder and not flushing at every line."""

    def __init__(self, save_dir: str, flush_secs: int) -> None:
        super().__init__(
            save_dir, name="", version="", default_hp_metric=False, flush_secs=flush_secs
        )

    def save(self) -> None:
        """Leaves the writing to the event writer's own clock; hyperparameters go to HParams."""

    def finalize(self, status: str) -> None:
        """Keeps the file open when the training ends: the result is still to be written."""

    def describe(self, model: KANModel, config: str) -> None:
        """Logs the configuration as text and the network's graph."""
        self.experiment.add_text("config", f"```yaml\n{config}\n```")
        example = torch.zeros(1, len(model.features), device=model.x_mean.device)
        with warnings.catch_warnings():
            # Tracing notes shape checks as constants and that it is legacy; the graph is right.
            warnings.simplefilter("ignore")
            self.experiment.add_graph(model, example)

    def conclude(self, choices: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
        """Logs what was chosen and what came of it, for the HParams tab."""
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in choices.items()
            if value is not None
        }
        for summary in hparams(plain, dict(metrics)):
            self.experiment.file_writer.add_summary(summary)
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)
        self.experiment.close()
