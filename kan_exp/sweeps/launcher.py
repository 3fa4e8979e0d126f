"""Runs jobs one after the other, or some at once, in copies of one process that is warm already."""

from __future__ import annotations

import ctypes
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

from kan_exp.cli import imports_are_done, is_user_error
from kan_exp.commandline.explain import one_line
from kan_exp.errors import KanExpError
from kan_exp.quoting import unquoted
from kan_exp.runs import StatusFile

# What every job would import for itself, seconds in all. Nothing is computed before the copies are
# made: threads and devices that torch has opened would not outlive it.
HEAVY = (
    "kan_exp.preparing.modules",
    "kan_exp.training.experiment",
    "kan_exp.training.least_squares",
    "kan_exp.training.tensorboard",
    "matplotlib.font_manager",
)
ENDS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.02
PATIENCE = 60.0  # seconds that a job has to end in order: to score and draw, on a busy machine
SIGNAL_ON_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


class WarmLauncher(Launcher):
    """Hydra's launcher for one machine: imports are paid once, and every job has its own process.

    A job that is killed, or takes the memory, is a job that failed; the others do not notice.

    Args:
        workers: Jobs at once; `None` for as many as there are cores for their threads, and one
            where they would share a GPU.

    Raises:
        KanExpError: `workers` is below 1, or the system cannot copy a process.
    """

    def __init__(self, workers: int | None) -> None:
        if workers is not None and not isinstance(workers, int):
            raise KanExpError(f"hydra.launcher.workers must be a whole number, got {workers}.")
        if workers is not None and workers < 1:
            raise KanExpError(f"hydra.launcher.workers must be at least 1, got {workers}.")
        if not hasattr(os, "fork"):
            raise KanExpError("hydra/launcher=warm needs os.fork: set hydra/launcher=joblib.")
        self.workers = workers
        # Called while jobs run, some times a second.
        self.watch: Callable[[], None] = lambda: None

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
        imports_are_done()
        waiting = list(enumerate(job_overrides, initial_job_idx))
        running: dict[int, int] = {}  # process -> job
        codes: dict[int, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._most():
                    number, overrides = waiting.pop(0)
                    running[self._start(number, overrides)] = number
                self._collect(running, codes)
                self.watch()
        except BaseException:  # no process to be had, no space on the disk, Ctrl-C
            self._stop(running, codes)
            raise
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            good = codes[number] == 0
            status = JobStatus.COMPLETED if good else JobStatus.FAILED
            returns.append(JobReturn(overrides=overrides, status=status))
        return returns

    def _most(self) -> int:
        if self.workers is not None:
            return self.workers
        if self.config.trainer.accelerator != "cpu":
            return 1
        devices = self.config.trainer.devices  # processes of a job, with trainer=ddp
        each = (self.config.threads or 1) * (devices if isinstance(devices, int) else 1)
        return max(1, len(os.sched_getaffinity(0)) // max(1, each))

    def _start(self, number: int, overrides: Sequence[str]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # A signal between the two lines would find the copy with what the parent does about it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            process = os.fork()
            if process == 0:
                self._become_job(number, overrides, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process

    def _become_job(self, number: int, overrides: Sequence[str], parent: int) -> NoReturn:
        """Runs a job in this process, which is a copy, and ends it with the job."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is the parent's, which passes it on once
            for which in ENDS:
                signal.signal(which, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            _end_with(parent)
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            done = run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            code = 0 if done.status == JobStatus.COMPLETED else 1
        except (KeyboardInterrupt, SystemExit):
            pass  # its status says so
        except Exception as error:  # noqa: BLE001 - told by the status, or at least by the code
            self._tell(number, overrides, error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # what the parent wants done at its exit is not this process's to do

    def _tell(self, number: int, overrides: Sequence[str], error: Exception) -> None:
        """Writes the status of a job that has failed before its task could begin."""
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
            if raised is not error:
                print(f"Error: {one_line(error)}", file=sys.stderr)  # noqa: T201

    def _collect(self, running: dict[int, int], codes: dict[int, int]) -> None:
        """Takes note of the processes that have ended, waiting a moment if none has."""
        ended = False
        for process in list(running):
            which, status = os.waitpid(process, os.WNOHANG)
            if which:
                codes[running.pop(process)] = os.waitstatus_to_exitcode(status)
                ended = True
        if not ended:
            time.sleep(POLL_SECONDS)

    def _stop(self, running: dict[int, int], codes: dict[int, int]) -> None:
        """Asks the running jobs to end, and sees to it that they do."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            for process in running:
                os.kill(process, number)
            end = time.monotonic() + PATIENCE
            try:
                while running and time.monotonic() < end:
                    self._collect(running, codes)
            except KeyboardInterrupt:
                continue  # whoever waits is impatient: the next signal is harder


def _end_with(parent: int) -> None:
    """Has this process asked to end when its parent is gone, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SIGNAL_ON_PARENTS_DEATH, signal.SIGTERM)
        if os.getppid() != parent:  # it was faster
            sys.exit(1)
