"""Ctrl-C while a command is still importing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Takes the place of a module that every command imports.
RAISE = "raise KeyboardInterrupt\n"


@pytest.mark.parametrize("command", ["train", "report"])
def test_an_interrupt_during_the_imports_is_reported_in_a_word(tmp_path: Path, command):
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text(RAISE)
    done = subprocess.run(
        [sys.executable, "-m", f"kan_exp.{command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "Interrupted.\n"
    assert done.returncode == -signal.SIGINT
