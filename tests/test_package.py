"""The package as others get it: silent on import, and whole in a wheel."""

import importlib
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kan_exp.symbolic.explaining
from tests.conftest import PATIENCE, ROOT, environment, read_metrics, run_folders

STATE = """
import random, sys, os
import numpy, torch
import lightning.pytorch  # draws from Python's generator on its own account
torch.manual_seed(1); random.seed(1); numpy.random.seed(1)
before = (torch.get_rng_state().sum(), random.getstate(), numpy.random.get_state()[1].sum())
threads, default = torch.get_num_threads(), torch.get_default_dtype()
import kan_exp, kan_exp.layers, kan_exp.data, kan_exp.targets, kan_exp.plots
import kan_exp.training.experiment
kan_exp.load
after = (torch.get_rng_state().sum(), random.getstate(), numpy.random.get_state()[1].sum())
assert before == after, "importing drew random numbers"
assert (threads, default) == (torch.get_num_threads(), torch.get_default_dtype())
assert not os.listdir("."), "importing wrote something"
"""


def test_a_command_does_not_take_the_name_of_a_function():
    importlib.import_module("kan_exp.explain")
    assert kan_exp.explain is kan_exp.symbolic.explaining.explain


def test_importing_seeds_prints_and_writes_nothing(tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:kan_exp", "-c", STATE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""


@pytest.mark.slow
def test_a_wheel_trains_from_an_empty_folder(tmp_path):
    """Builds a wheel, and uses it where there is nothing else but what it says that it needs."""
    _run(ROOT, sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ".")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    _run(tmp_path, sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(_run(tmp_path, python, "-c", "import site; print(site.getsitepackages()[0])")[:-1])
    (about,) = (path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    for needed in _closure(PathDistribution(about).requires or []):
        for path in {Path(str(file)).parts[0] for file in needed.files or []} - {
            "..",
            "__pycache__",
        }:
            if not (site / path).exists():  # some share a folder
                (site / path).symlink_to(needed.locate_file(path))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    pip += ["--python", str(python)]
    _run(tmp_path, *pip, "install", "--no-index", "--no-deps", wheel)
    _run(tmp_path, *pip, "check")
    empty = tmp_path / "empty"
    empty.mkdir()
    short = ["layer=interpo", "optimizer=adam", "steps=100", "dims=[2,1,1]"]
    said = _run(empty, python, "-m", "kan_exp.train", *short)
    assert "test RMSE" in said
    assert [path.name for path in empty.iterdir()] == ["outputs"]
    (folder,) = run_folders(empty)
    assert read_metrics(folder)["stopped"] not in ("diverged", "interrupted")
    assert "run=FOLDER" in _run(empty, python, "-m", "kan_exp.evaluate", "--help")


def _closure(requirements: list[str]) -> list[Distribution]:
    """What is installed here of some requirements and of all that they require."""
    found: dict[str, Distribution] = {}
    waiting = [(text, "") for text in requirements]
    while waiting:
        text, extra = waiting.pop()
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(needed.name)
        if name not in found:
            found[name] = distribution(name)
            waiting += [(more, "") for more in found[name].requires or []]
        waiting += [(more, one) for one in needed.extras for more in found[name].requires or []]
    return list(found.values())


def _run(cwd: Path, *command: object) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={key: value for key, value in environment().items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
