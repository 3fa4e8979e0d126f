"""Writes a run to TensorBoard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import google_crc32c
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer import record_writer

from kan_exp.board import summaries
from kan_exp.board.graph import graph
from kan_exp.board.summaries import Trial
from kan_exp.models.model import KANModel
from kan_exp.runs.best_effort import note_once
from kan_exp.tasks import Metric

log = logging.getLogger(__name__)


def _masked_crc32c(data: bytes) -> int:
    """The checksum of a record in an event file.

    Source:
        The masking of TensorFlow's tsl/lib/hash/crc32c.h.
    """
    value = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


# TensorBoard's own adds up byte by byte in Python, 8 ms for a figure, in a thread for which the
# training has to wait; there is no option for another. The files are the same.
record_writer.masked_crc32c = _masked_crc32c


_other_threads = threading.excepthook


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Prints no traceback of TensorBoard's thread, whose errors `RunLogger` is told as well."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        _other_threads(failure)


threading.excepthook = _thread_failed


class NoWriter:
    """A writer that ignores all calls."""

    def __getattr__(self, name: str) -> NoWriter:
        return self

    def __call__(self, *_: object, **__: object) -> None:
        pass


class RunLogger(TensorBoardLogger):
    """Lightning's logger without subfolders and without a flush at each call.

    If its file cannot be written, as on a full disk, logging ends with a note.
    """

    _failed = False

    def __init__(self, save_dir: str, flush_secs: int) -> None:
        super().__init__(
            save_dir, name="", version="", default_hp_metric=False, flush_secs=flush_secs
        )

    def save(self) -> None:
        """Does nothing: the event writer flushes by itself, and options go to HParams."""

    def flush(self) -> None:
        """Writes everything logged so far."""
        self._attempt(lambda: self.experiment.flush())

    def restore(self, step: int) -> None:
        """Resumes after a step: TensorBoard drops what an earlier process logged after it."""
        self._kwargs["purge_step"] = step + 1

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
        self._attempt(lambda: self.experiment.file_writer.add_event(Event(graph_def=drawn)))

    def figure(self, tag: str, png: bytes, step: int) -> None:
        """Logs an encoded figure; torch's own method would encode it again."""
        self._write(summaries.figure(tag, png), step)

    def conclude(
        self, trial: Trial, metrics: Mapping[str, Any], step: int, *, complete: bool
    ) -> None:
        """Logs the result, for the HParams tab and as text, and closes the file.

        Args:
            trial: The run.
            metrics: The content of metrics.json.
            step: The last step.
            complete: False if the training was interrupted.
        """
        found = summaries.results(metrics).items()
        results = {f"{summaries.RESULT}{name}": value for name, value in found}
        self._write(summaries.scalars(results), step)
        for one in metrics.get("replicas", {}).get("each", []):
            own = trial.of_seed(one["seed"])
            self._write(own.seed_with_results({**metrics, **one}), step)
        self._write(summaries.text("result", summaries.result_text(metrics)), step)
        self._write(summaries.session_end(complete))
        self._attempt(lambda: self.experiment.close())

    def _write(self, summary: Summary, step: int | None = None) -> None:
        self._attempt(lambda: self.experiment.file_writer.add_summary(summary, step))

    def _attempt(self, write: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            write()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._failed = True
        note_once("TensorBoard's file cannot be written, curves end here", error)

    @property
    def experiment(self) -> Any:
        """The event writer, or one that writes nothing if the file cannot be opened."""
        if not self._failed:
            try:
                return super().experiment
            except OSError as error:
                self._give_up(error)
        return NoWriter()
