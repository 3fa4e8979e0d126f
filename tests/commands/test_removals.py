"""Options that a command needs cannot be removed; what it can do without can."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from kan_exp.commandline.arguments import check_removals
from kan_exp.errors import KanExpError
from tests.commands.in_process import Train
from tests.preparing.test_stored_config import composed


def names(node, before=""):
    for key, value in node.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from names(value, f"{before}{key}.")


def refusal(name) -> str:
    try:
        check_removals([f"~{name}"])
    except KanExpError as error:
        return str(error)
    return ""


def test_every_option_has_one_line():
    cfg, _ = composed("train", "optimizer=adam")
    options = [*names(OmegaConf.to_container(cfg, resolve=False))]
    options += ["hydra.run.dir", "hydra.job_logging.handlers.file", "hydra.callbacks.fresh_folder"]
    refusals = {name: refusal(name) for name in options if not name.endswith("_target_")}
    assert all(f"write {name}=..." in text for name, text in refusals.items() if text)
    kept = {name for name, text in refusals.items() if not text}
    groups = {"target", "data", "task", "layer", "optimizer", "scheduler", "trainer", "logger"}
    assert kept == groups | {"callbacks", "callbacks.figures", "callbacks.progress"}


@pytest.mark.parametrize("option", ["logger.save_dir", "seed", "data.border", "hydra.run.dir"])
def test_a_needed_option_is_reported(train: Train, option):
    assert train(f"~{option}").line.startswith(f"~{option}: options cannot be removed")


@pytest.mark.parametrize(
    "text", ["~logger", "~callbacks", "~callbacks.figures", "~hydra.sweeper.params.x", "a=~b"]
)
def test_what_is_not_needed_can_be_removed(text):
    check_removals([text])


def test_an_option_of_a_kind_of_ones_own_can_be_removed(tmp_path):
    check_removals(["--config-dir", str(tmp_path), "~layer.mine"])


def test_a_logging_that_cannot_be_set_up_is_reported(train: Train):
    line = train("hydra.hydra_logging.root.level=loudest").line
    assert line.startswith("hydra.job_logging or hydra.hydra_logging: ")
    assert "loudest" in line
