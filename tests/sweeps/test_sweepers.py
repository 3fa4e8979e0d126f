"""Only sweepers that keep a record of their jobs are taken."""

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
