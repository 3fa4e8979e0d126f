"""A run whose TensorBoard file cannot be written keeps its result."""

from __future__ import annotations

import logging

import pytest

from kan_exp.board import events
from kan_exp.board.events import record
from kan_exp.train import prepare
from kan_exp.training.tensorboard import RunLogger

RUN = ["layer=interpo", "optimizer=adam", "steps=40", "evaluations=4", "dims=[2,1]", "points=50"]


@pytest.mark.parametrize("written", [1, 3, 6])
def test_a_full_disk_ends_the_curves_alone(tmp_path, monkeypatch, caplog, capsys, written):
    caplog.set_level(logging.INFO)
    count = [0]

    def full(data):
        count[0] += 1
        if count[0] > written:
            raise OSError(28, "No space left on device")
        return record(data)

    monkeypatch.setattr(events, "record", full)
    prepare([*RUN, "data.num_val=20", "data.num_test=20"], tmp_path / "run").run()
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert (tmp_path / "run" / "figures" / "layer_1.png").is_file()
    notes = [one.getMessage() for one in caplog.records if "TensorBoard" in one.getMessage()]
    assert notes == [
        "Note: TensorBoard's file cannot be written, curves end here: No space left on device."
    ]
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_is_none_is_told_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    logger = RunLogger(str(tmp_path / "file"), flush_secs=10)
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step)
    logger.flush()
    assert len([one for one in caplog.records if "cannot be written" in one.getMessage()]) == 1
