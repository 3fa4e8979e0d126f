"""What a run shows in TensorBoard beside its scalars."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
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

    def flush(self) -> None:
        """Writes what has been logged until now."""
        self.experiment.flush()

    def go_on(self, step: int) -> None:
        """Goes on after a step: TensorBoard drops what an earlier process has logged beyond it."""
        self._kwargs["purge_step"] = step + 1

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

    def picture(self, tag: str, png: bytes, step: int) -> None:
        """Logs a picture that is encoded already: torch's own method would encode it once more."""
        width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # of the PNG's header
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        self.experiment.file_writer.add_summary(summary, step)

    def conclude(
        self,
        choices: Mapping[str, Any],
        metrics: Mapping[str, float | None],
        step: int,
        *,
        complete: bool,
    ) -> None:
        """Logs what was chosen and what came of it, for the HParams tab, and closes the file.

        TensorBoard puts the columns of several runs together only where no run brings a list of its
        own, so that none is written.
        """
        plain = {
            name: value if type(value) in (int, float, str) else str(value)
            for name, value in choices.items()
            if value is not None
        }
        _, start, end = hparams(plain, {})
        if not complete:
            _mark_failed(end)
        for part in (start, end):
            self.experiment.file_writer.add_summary(part)
        for name, value in metrics.items():
            if value is not None:
                self.experiment.add_scalar(name, value, step)
        self.experiment.close()


def _mark_failed(end: Any) -> None:
    """Changes torch's summary of a session's end, which always says success."""
    plugin = end.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin.content)
    content.session_end_info.status = STATUS_FAILURE
    plugin.content = content.SerializeToString()
