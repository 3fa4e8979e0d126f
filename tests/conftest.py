"""What several tests need: commands run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kan_exp.runs import read_status

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        help="where layers, optimizers and trainings are tested: cpu, cuda, or standin, which "
        "computes on the CPU but refuses tensors that were left there",
    )


def pytest_configure(config: pytest.Config) -> None:
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


def run_command(name: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"kan_exp.{name}", *args],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def start_command(name: str, *args: str, cwd: Path) -> subprocess.Popen[str]:
    """Starts `python -m kan_exp.<name> ...`, to be interfered with; to be used by `with`."""
    return subprocess.Popen(
        [sys.executable, "-m", f"kan_exp.{name}", *args],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment() -> dict[str, str]:
    """The tests' own environment without what would change how errors are shown."""
    return {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}


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
