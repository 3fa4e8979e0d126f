"""What several tests need: commands run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., "subprocess.CompletedProcess[str]"]


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


def environment() -> dict[str, str]:
    """The tests' own environment without what would change how errors are shown."""
    return {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}


def run_folders(cwd: Path) -> list[Path]:
    """Folders of finished runs, oldest first."""
    return sorted(path.parent for path in (cwd / "outputs").rglob("metrics.json"))


def read_metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())
