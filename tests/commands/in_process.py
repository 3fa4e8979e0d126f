"""Commands run in the test's own process, up to their task."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from kan_exp.cli import FULL_ERROR, run_command, store_schema
from kan_exp.config import TrainConfig
from kan_exp.train import read_arguments


class Answer(NamedTuple):
    """What a command ended with, and the configuration that its task was given."""

    code: Any
    error: str
    config: Any

    @property
    def line(self) -> str:
        """The one line on stderr."""
        (line,) = self.error.splitlines()
        assert self.code == 1
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")


class Command:
    """`python -m kan_exp.train ...` without its training."""

    def __init__(self, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str, task: Callable[[Any], None] | None = None) -> Answer:
        given: list[Any] = []

        def take(cfg: Any) -> None:
            given.append((cfg, HydraConfig.get().copy()))
            if task is not None:
                task(cfg)

        self.monkeypatch.setattr(sys, "argv", ["train", *arguments])
        self.monkeypatch.setenv(FULL_ERROR, "0")
        self.monkeypatch.setattr(gc, "disable", lambda: None)
        store_schema("train_schema", TrainConfig)
        self.capsys.readouterr()
        try:
            run_command("train", take, read_arguments)
        except SystemExit as end:
            code = end.code
        finally:
            GlobalHydra.instance().clear()
        return Answer(code, self.capsys.readouterr().err, given[0] if given else None)


def composing(arguments: Sequence[str]) -> list[str]:
    """Arguments with which a command prints its configuration, and writes nothing."""
    return [*arguments, "--cfg", "job", "--resolve"]
