"""Hands jobs to a launcher of Hydra and waits until none of them runs."""

from __future__ import annotations

import importlib.util
import logging
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import resume_gc
from kan_exp.errors import KanExpError
from kan_exp.quoting import option
from kan_exp.runs import close_status, is_running, read_status
from kan_exp.sweeps.jobs import JobGroup
from kan_exp.sweeps.launcher import WarmLauncher
from kan_exp.sweeps.progress import POLL_SECONDS, SweepProgress

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds in which a process ends that was asked to
FAR_PATIENCE = 60.0  # seconds until a shared file system shows what another machine wrote


def check_installed(config: DictConfig) -> None:
    """Refuses a launcher whose plugin is not installed."""
    plugin = re.match(r"hydra_plugins\.hydra_(\w+)_launcher", str(config.hydra.launcher._target_))
    if plugin is not None and importlib.util.find_spec(plugin[0]) is None:
        choice = config.hydra.runtime.choices["hydra/launcher"]
        packages = f"hydra-{plugin[1]}-launcher {plugin[1]}"
        raise KanExpError(f"hydra/launcher={choice} needs: pip install {packages}")


def start_ray(config: DictConfig) -> None:
    """Starts Ray if it launches the jobs. Ray sets signal handlers, so ours must be set later."""
    if "hydra_ray_launcher" not in str(config.hydra.launcher._target_):
        return
    import ray

    options: Any = OmegaConf.to_container(config.hydra.launcher.ray.init, resolve=True)
    try:
        if not ray.is_initialized():
            ray.init(**options)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise KanExpError(f"hydra/launcher=ray: Ray does not start: {reason}") from error


def launch(
    launcher: Launcher,
    groups: Sequence[JobGroup],
    config: DictConfig,
    folder: Path,
    progress: SweepProgress,
) -> Exception | None:
    """Launches groups and waits until none runs; a job whose process died is marked as killed.

    Returns:
        The error of the launcher. It may have been raised because a single job was killed.

    Raises:
        KeyboardInterrupt: The user asked for an end; what was running is "interrupted".
    """
    progress.follow(groups)
    # Absolute: a worker may have been started somewhere else.
    folder_option = option("hydra.sweep.dir", folder.absolute())
    overrides = [[*group.overrides, folder_option] for group in groups]
    before = _submitted(config)
    error: Exception | KeyboardInterrupt | None = None
    with _polling(launcher, progress):
        try:
            launcher.launch(overrides, initial_job_idx=groups[0].jobs[0].number)
        except (Exception, KeyboardInterrupt) as raised:
            log.debug("the launcher failed", exc_info=True)
            error = raised
            _end_remaining(config, before, cancel=isinstance(raised, KeyboardInterrupt))
        _wait_for_ends(groups)
    for group in groups:
        close_status(group.folder, killed=not isinstance(error, KeyboardInterrupt))
    progress.look()
    progress.finish()
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error


@contextmanager
def _polling(launcher: Launcher, progress: SweepProgress) -> Iterator[None]:
    if isinstance(launcher, WarmLauncher):  # which copies its process: no thread
        launcher.watch = progress.poll
        yield
        return
    resume_gc()  # the workers import for themselves
    finished = threading.Event()

    def poll() -> None:
        while not finished.wait(POLL_SECONDS):
            progress.look()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _end_remaining(config: DictConfig, before: set[str], *, cancel: bool) -> None:
    """Ends the jobs of Ray, and waits for those of submitit, cancelled or not.

    The launchers of both raise at the first job that was killed, while the others run.
    """
    target = str(config.hydra.launcher._target_)
    numbers = _submitted(config) - before
    if "hydra_ray_launcher" in target:
        import ray

        ray.shutdown()
    elif target.endswith("SlurmLauncher"):
        from submitit import SlurmJob

        jobs: list[Any] = [SlurmJob(config.hydra.launcher.submitit_folder, n) for n in numbers]
        for job in jobs if cancel else ():
            job.cancel(check=False)
        while not all(job.done() for job in jobs):
            time.sleep(1.0)
    else:  # of submitit_local: the numbers are those of processes
        processes = [psutil.Process(n) for n in map(int, numbers) if psutil.pid_exists(n)]
        for process in processes if cancel else ():
            process.send_signal(signal.SIGINT)
        psutil.wait_procs(processes)


def _submitted(config: DictConfig) -> set[str]:
    """The numbers of the jobs that submitit has submitted, which are names of folders."""
    if "hydra_submitit_launcher" not in str(config.hydra.launcher._target_):
        return set()
    folder = Path(config.hydra.launcher.submitit_folder).parent
    return {path.name for path in folder.glob("*/") if path.name[0].isdecimal()}


def _wait_for_ends(groups: Sequence[JobGroup]) -> None:
    """Waits until no job seems to run.

    A launcher returns before jobs that it kills have ended, and before a shared file system shows
    what another machine wrote.
    """
    start = time.monotonic()
    while True:
        statuses = [read_status(group.folder) for group in groups]
        running = [status for status in statuses if status is not None and is_running(status)]
        patience = PATIENCE if all(status.is_here for status in running) else FAR_PATIENCE
        if not running or time.monotonic() - start > patience:
            return
        time.sleep(POLL_SECONDS)
