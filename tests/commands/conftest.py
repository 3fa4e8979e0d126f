"""The command in the test's own process, or in one that has not imported torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import pytest

from tests.commands.in_process import Train
from tests.conftest import Command, run_light


@pytest.fixture
def train(capsys, monkeypatch, tmp_path) -> Train:
    """`python -m kan_exp.train ...`, given in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Train(capsys, monkeypatch)


@pytest.fixture
def light(tmp_path) -> Command:
    """`run_light` in an empty folder."""
    return partial(run_light, cwd=tmp_path)


@pytest.fixture
def told(caplog) -> Callable[[], list[str]]:
    """The lines that a command has logged so far."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]
