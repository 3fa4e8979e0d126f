"""The command in the test's own process."""

from __future__ import annotations

import pytest

from tests.commands.in_process import Train


@pytest.fixture
def train(capsys, monkeypatch, tmp_path) -> Train:
    """`python -m kan_exp.train ...`, given in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Train(capsys, monkeypatch)
