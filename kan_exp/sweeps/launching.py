"""One launch: jobs are handed to a launcher, and watched until none of them runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.plugins.launcher import Launcher

from kan_exp.cli import imports_are_done
from kan_exp.quoting import option
from kan_exp.runs import is_running, read_status
from kan_exp.sweeps.jobs import JobGroup
from kan_exp.sweeps.launcher import WarmLauncher
from kan_exp.sweeps.outcomes import close
from kan_exp.sweeps.plugins import cancel_rest, is_joblib, quiet_helpers, wait_for_rest
from kan_exp.sweeps.watch import POLL_SECONDS, Watch

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds in which a process ends that has been told to
FAR_PATIENCE = 60.0  # and those after which a shared file system shows what another machine wrote


def launch(
    launcher: Launcher, stacks: Sequence[JobGroup], folder: Path, watch: Watch
) -> Exception | None:
    """Launches stacks and waits for their ends; afterwards no status says "running".

    A stack that went down with another's process is "interrupted".

    Args:
        launcher: Hydra's, ready to launch.
        stacks: What to launch.
        folder: Of the sweep.
        watch: What tells of each as it ends.

    Returns:
        What the launcher had to say, if it broke.

    Raises:
        KeyboardInterrupt: The user asked for an end; what was running is "interrupted".
    """
    watch.follow(stacks, die_together=is_joblib(launcher))
    # Absolute: a worker may have been started somewhere else.
    where = option("hydra.sweep.dir", folder.absolute())
    overrides = [[*stack.overrides, where] for stack in stacks]
    error: Exception | None = None
    try:
        with _watched(launcher, watch):
            try:
                with quiet_helpers(launcher):
                    launcher.launch(overrides, initial_job_idx=stacks[0].jobs[0].number)
            except Exception as raised:
                log.debug("the launcher failed", exc_info=True)
                error = raised
                wait_for_rest(raised)
            except KeyboardInterrupt as interrupt:
                watch.expect_ends()
                cancel_rest(interrupt)
                raise
            finally:
                _wait_for_ends(stacks)
    except KeyboardInterrupt:
        _close(stacks, cut_short=True)
        watch.finish()
        raise
    if error is not None and watch.first_lost:
        _close(watch.first_lost)
        watch.look()
        _close(stacks, cut_short=True)
    else:
        _close(stacks)
        watch.finish()
    return error


@contextmanager
def _watched(launcher: Launcher, watch: Watch) -> Iterator[None]:
    if isinstance(launcher, WarmLauncher):  # no thread beside it: it copies its process
        launcher.watch = watch.poll
        yield
        return
    imports_are_done()  # the workers import for themselves
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            watch.wait()
            watch.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _wait_for_ends(stacks: Sequence[JobGroup]) -> None:
    """Gives what still seems to run some time: a launcher may be faster than the signals it sends,
    and than a file system that machines share.
    """
    begun = time.monotonic()
    while True:
        found = [read_status(stack.folder) for stack in stacks]
        running = [status for status in found if status is not None and is_running(status)]
        here = all(status.is_here for status in running)
        if not running or time.monotonic() - begun > (PATIENCE if here else FAR_PATIENCE):
            return
        time.sleep(POLL_SECONDS)


def _close(stacks: Sequence[JobGroup], cut_short: bool = False) -> None:
    """Marks runs whose process is gone."""
    for stack in stacks:
        close(stack.folder, cut_short)
