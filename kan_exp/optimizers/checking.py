"""Checks the options of optimizers and schedulers before a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kan_exp.errors import KanExpError, listing, message_of
from kan_exp.optimizers.levenberg_marquardt import LevenbergMarquardt
from kan_exp.options import check_options

# What constructors and steps raise about options of a wrong type or size.
REFUSALS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
STEPS = 3  # after which LBFGS has a history


def check_optimizer(
    make_optimizer: Callable[..., Any], make_scheduler: Callable[..., Any] | None = None
) -> None:
    """Makes both for a stand-in of the parameters, and takes steps on a sum of squares.

    Args:
        make_optimizer: Makes the optimizer from parameters, or from networks for least squares.
        make_scheduler: Makes the learning-rate scheduler from the optimizer.

    Raises:
        KanExpError: One of them refuses one of its options.
    """
    for group, factory in (("optimizer", make_optimizer), ("scheduler", make_scheduler)):
        if factory is not None:
            check_options(group, getattr(factory, "func", factory), _given(factory))
    group = "optimizer"
    try:
        if getattr(make_optimizer, "func", make_optimizer) is LevenbergMarquardt:
            make_optimizer([nn.utils.skip_init(nn.Linear, 1, 1)])  # draws no random numbers
            return
        parameter = nn.Parameter(torch.ones(2))
        weights = torch.tensor([1.0, 3.0])  # unequal: a single step does not reach the minimum

        def square() -> Tensor:
            parameter.grad = 2 * weights * parameter.detach()
            return (weights * parameter.square()).sum()

        optimizer = make_optimizer([parameter])
        if make_scheduler is not None:
            group = "scheduler"
            scheduler = make_scheduler(optimizer)
        square()
        for _ in range(STEPS):
            group = "optimizer"
            optimizer.step(square)
            if make_scheduler is not None:
                group = "scheduler"
                scheduler.step()
    except REFUSALS as error:
        factory = make_optimizer if group == "optimizer" else make_scheduler
        options = [f"{group}.{name}" for name in _given(factory)]
        reason = message_of(error).rstrip(".")
        raise KanExpError(
            f"{group}: {reason}. Change one of its options: {listing(options)}."
        ) from error


def _given(factory: Any) -> dict[str, Any]:
    return getattr(factory, "keywords", {})
