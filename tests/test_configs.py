"""Every YAML in conf composes, mirrors the package, and makes what it says."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf, read_write

from kan_exp.cli import store_schema
from kan_exp.config import ReportConfig, TrainConfig, config_folder
from kan_exp.layers import EdgeLayer
from kan_exp.preparing.targets import check_targets
from tests.layers.test_contract import LAYER_CONFIGS

CONF = Path(config_folder())
CHOICES = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in ("callbacks", "hydra")
]
NEEDED = {
    "target=formula": ["target.formula='a*b'"],
    "scheduler=onecycle": ["optimizer=adam"],
}


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    store_schema("train_schema", TrainConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides, name="train"):
    return compose(name, overrides=list(overrides), return_hydra_config=True)


def with_choice(choice):
    """The configuration of a choice, with all that is missing set."""
    given = [choice, *NEEDED.get(choice, [])]
    own = own_part(composed(*given))
    if missing := OmegaConf.missing_keys(own):
        own = own_part(composed(*given, *(f"{name}=a" for name in sorted(missing))))
    return own


def own_part(cfg):
    """A configuration without Hydra's part, to which it may refer as in a run."""
    with read_write(cfg):
        cfg.hydra.runtime.output_dir = "run"
    HydraConfig.instance().set_config(cfg)
    return without_hydra(cfg)


def without_hydra(cfg):
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_resolves(choice):
    own = with_choice(choice)
    assert not OmegaConf.missing_keys(own)
    text = OmegaConf.to_yaml(own, resolve=True)
    assert "${" not in text
    assert "???" not in text
    check_targets(OmegaConf.to_container(own, resolve=False), [])  # repeated from its folder


@pytest.mark.parametrize("path", LAYER_CONFIGS, ids=lambda p: p.stem)
def test_a_layers_config_has_its_own_module(path):
    layer = get_class(composed(f"layer={path.stem}").layer._target_)
    assert issubclass(layer, EdgeLayer)
    assert layer.__module__ == f"kan_exp.layers.{path.stem}"


@pytest.mark.parametrize("path", sorted((CONF / "optimizer").glob("*.yaml")), ids=lambda p: p.stem)
def test_an_optimizers_config_makes_it(path):
    factory = instantiate(composed(f"optimizer={path.stem}").optimizer)
    # Levenberg-Marquardt linearises whole networks.
    given = torch.nn.Linear(2, 1) if path.stem == "lm" else torch.nn.Parameter(torch.zeros(3))
    assert isinstance(factory([given]), torch.optim.Optimizer)


@pytest.mark.parametrize("path", sorted((CONF / "scheduler").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_scheduler_ends_with_the_run(path):
    cfg = composed("optimizer=adam", f"scheduler={path.stem}", "steps=50")
    if not cfg.scheduler:
        assert path.stem == "none"
        return
    optimizer = instantiate(cfg.optimizer)([torch.nn.Parameter(torch.zeros(3))])
    scheduler = instantiate(cfg.scheduler)(optimizer)
    for _ in range(49):
        optimizer.step()
        scheduler.step()
    assert 0 <= scheduler.get_last_lr()[0] <= cfg.optimizer.lr


STATED = sorted([*CONF.glob("experiment/*.yaml"), *CONF.glob("search/*.yaml")])
STATED.remove(CONF / "search" / "none.yaml")


@pytest.mark.parametrize("path", STATED, ids=lambda p: p.stem)
def test_an_experiment_states_claim_expectation_and_command(path):
    head = path.read_text().splitlines()
    assert head[0] == "# @package _global_"
    text = "\n".join(head)
    for word in (
        "# Claim:",
        "# Expect:",
        f"# Command: python -m kan_exp.train {path.parent.name}={path.stem}",
    ):
        assert word in text


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_the_other_commands_compose(name):
    assert "run" in OmegaConf.missing_keys(without_hydra(composed(name=name)))


def test_the_report_has_a_default_for_everything():
    store_schema("report_schema", ReportConfig)
    assert not OmegaConf.missing_keys(without_hydra(composed(name="report")))


def test_a_choice_on_the_command_line_wins_over_what_goes_with_a_layer():
    assert composed("layer=interpo", "optimizer=adam").steps != composed("optimizer=adam").steps
    assert composed("layer=interpo", "steps=7").steps == 7
    assert composed("experiment=baseline_interpo_2_1_1", "seed=7").seed == 7
