"""Options of optimizers and schedulers are checked before a training."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from kan_exp.errors import KanExpError
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.optimizers.checking import check_optimizer

ADAM = partial(torch.optim.Adam, lr=0.1)


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "message"),
    [
        # Adam and StepLR themselves take both.
        (partial(ADAM, amsgrad="no"), None, "optimizer.amsgrad must be "),
        (ADAM, partial(StepLR, step_size=2.5), "scheduler.step_size must be a whole number"),
        (partial(LevenbergMarquardt, qr="no"), None, "optimizer.qr must be "),
    ],
)
def test_options_of_another_kind_are_refused(optimizer, scheduler, message):
    with pytest.raises(KanExpError) as caught:
        check_optimizer(optimizer, scheduler)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("optimizer", [ADAM, torch.optim.LBFGS, LevenbergMarquardt])
@pytest.mark.parametrize("scheduler", [None, partial(CosineAnnealingLR, T_max=3)])
def test_others_are_taken(optimizer, scheduler):
    check_optimizer(optimizer, scheduler)
