"""Commands in the test's own process."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.cli import FULL_ERROR, run_command, store_schema
from kan_exp.config import TrainConfig, config_folder
from kan_exp.train import read_arguments


def composed(command: str, *words: str) -> DictConfig:
    """The configuration that the task of a command is given, from overrides as Hydra reads them."""
    with initialize_config_dir(config_folder(), version_base=None):
        cfg = compose(command, overrides=[*words], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return cfg


class Answer(NamedTuple):
    """How a command ended: its exit code, what it printed, and what its task was given."""

    code: Any
    out: str
    err: str
    cfg: Any
    hydra: Any

    @property
    def line(self) -> str:
        """The one line by which it was refused."""
        assert self.code == 1
        (line,) = self.err.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")


class Train:
    """Runs `python -m kan_exp.train`.

    Args:
        capsys: Pytest's.
        monkeypatch: Pytest's.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str, task: Callable[[DictConfig], None] | None = None) -> Answer:
        """Gives the answer to a command line.

        Args:
            arguments: As a shell hands them over.
            task: What the command does with its configuration; nothing but resolving it if not
                given.
        """
        given: list[Any] = [None, None]

        def take(cfg: DictConfig) -> None:
            given[:] = cfg.copy(), HydraConfig.get().copy()
            if task is None:
                OmegaConf.to_container(cfg, resolve=True)
            else:
                task(cfg)

        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        self.monkeypatch.setattr(sys, "argv", ["train", *arguments])
        self.monkeypatch.setenv(FULL_ERROR, "0")
        self.monkeypatch.setattr(gc, "disable", lambda: None)
        store_schema("train_schema", TrainConfig)
        self.capsys.readouterr()
        code: Any = None
        try:
            run_command("train", take, read_arguments)
        except SystemExit as end:
            code = end.code
        finally:
            GlobalHydra.instance().clear()
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
        return Answer(code, *self.capsys.readouterr(), *given)
