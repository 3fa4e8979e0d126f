"""Options of callbacks, loggers and the trainer are checked before the training."""

from __future__ import annotations

import pytest

from kan_exp.errors import KanExpError
from kan_exp.train import prepare

SMALL = ["points=60", "data.num_val=20", "data.num_test=20"]
STOP = "lightning.pytorch.callbacks.EarlyStopping"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["callbacks.figures.points=abc"], "callbacks.figures.points must be a whole number"),
        (["callbacks.figures.points=0"], "callbacks.figures.points must be a whole number"),
        (["callbacks.figures.points=1.5"], "callbacks.figures.points must be a whole number"),
        (["callbacks.figures.points=null"], "callbacks.figures.points must be a whole number"),
        (["callbacks.figures.moments=[1]"], "callbacks.figures.moments must be a whole number"),
        (["callbacks.figures.moments=-1"], "callbacks.figures.moments must be a whole number"),
        (["logger.flush_secs=abc"], "logger.flush_secs must be a number"),
        (["logger=csv", "+logger.flush_logs_every_n_steps=abc"], "flush_logs_every_n_steps must"),
        (["trainer.num_sanity_val_steps=abc"], "trainer.num_sanity_val_steps must be a number"),
        (["+trainer.detect_anomaly=abc"], "trainer.detect_anomaly must be true or false"),
        (
            [f"+callbacks.stop={{_target_: {STOP}, monitor: loss, patience: abc}}"],
            "callbacks.stop.patience must be a number",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_of_a_wrong_kind_is_reported(options, message, tmp_path):
    with pytest.raises(KanExpError) as caught:
        prepare([*SMALL, *options], tmp_path)
    assert message in str(caught.value)


def test_what_null_is_one_of_may_be_null(tmp_path):
    prepare([*SMALL, "trainer.num_sanity_val_steps=null", "callbacks.figures=null"], tmp_path)
