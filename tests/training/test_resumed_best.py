"""A resumed run does not show a network that it has not come to yet."""

from __future__ import annotations

import math

import pytest
import torch
from lightning.pytorch import Callback

from kan_exp.preparing.stored_config import LAST
from kan_exp.training.callbacks import checkpoint as checkpoints
from tests.training.test_resume import ADAM, CtrlC, make

BEST = "checkpoints/best.ckpt"


def test_the_best_network_is_that_of_the_state(tmp_path, monkeypatch):
    """Ctrl-C has kept a later one, of a validation that the resumed run has not done."""
    monkeypatch.setattr(checkpoints, "MAX_SHARE", math.inf)
    with pytest.raises(SystemExit):
        make(ADAM, tmp_path, CtrlC(33)).run()
    state = torch.load(tmp_path / LAST, weights_only=True)
    kept = state["kept"]["best"]["global_step"]
    assert kept <= state["global_step"] < 33
    assert torch.load(tmp_path / BEST, weights_only=True)["global_step"] == 34

    class Look(Callback):
        def on_train_start(self, *_) -> None:
            assert torch.load(tmp_path / BEST, weights_only=True)["global_step"] == kept
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make([*ADAM, "checkpoint_seconds=1e9"], tmp_path, Look(), resume=True).run()
