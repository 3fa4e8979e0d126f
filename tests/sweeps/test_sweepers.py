"""What a sweep refuses before its first job."""

from __future__ import annotations

import pytest

from tests.commands.in_process import Train


@pytest.mark.parametrize("launcher", ["warm", "basic"])
def test_a_sweeper_without_a_record_is_refused(capsys, monkeypatch, tmp_path, launcher):
    monkeypatch.chdir(tmp_path)
    train = Train(capsys, monkeypatch)
    line = train("-m", "hydra/sweeper=basic", f"hydra/launcher={launcher}", "seed=0,1").line
    assert line.startswith("hydra/sweeper=basic keeps no record of its jobs")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sweep", ["seed=0,1", "+sed=1,2"])
def test_an_option_without_effect_is_refused_once(capsys, monkeypatch, tmp_path, sweep):
    monkeypatch.chdir(tmp_path)
    train = Train(capsys, monkeypatch)
    line = train("-m", "+sed=1", sweep, "optimizer=adam", "hydra.sweep.dir=s").line
    assert line.startswith("+sed=1: there is no such option, and nothing refers to it")
    assert not list(tmp_path.rglob("status.json"))
