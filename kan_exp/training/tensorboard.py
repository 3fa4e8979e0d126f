"""Writes a run to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter, SummaryWriter

from kan_exp.board import RESULT, summaries
from kan_exp.board.events import EventFile
from kan_exp.board.graph import graph
from kan_exp.board.summaries import Trial
from kan_exp.models.model import KANModel
from kan_exp.tasks import Metric


class _FileWriter(FileWriter):
    def __init__(self, folder: str, flush_secs: float) -> None:
        self.event_writer = EventFile(Path(folder), flush_secs)


class RunWriter(SummaryWriter):
    """Torch's writer, into an `EventFile`."""

    file_writer: Any
    all_writers: Any

    def _get_file_writer(self) -> Any:
        if self.file_writer is None:
            self.file_writer = _FileWriter(self.log_dir, self.flush_secs)
            self.all_writers = {self.log_dir: self.file_writer}
            if self.purge_step is not None:
                start = SessionLog(status=SessionLog.START)
                self.file_writer.add_event(Event(session_log=start), self.purge_step)
                self.purge_step = None
        return self.file_writer


class RunLogger(TensorBoardLogger):
    """Lightning's logger without subfolders and without a flush at each call.

    If its file cannot be written, as on a full disk, logging ends with a note.
    """

    def __init__(self, save_dir: str, flush_secs: int) -> None:
        super().__init__(save_dir, name="", version="", default_hp_metric=False)
        self._flush_secs = flush_secs
        self._purge_step: int | None = None
        self._writer: RunWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> RunWriter:
        """The writer of the file."""
        if self._writer is None:
            self._writer = RunWriter(
                self.log_dir, purge_step=self._purge_step, flush_secs=self._flush_secs
            )
        return self._writer

    def save(self) -> None:
        """Does nothing: the event writer flushes by itself, and options go to HParams."""

    def flush(self) -> None:
        """Writes everything logged so far."""
        self.experiment.flush()

    def restore(self, step: int) -> None:
        """Resumes after a step: TensorBoard drops what an earlier process logged after it."""
        self._purge_step = step + 1

    def finalize(self, status: str) -> None:
        """Keeps the file open after the training, for the result."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs a point of each curve, all in one event."""
        self._write(summaries.scalars(metrics), step)

    def describe(self, trial: Trial, config: str) -> None:
        """Logs the options, for the HParams tab, and the configuration as text."""
        self._write(trial.start())
        self._write(summaries.text("config", summaries.code_block(config, "yaml")))

    def lay_out(self, primary: Metric, penalties: bool, replicas: bool) -> None:
        """Logs the charts of the Custom Scalars tab."""
        self._write(summaries.layout(primary, penalties, replicas))

    def graph(self, model: KANModel) -> None:
        """Logs the graph of the network."""
        kinds = [type(layer).__name__ for layer in model.edge_layers]
        drawn = graph(model.unit_names(), kinds).SerializeToString()
        self.experiment.file_writer.add_event(Event(graph_def=drawn))

    def figure(self, tag: str, png: bytes, step: int) -> None:
        """Logs a figure that is encoded already."""
        self._write(summaries.figure(tag, png), step)

    def conclude(
        self, trial: Trial, metrics: Mapping[str, Any], step: int, *, complete: bool
    ) -> None:
        """Logs the result, for the HParams tab and as text, and closes the file.

        `complete` is false if the training was interrupted.
        """
        results = {f"{RESULT}{name}": v for name, v in summaries.results(metrics).items()}
        self._write(summaries.scalars(results), step)
        for one in metrics.get("replicas", {}).get("each", []):
            own = trial.of_seed(one["seed"])
            self._write(own.seed_with_results({**metrics, **one}), step)
        self._write(summaries.text("result", summaries.result_text(metrics)), step)
        self._write(summaries.session_end(complete))
        self.experiment.close()

    def _write(self, summary: Summary, step: int | None = None) -> None:
        self.experiment.file_writer.add_summary(summary, step)
