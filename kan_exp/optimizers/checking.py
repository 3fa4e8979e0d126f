"""Checks the options of optimizers and schedulers before a training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from kan_exp.errors import KanExpError, listing, message_of
from kan_exp.optimizers.levenberg_marquardt import LevenbergMarquardt

WHOLE = (int, "int")
NUMBERS = (*WHOLE, float, "float")
TRUTHS = (bool | None, "bool | None", "Optional[bool]")


def check_optimizer(
    make_optimizer: Callable[..., Any], make_scheduler: Callable[..., Any] | None = None
) -> None:
    """Makes both for a stand-in of the parameters, and takes a step.

    Args:
        make_optimizer: Makes the optimizer from parameters, or from networks for least squares.
        make_scheduler: Makes the learning-rate scheduler from the optimizer.

    Raises:
        KanExpError: One of them refuses one of its options.
    """
    _check_options("optimizer", make_optimizer)
    if make_scheduler is not None:
        _check_options("scheduler", make_scheduler)
    group = "optimizer"
    try:
        if getattr(make_optimizer, "func", make_optimizer) is LevenbergMarquardt:
            make_optimizer([nn.Linear(1, 1)])
            return
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros_like(parameter)
        optimizer = make_optimizer([parameter])
        if make_scheduler is not None:
            group = "scheduler"
            scheduler = make_scheduler(optimizer)
        group = "optimizer"
        optimizer.step(lambda: torch.zeros(()))
        if make_scheduler is not None:
            group = "scheduler"
            scheduler.step()
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        factory = make_optimizer if group == "optimizer" else make_scheduler
        options = [f"{group}.{name}" for name in getattr(factory, "keywords", {})]
        reason = message_of(error).rstrip(".")
        raise KanExpError(
            f"{group}: {reason}. Change one of its options: {listing(options)}."
        ) from error


def _check_options(group: str, factory: Callable[..., Any]) -> None:
    """Refuses anything but numbers where the constructor takes numbers.

    Raises:
        KanExpError: There is; the message names the option.
    """
    parameters = inspect.signature(getattr(factory, "func", factory)).parameters
    for name, value in getattr(factory, "keywords", {}).items():
        if name not in parameters:  # which the constructor itself refuses
            continue
        default, annotation = parameters[name].default, parameters[name].annotation
        option = f"{group}.{name}"
        if isinstance(default, tuple) and all(map(_is_number, default)):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise KanExpError(f"{option} must be a list, as {_list(default)}, got {value!r}.")
            if len(value) != len(default) or not all(map(_is_number, value)):
                raise KanExpError(
                    f"{option} must be {len(default)} numbers, as {_list(default)}, got "
                    f"{_list(value)}."
                )
        elif (_is_number(default) or annotation in NUMBERS) and not _is_number(value):
            shown = repr(value) if isinstance(value, str) else _text(value)
            raise KanExpError(f"{option} must be a number, got {shown}{_cure(value)}.")
        elif annotation in WHOLE and value != int(value):
            raise KanExpError(f"{option} must be a whole number, got {value}.")
        elif annotation in TRUTHS and not isinstance(value, bool | None):
            raise KanExpError(f"{option} must be true, false or null, got {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(values: Iterable[Any]) -> str:
    return f"[{','.join(map(_text, values))}]"


def _text(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cure(value: Any) -> str:
    """How to turn a text that reads as a number into one."""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return " (text): leave out its quotes, or write ${oc.decode:${oc.env:NAME}} for ${oc.env:NAME}"
