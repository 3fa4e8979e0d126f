"""Launchers of others: whether they are installed, and what goes on when they break."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import time
import traceback
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from kan_exp.errors import KanExpError

POLL_SECONDS = 0.2


def check_installed(config: DictConfig) -> None:
    """Says what to install for a launcher that is not here.

    Args:
        config: With Hydra's part.

    Raises:
        KanExpError: The plugin is missing.
    """
    target = str(config.hydra.launcher._target_)
    plugin = re.match(r"hydra_plugins\.hydra_(\w+)_launcher", target)
    if plugin is not None and importlib.util.find_spec(plugin[0]) is None:
        choice = config.hydra.runtime.choices["hydra/launcher"]
        raise KanExpError(f"hydra/launcher={choice} needs: pip install 'kan_exp[{plugin[1]}]'")


def is_joblib(launcher: Launcher) -> bool:
    """Whether the launcher kills all its jobs when one of them is killed."""
    return type(launcher).__module__.startswith("hydra_plugins.hydra_joblib_launcher")


def wait_for_rest(error: BaseException) -> None:
    """Waits until what a launcher had begun when it broke has ended.

    Args:
        error: What its `launch` raised.
    """
    handles = _handles(error)
    if handles and _are_of(handles, "ray"):
        import ray

        ray.wait(handles, num_returns=len(handles))
    elif handles and _are_of(handles, "submitit"):
        while not all(job.done() for job in handles):
            time.sleep(POLL_SECONDS)


def cancel_rest(error: BaseException) -> None:
    """Asks what a launcher had begun when it was interrupted to end.

    Args:
        error: What its `launch` raised.
    """
    handles = _handles(error)
    with contextlib.suppress(Exception):  # what is over already cannot be cancelled
        if handles and _are_of(handles, "ray"):
            import ray

            for handle in handles:
                ray.cancel(handle)
            ray.wait(handles, num_returns=len(handles), timeout=10.0)
        elif handles and _are_of(handles, "submitit"):
            for job in handles:
                job.cancel()


def _handles(error: BaseException) -> list[Any]:
    """What a launcher waits for, one per job.

    The plugins of Ray and submitit give up at the first job that was killed, and forget the others,
    which go on. What they waited for is still to be found in the frame that they left.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith("hydra_plugins.hydra_"):
            for name in ("jobs", "runs"):
                if isinstance(frame.f_locals.get(name), list):
                    return list(frame.f_locals[name])
    return []


def _are_of(handles: list[Any], package: str) -> bool:
    return all(type(one).__module__.partition(".")[0] == package for one in handles)
