"""What several tests need: commands run as a user runs them."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from kan_exp.runs import read_status
from kan_exp.sweeps.launcher import HEAVY
from tests.forkserver import (
    Forked,
    ForkServer,
    compose_from_memory,
    look_for_plugins_once,
    parse_files_once,
)

# Before torch and NumPy are imported, also by the commands: what tests compute is small, and
# threads that wait for work, beside other processes, use as much of the processor as it does.
os.environ.setdefault("OMP_NUM_THREADS", "1")
look_for_plugins_once()
parse_files_once()
compose_from_memory()

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

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent

# Seconds after which a process must hang, however busy the machine is.
PATIENCE = 1800.0

Command = Callable[..., "subprocess.CompletedProcess[str]"]
T = TypeVar("T")
Process = subprocess.Popen[str] | Forked


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        help="where layers, optimizers and trainings are tested: cpu, cuda, or standin, which "
        "computes on the CPU but refuses tensors that were left there",
    )


def pytest_sessionstart() -> None:
    gc.disable()  # until all is imported: a seventh of the suite's time was looking for garbage


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(200_000, 50, 100)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") != "cuda":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    if config.getoption("--device") == "standin":
        from tests import standin  # noqa: F401 - before the first gradient


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of `--device`; skips the test where there is no such device."""
    import torch

    name = request.config.getoption("--device")
    if name == "standin":
        from tests.standin import standin

        return standin()
    found = torch.device(name)
    if found.type == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"--device={name}: torch finds no CUDA device")
    return found


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
    return finish(start_command(name, *args, cwd=cwd, fresh=fresh))


def start_command(name: str, *args: str, cwd: Path, fresh: bool = False) -> Process:
    """Starts `python -m kan_exp.<name> ...`, to be interfered with; to be used by `with`."""
    return start("-m", f"kan_exp.{name}", *args, cwd=cwd, server=None if fresh else COMMANDS)


def run_light(
    name: str, *args: str, cwd: Path, with_torch: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m kan_exp.<name> ...` to its end, in a process that has not imported torch.

    The last line on stdout lists the heavy packages that it has imported. For commands that do
    import torch, `with_torch` saves the time: their process has imported it, and nothing else.
    """
    server = WITH_TORCH if with_torch else WITHOUT_TORCH
    return finish(start("-c", LIGHT_COMMAND, name, *args, cwd=cwd, server=server))


def start(*arguments: str, cwd: Path, server: ForkServer | None, **variables: str) -> Process:
    """Starts `python *arguments`, as a fork of the server where that makes no difference.

    Args:
        arguments: They begin with `-m MODULE` or `-c CODE`.
        cwd: Where it runs.
        server: Has done the imports; an interpreter is started if not given.
        variables: Environment variables beside those of `environment`.
    """
    variables = environment() | variables
    if server is not None and server.can_start(variables):
        return server.start(*arguments, cwd=cwd, environment=variables)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: Process) -> subprocess.CompletedProcess[str]:
    """Waits for the end of a process and kills it if it hangs."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def environment() -> dict[str, str]:
    """The tests' own environment without what pytest and libraries set and what changes errors."""
    left_out = ("HYDRA_FULL_ERROR", "KMP_", "PYTEST_", "PYTORCH_NVML_", "TORCHINDUCTOR_")
    left_out += ("TRITON_INTERPRET",)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "RAY_worker_niceness": "0"}  # nice workers do not get on on a busy machine


# Not the commands themselves, about which Python would warn.
LIGHT = ("numpy", "kan_exp.preparing.stored_config", "kan_exp.ranks", "kan_exp.sweeps.sweeper")
COMMANDS = ForkServer((*LIGHT, *HEAVY), environment())
WITHOUT_TORCH = ForkServer(LIGHT, environment())
WITH_TORCH = ForkServer((*LIGHT, "torch"), environment())
LIGHT_COMMAND = """
import runpy, sys
name, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(f"kan_exp.{name}", run_name="__main__", alter_sys=True)
finally:
    print("imported:", *(n for n in ("torch", "lightning", "tensorboard") if n in sys.modules))
"""


def run_folders(cwd: Path) -> list[Path]:
    """Folders of finished runs, oldest first."""
    return sorted(path.parent for path in (cwd / "outputs").rglob("metrics.json"))


def read_metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def wait_until(happened: Callable[[], T | None], process: Process) -> T:
    """Waits until something is there while a process runs, and gives it."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        if (found := happened()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not happen, and the process is at {process.poll()}")


def until_it_trains(cwd: Path, job: int, process: Process) -> int:
    """Waits until a job of a sweep trains; gives its process."""

    def training() -> int | None:
        for folder in (cwd / "outputs").glob(f"sweeps/*/*/{job}_*"):
            status = read_status(folder)
            if status is not None and (folder / "checkpoints" / "last.ckpt").exists():
                return status.pid
        return None

    return wait_until(training, process)


def pytest_unconfigure() -> None:
    for server in (COMMANDS, WITHOUT_TORCH, WITH_TORCH):
        server.close()
