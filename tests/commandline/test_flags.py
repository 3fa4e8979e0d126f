"""Flags of Hydra's that do not go with what the commands are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from kan_exp.commandline.arguments import check_config_name, spelled
from kan_exp.config import config_folder
from kan_exp.errors import KanExpError


@pytest.mark.parametrize("flag", ["--info", "-i"])
def test_info_without_a_value_takes_no_option_for_one(flag):
    assert spelled([flag, "seed=1"]) == [flag, "all", "seed=1"]
    assert spelled([flag, "defaults", "seed=1"]) == [flag, "defaults", "seed=1"]


def test_hydras_help_is_shown_whatever_else_is_asked():
    assert spelled(["--hydra-help", "layer=mlp"]) == ["--hydra-help"]


def test_a_pickled_configuration_is_not_run():
    with pytest.raises(KanExpError, match=r"^--experimental-rerun: there is no such flag"):
        spelled(["--experimental-rerun", "outputs/config.pickle"])


@pytest.mark.parametrize(
    "words", [["-cn", "report"], ["--config-name=report"], ["--config-name", "report.yaml"]]
)
def test_the_configuration_of_another_command_is_refused(words):
    configs = Path(config_folder())
    with pytest.raises(KanExpError, match=r"is for python -m kan_exp\.report"):
        check_config_name(words, "train", configs)
    check_config_name(words, "report", configs)
    check_config_name(["-cn", "mine"], "train", configs)


def test_a_configuration_is_composed_once(train, monkeypatch):
    composed = []
    load = ConfigLoaderImpl.load_configuration

    def count(self, *arguments, **options):
        composed.append(arguments)
        return load(self, *arguments, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", count)
    assert train("layer=rbf").code == 0
    assert len(composed) == 1


def test_only_searches_and_users_configs_may_ask_for_a_sweep(train, tmp_path):
    for path in Path(config_folder()).rglob("*.yaml"):
        hydra = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("hydra") or {}
        assert "mode" not in hydra or path.parent.name == "search"
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n"
    (tmp_path / "own" / "experiment" / "x.yaml").write_text(text)
    options = ["--config-dir", "own", "experiment=x", "hydra.run.dir=a"]
    assert "has no effect on a sweep" in train(*options).line
