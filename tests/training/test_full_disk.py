"""What can no longer be written once the result is there is one note, and costs nothing else."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
from pathlib import Path

import pytest

from kan_exp.runs import StatusFile, best_effort, files, lock
from kan_exp.train import prepare
from kan_exp.training import sinks
from tests.conftest import read_metrics

SMALL = ["points=60", "data.num_val=20", "data.num_test=20", "dims=[2,1]", "layer=spline"]
SMALL += ["refine.num_candidates=[1]", "refine.steps=[2]"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(best_effort, "_noted", set())


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_after_the_result_is_one_note(tmp_path, monkeypatch, caplog):
    def write_metrics(folder, metrics):
        write(folder, metrics)
        monkeypatch.setattr(os, "fsync", full)  # of whatever is written from now on
        monkeypatch.setattr(sinks, "save_png", full)

    write = sinks.write_metrics
    monkeypatch.setattr(sinks, "write_metrics", write_metrics)
    experiment = prepare([*SMALL, "logger=none"], tmp_path)
    with caplog.at_level(logging.INFO), StatusFile(tmp_path, [], "key", None, str) as status:
        status.began = True
        experiment.run()
    notes = [text for text in caplog.messages if text.startswith("Note: ")]
    assert notes == [
        "Note: figures/layer_1.png, figures/network.png, figures/loss.png, figures/prediction.png "
        "could not be drawn: No space left on device."
    ]
    assert read_metrics(tmp_path)["stopped"]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"


def test_a_status_that_cannot_be_written_is_a_note(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.INFO), StatusFile(tmp_path, [], "key", None, str):
        monkeypatch.setattr(os, "fsync", full)
    assert caplog.messages == ["Note: status.json could not be written: No space left on device."]


def test_a_status_that_cannot_be_written_does_not_hide_the_error(tmp_path, monkeypatch):
    def fail():
        with StatusFile(tmp_path, [], "key", None, str):
            monkeypatch.setattr(os, "fsync", full)
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        fail()


def test_a_file_of_tensorboard_that_cannot_be_made_is_a_note(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("kan_exp.board.events._COUNT", map(full, itertools.count()))
    experiment = prepare(SMALL, tmp_path)
    monkeypatch.setattr(sinks, "save_png", lambda *_: b"")
    with caplog.at_level(logging.INFO):
        experiment.run()
    notes = [text for text in caplog.messages if text.startswith("Note: ")]
    (note,) = notes
    assert note.startswith("Note: TensorBoard's file cannot be written, curves end here: No space")
    assert read_metrics(tmp_path)["stopped"]
    assert experiment.trainer.logger.experiment.add_scalar("loss", 1.0) is None


def test_an_error_of_writing_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_text(tmp_path / "a.json", "{}")
    assert caught.value.filename == str(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        lock.hold(tmp_path)
    assert not list(tmp_path.iterdir())
