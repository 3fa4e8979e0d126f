"""Launchers of others: whether they are installed, and what goes on when they break."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from kan_exp.errors import KanExpError

STDERR = 2
POLL_SECONDS = 1.0  # of many jobs, on a file system that may be slow


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
        packages = f"hydra-{plugin[1]}-launcher {plugin[1]}"
        raise KanExpError(f"hydra/launcher={choice} needs: pip install {packages}")


def start(launcher: Launcher) -> None:
    """Starts what a launcher needs, before any handler of signals is set: Ray sets its own.

    Raises:
        KanExpError: It cannot be started.
    """
    if not _is_of(launcher, "ray"):
        return
    try:
        util = importlib.import_module("hydra_plugins.hydra_ray_launcher._launcher_util")
        util.start_ray(launcher.ray_cfg.init)  # type: ignore[attr-defined]
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise KanExpError(f"hydra/launcher=ray: Ray does not start: {reason}") from error


def is_joblib(launcher: Launcher) -> bool:
    """Whether the launcher kills all its jobs when one of them is killed."""
    return _is_of(launcher, "joblib")


def _is_of(launcher: Launcher, name: str) -> bool:
    return type(launcher).__module__.startswith(f"hydra_plugins.hydra_{name}_launcher")


@contextmanager
def quiet_helpers(launcher: Launcher) -> Iterator[None]:
    """Keeps the helpers of submitit_local, of which each meets Ctrl-C with a traceback, off the
    terminal: while it launches, stderr is a file beside what the jobs print.
    """
    if not _is_of(launcher, "submitit") or type(launcher).__name__ != "LocalLauncher":
        yield
        return
    folder = Path(launcher.params["submitit_folder"]).parent  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    try:
        with (folder / "helpers.log").open("ab") as file:
            os.dup2(file.fileno(), STDERR)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, STDERR)
        os.close(terminal)


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
