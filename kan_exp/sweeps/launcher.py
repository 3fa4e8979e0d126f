"""Runs jobs in forks of one process that has done all imports."""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from kan_exp.cli import is_user_error, resume_gc
from kan_exp.commandline.explain import one_line
from kan_exp.data.checks import check_whole
from kan_exp.errors import KanExpError
from kan_exp.quoting import unquoted
from kan_exp.runs import StatusFile
from kan_exp.runs.cores import usable_cores

# What every job needs, which takes seconds to import. Nothing is computed before the forks, since
# they would not inherit the threads and devices that torch opens.
HEAVY = (
    "kan_exp.preparing.modules",
    "kan_exp.training.experiment",
    "kan_exp.training.least_squares",
    "kan_exp.training.tensorboard",
    "matplotlib.font_manager",
)
ENDS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.02
PATIENCE = 60.0  # seconds for a job to score and draw before it ends, on a busy machine
SIGNAL_ON_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


class WarmLauncher(Launcher):
    """Hydra's launcher for one machine: all jobs share the imports, and each has its own process.

    A job that is killed, or takes all the memory, does not affect the others.

    Args:
        workers: Jobs at once; `None` for as many as there are cores for their threads, and one
            if they would share a GPU.

    Raises:
        KanExpError: `workers` is below 1, or the system cannot fork.
    """

    def __init__(self, workers: int | None) -> None:
        if workers is not None:
            check_whole("hydra.launcher.workers", workers, least=1)
        if not hasattr(os, "fork"):
            raise KanExpError("hydra/launcher=warm needs os.fork: set hydra/launcher=joblib.")
        self.workers = workers
        # Called while jobs run, and with True before they are ended early.
        self.watch: Callable[[bool], None] = lambda _: None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        for name in HEAVY:
            importlib.import_module(name)
        resume_gc()
        waiting = list(enumerate(job_overrides, initial_job_idx))
        running: dict[int, int] = {}  # process -> job
        codes: dict[int, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._max_running():
                    number, overrides = waiting.pop(0)
                    running[self._start(number, overrides)] = number
                self._collect(running, codes)
                self.watch(False)
        except BaseException:  # no process can be started, the disk is full, Ctrl-C
            try:
                self.watch(True)  # or a job that was killed just now would count as interrupted
            finally:
                self._stop(running, codes)
            raise
        ends = [JobStatus.FAILED if codes[n] else JobStatus.COMPLETED for n in sorted(codes)]
        jobs = zip(job_overrides, ends, strict=True)
        return [JobReturn(overrides=overrides, status=end) for overrides, end in jobs]

    def _max_running(self) -> int:
        if self.workers is not None:
            return self.workers
        if self.config.trainer.accelerator != "cpu":
            return 1
        devices = self.config.trainer.devices  # processes of a job, with trainer=ddp
        each = (self.config.threads or 1) * (devices if isinstance(devices, int) else 1)
        return max(1, usable_cores() // max(1, each))

    def _start(self, number: int, overrides: Sequence[str]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # A signal right after the fork would be handled as in the parent.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            process = os.fork()
            if process == 0:
                self._become_job(number, overrides, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process

    def _become_job(self, number: int, overrides: Sequence[str], parent: int) -> NoReturn:
        """Runs a job in this process, which is a fork, and ends it with the job."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is for the parent, which passes it on once
            for number_of_signal in ENDS:
                signal.signal(number_of_signal, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            _end_with_parent(parent)
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            result = run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            code = 0 if result.status == JobStatus.COMPLETED else 1
        except (KeyboardInterrupt, SystemExit):
            pass  # its status says so
        except Exception as error:  # noqa: BLE001 - the status says why
            self._write_status(number, overrides, error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # the parent's exit handlers are not for this process

    def _write_status(self, number: int, overrides: Sequence[str], error: Exception) -> None:
        """Writes the status of a job that has failed before its task began."""
        if not is_user_error(error):
            traceback.print_exc()
        folders = dict(text.split("=", 1) for text in overrides if text.startswith("hydra.sweep."))
        try:
            parts = [folders[f"hydra.sweep.{name}"] for name in ("dir", "subdir")]
            folder = Path(*(unquoted(part) or part for part in parts))
            folder.mkdir(parents=True, exist_ok=True)
            with StatusFile(folder, overrides, "", number, one_line):
                raise error
        except Exception as raised:  # noqa: BLE001 - its folder cannot be written
            is_full = isinstance(raised, OSError) and raised.errno == errno.ENOSPC
            if raised is not error and not is_full:  # which the sweep reports, once
                print(f"Error: {one_line(error)}", file=sys.stderr)  # noqa: T201

    def _collect(self, running: dict[int, int], codes: dict[int, int]) -> None:
        """Stores the exit codes of processes that have ended; waits a moment if none has."""
        ended = False
        for process in list(running):
            has_ended, status = os.waitpid(process, os.WNOHANG)
            if has_ended:
                codes[running.pop(process)] = os.waitstatus_to_exitcode(status)
                ended = True
        if not ended:
            time.sleep(POLL_SECONDS)

    def _stop(self, running: dict[int, int], codes: dict[int, int]) -> None:
        """Ends the running jobs, by force if they do not end in time."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            for process in running:
                os.kill(process, number)
            end = time.monotonic() + PATIENCE
            try:
                while running and time.monotonic() < end:
                    self._collect(running, codes)
            except KeyboardInterrupt:
                continue  # the next signal is sent at once


def _end_with_parent(parent: int) -> None:
    """Has Linux send SIGTERM to this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SIGNAL_ON_PARENTS_DEATH, signal.SIGTERM)
        if os.getppid() != parent:  # it has gone already
            sys.exit(1)
