"""Options of optimizers and schedulers are checked before a training."""

from __future__ import annotations

import math
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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**30, 1e30])
@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [("LBFGS.max_iter", None), ("LBFGS.history_size", None), (None, "step_size")],
)
def test_numbers_that_are_no_counts_are_refused(optimizer, scheduler, value):
    given = scheduler or optimizer.partition(".")[2]
    made = ADAM if optimizer is None else partial(torch.optim.LBFGS, **{given: value})
    step = None if scheduler is None else partial(StepLR, **{given: value})
    with pytest.raises(KanExpError, match=rf"\w+\.{given} must be a "):
        check_optimizer(made, step)


def test_rates_that_are_no_numbers_are_refused():
    with pytest.raises(KanExpError, match=r"optimizer.lr must be a number, got nan"):
        check_optimizer(partial(torch.optim.Adam, lr=math.nan))
    with pytest.raises(KanExpError, match=r"optimizer.betas must be 2 numbers"):
        check_optimizer(partial(torch.optim.Adam, betas=[0.9, math.nan]))


@pytest.mark.parametrize(
    "options",
    [
        {"history_size": -1},
        {"history_size": 0},
        {"line_search_fn": "wolfe"},
        {"line_search_fn": ""},
        {"lr": 0.0, "line_search_fn": "strong_wolfe"},
    ],
    ids=str,
)
def test_what_only_a_step_shows_is_refused(options):
    with pytest.raises(KanExpError, match=r"^optimizer: .*Change one of its options: "):
        check_optimizer(partial(torch.optim.LBFGS, **options))


def test_counts_may_be_written_as_floats():
    taken = partial(LevenbergMarquardt, attempts=3.0, cg_steps=7.0)
    check_optimizer(taken)
    optimizer = taken(torch.nn.Linear(1, 1))
    x = torch.tensor([[0.0], [1.0]])
    optimizer.step(lambda: (x, 2 * x))
    assert optimizer.param_groups[0]["attempts"] == 3
