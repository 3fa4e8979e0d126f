"""What several tests need: commands run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kan_exp.runs import read_status
from kan_exp.sweeps.launcher import HEAVY
from tests import forkserver
from tests.forkserver import Forked, ForkServer

# The same examples each time, and no failure because the machine is busy.
settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Process = subprocess.Popen[str] | Forked


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs `python -m kan_exp.<name> ...` in an empty folder, as from a user's shell."""

    def run(name: str, *args: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return run_command(name, *args, cwd=cwd)

    return run


def run_command(
    name: str, *args: str, cwd: Path, fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m kan_exp.<name> ...` to its end; with `fresh` in an interpreter of its own."""
    return _finish(start_command(name, *args, cwd=cwd, fresh=fresh))


def start_command(name: str, *args: str, cwd: Path, fresh: bool = False) -> Process:
    """Starts `python -m kan_exp.<name> ...`, to be interfered with; to be used by `with`."""
    return start("-m", f"kan_exp.{name}", *args, cwd=cwd, server=None if fresh else COMMANDS)


def run_code(code: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs `python -c CODE ...` to its end, in a process that has not imported torch."""
    return _finish(start("-c", code, *args, cwd=cwd, server=WITHOUT_TORCH))


def start(*arguments: str, cwd: Path, server: ForkServer | None) -> Process:
    """Starts `python *arguments`, as a fork where that makes no difference."""
    if server is not None and forkserver.SUPPORTED and server.environment == environment():
        return server.start(*arguments, cwd=cwd)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: Process) -> subprocess.CompletedProcess[str]:
    with process:
        stdout, stderr = process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def environment() -> dict[str, str]:
    """The tests' environment without pytest's variables and what changes how errors are shown."""
    return {
        key: value
        for key, value in os.environ.items()
        if key != "HYDRA_FULL_ERROR" and not key.startswith("PYTEST_")
    }


COMMANDS = ForkServer(("kan_exp.sweeps.runner", *HEAVY), environment())
WITHOUT_TORCH = ForkServer(("hydra", "kan_exp.cli", "kan_exp.preparing"), environment())


def pytest_unconfigure() -> None:
    for server in (COMMANDS, WITHOUT_TORCH):
        server.close()


def run_folders(cwd: Path) -> list[Path]:
    """Folders of finished runs, oldest first."""
    return sorted(path.parent for path in (cwd / "outputs").rglob("metrics.json"))


def read_metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def until_it_trains(cwd: Path, job: int, process: subprocess.Popen[str]) -> int:
    """Waits until a job of a sweep trains; gives its process."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for folder in (cwd / "outputs").glob(f"sweeps/*/*/{job}_*"):
            status = read_status(folder)
            if status is not None and (folder / "checkpoints" / "last.ckpt").exists():
                return status.pid
        time.sleep(0.05)
    raise AssertionError(f"job {job} did not begin: {process.poll()}")
