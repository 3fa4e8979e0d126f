"""A folder is a run's if a run has written it, and what it holds is not lost to another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from kan_exp.errors import KanExpError
from kan_exp.runs import hold, release
from kan_exp.runs.folders import is_run
from kan_exp.runs.lock import LockedError
from kan_exp.train import prepare
from tests.commands.in_process import Train

SMALL = ["points=60", "data.num_val=20", "data.num_test=20", "logger=none", "~callbacks.figures"]
SMALL += ["refine.num_candidates=[1]", "refine.steps=[2]", "layer=spline", "dims=[2,1]"]
REFUSED = ["layer=spline", "dims=[3,1]"]


@pytest.fixture
def train(capsys, monkeypatch, tmp_path) -> Train:
    monkeypatch.chdir(tmp_path)
    return Train(capsys, monkeypatch)


def task(cfg):
    from kan_exp.train import train

    train(cfg)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_checkpoints_of_another_program_make_no_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch=3.ckpt").touch()
    assert not is_run(tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert is_run(tmp_path)


def test_a_folder_with_checkpoints_of_another_program_can_be_used(train, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch=3.ckpt").write_text("theirs")
    assert train("hydra.run.dir=.", *SMALL).code == 0
    assert (tmp_path / "checkpoints" / "epoch=3.ckpt").read_text() == "theirs"


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("metrics.json", "a run already (metrics.json): set hydra.run.dir=... to another."),
        ("history.json", "a run already (history.json): set hydra.run.dir=... to another."),
        ("checkpoints/last.ckpt", "another, or resume it: resume=own."),
        ("status.json", "a status.json that is no run's: set hydra.run.dir=... to another."),
    ],
)
def test_a_folder_whose_files_would_be_replaced_is_refused(train, tmp_path, name, ending):
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": 1}')
    before = content(tmp_path)
    line = train("hydra.run.dir=own", *SMALL).line
    assert line.startswith("own holds ")
    assert line.endswith(ending)
    assert content(tmp_path) == before
    with pytest.raises(KanExpError, match=r"holds .*: give another folder"):
        prepare(SMALL, tmp_path / "own")


def test_a_run_that_never_began_leaves_a_folder_as_it_was(train, tmp_path):
    status = {"state": "failed", "reason": "then", "overrides": [], "key": "k", "job": None}
    status |= {"pid": 1, "host": "there", "started": "2026-01-01T00:00:00+00:00"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "train.log").write_text("a log of mine\n")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("mine: 1\n")
    before = content(tmp_path)
    assert "set dims=" in train("hydra.run.dir=.", *REFUSED, task=task).line
    assert content(tmp_path) == before


def test_a_run_that_never_began_leaves_no_folder(train, tmp_path):
    assert "set dims=" in train(*REFUSED, task=task).line
    assert "set dims=" in train("hydra.run.dir=a", *REFUSED, task=task).line
    assert not list(tmp_path.iterdir())


def test_an_experiment_in_python_holds_its_folder_while_it_runs(tmp_path, monkeypatch):
    experiment = prepare(SMALL, tmp_path / "run")
    held = []
    monkeypatch.setattr(
        type(experiment), "_log_start", lambda self: held.append((self.folder / ".lock").exists())
    )
    experiment.run()
    assert held == [True]
    assert not (tmp_path / "run" / ".lock").exists()
    with pytest.raises(KanExpError, match="holds a run already"):
        prepare(SMALL, tmp_path / "run")


def test_an_experiment_in_python_does_not_write_where_another_process_does(tmp_path):
    experiment = prepare(SMALL, tmp_path)
    with FileLock(tmp_path / ".lock"), pytest.raises(LockedError):
        experiment.run()
    hold(tmp_path)
    experiment.run()  # this process held it before, and still does
    assert (tmp_path / ".lock").exists()
    release(tmp_path)
