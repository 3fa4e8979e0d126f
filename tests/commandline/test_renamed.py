"""Old names of options and configs: they do what the new ones do, and a line says the new name."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf, open_dict

from kan_exp.commandline import renamed
from kan_exp.commandline.arguments import spelled
from kan_exp.preparing.keys import run_key
from kan_exp.preparing.stored_config import from_folder
from kan_exp.preparing.translation import composed
from kan_exp.runs.identity import digest
from kan_exp.train import read_arguments

HEAD = "# @package _global_\n"
VALUES = {"keep": "[5,2]", "wiggle": "0.7", "fade": "1.5"}
OLD = {f"refine.{name}={value}": value for name, value in VALUES.items()}


@pytest.fixture(autouse=True)
def _notes():
    renamed.note.cache_clear()


def written(text: str) -> str:
    name, _, value = text.partition("=")
    return f"{renamed.OPTIONS[name]}={value}"


def value_of(cfg, text: str):
    return OmegaConf.select(cfg, written(text).partition("=")[0])


@pytest.mark.parametrize("value", ["true", "False", "true,false", "yes"])
def test_a_group_that_is_switched_as_a_whole(value):
    assert renamed.renamed_options([f"explain={value}"]) == [f"explain.enabled={value}"]
    assert renamed.renamed_config({"explain": True}) == {"explain": {"enabled": True}}
    kept = ["explain.seconds=3", "explain={seconds:3}", "explain=null"]
    assert renamed.renamed_options(kept) == kept


@pytest.mark.parametrize("text", OLD)
def test_an_old_option_on_the_command_line_sets_the_new_one(train, text):
    answer = train("layer=spline", text, text)
    assert answer.code == 0, answer.err
    assert json.loads(OLD[text]) == value_of(answer.cfg, text)
    old, new = (each.partition("=")[0] for each in (text, written(text)))
    assert answer.err == f"Note: {old} is now called {new}.\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["-m", "refine.keep=[8],[4]"], ["-m", "refine.num_candidates=[8],[4]"]),
        (["++refine.fade=1"], ["++refine.penalty_decay=1"]),
        (["~refine.keep"], ["~refine.num_candidates"]),
        (["refine={keep:[3], fade: 1}"], ["refine={num_candidates:[3], penalty_decay: 1}"]),
        (["penalty.jerk=${refine.fade}"], ["penalty.jerk=${refine.penalty_decay}"]),
        (["layer=${oc.select:refine.keep,1}"], ["layer=${oc.select:refine.num_candidates,1}"]),
        (["experiment=seed_mlp_2_1_1"], ["experiment=baseline_mlp_2_1_1"]),
        (
            ["-m", "experiment=seed_interpo_2_5_1,'seed_mlp_2_5_1',spline_2_1_1"],
            ["-m", "experiment=baseline_interpo_2_5_1,'baseline_mlp_2_5_1',spline_2_1_1"],
        ),
        (
            ["search=none", "refine.wiggle=interval(0,1)"],
            ["search=none", "refine.init_noise_std=interval(0,1)"],
        ),
    ],
)
def test_old_names_are_replaced_wherever_they_are_typed(old, new):
    assert spelled(old) == new


@pytest.mark.parametrize(
    "text", ["refined.keep=1", "data.path=refine.keep", "layer.keep=1", "target.formula=keep*fade"]
)
def test_other_options_keep_their_names(text, capsys):
    assert spelled([text]) == [text]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", OLD)
def test_an_old_option_in_a_users_own_config_sets_the_new_one(train, tmp_path, text):
    option, _, value = text.removeprefix("refine.").partition("=")
    write(tmp_path, "experiment/mine", f"refine:\n  {option}: {value}\npenalty:\n  jerk: 2\n")
    answer = train("--config-dir", "own", "layer=spline", "experiment=mine")
    assert answer.code == 0, answer.err
    assert value_of(answer.cfg, text) == json.loads(value)
    assert answer.err.count("\n") == 1
    assert f"is now called {written(text).partition('=')[0]}." in answer.err


def write(folder, name: str, text: str) -> None:
    path = folder / "own" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + text)


def test_the_command_line_wins_over_an_old_name_in_a_config(train, tmp_path):
    write(tmp_path, "experiment/mine", "refine:\n  keep: [9]\n")
    answer = train("--config-dir", "own", "experiment=mine", "refine.num_candidates=[3]")
    assert answer.cfg.refine.num_candidates == [3]


@pytest.mark.parametrize("entry", ["seed_mlp_2_5_1", "/experiment/seed_mlp_2_5_1"])
def test_an_old_config_in_a_defaults_list_is_the_new_one(train, tmp_path, entry):
    write(tmp_path, "experiment/mine", f"defaults:\n  - {entry}\nsteps: 7\n")
    answer = train("--config-dir", "own", "experiment=mine")
    assert answer.code == 0, answer.err
    assert answer.cfg.layer._target_ == "kan_exp.layers.KANLayer"
    assert "experiment=seed_mlp_2_5_1 is now called experiment=baseline_mlp_2_5_1." in answer.err


def test_an_old_config_may_be_an_override_of_a_defaults_list():
    plain = {"defaults": [{"override /experiment": "seed_mlp_2_5_1"}]}
    assert renamed.renamed_config(plain) == {
        "defaults": [{"override /experiment": "baseline_mlp_2_5_1"}]
    }


def test_a_search_over_an_old_option_is_one_over_the_new(train, tmp_path):
    space = "hydra:\n  sweeper:\n    params:\n      refine.keep: choice([4],[8])\n"
    only = "    only:\n      layer=spline:\n        refine.fade: interval(1,5)\n"
    write(tmp_path, "search/mine", f"defaults:\n  - override /hydra/sweeper: optuna\n{space}{only}")
    answer = train("--config-dir", "own", "search=mine", "--cfg", "hydra")
    assert answer.code == 0, answer.err
    assert "refine.num_candidates: choice([4],[8])" in answer.out
    assert "refine.penalty_decay: interval(1,5)" in answer.out
    assert answer.err.count("Note: ") == 2


@pytest.fixture
def stored(tmp_path):
    """The folder of a run from before the options were renamed."""
    overrides = ["layer=spline", "refine.num_candidates=[5,2]"]
    with composed(overrides, tmp_path) as (cfg, hydra):
        with open_dict(cfg):
            del cfg["smoothing"]  # which is newer
        parts = {"config": cfg, "hydra": OmegaConf.create({"hydra": hydra})}
        parts["overrides"] = OmegaConf.create(["layer=spline", "refine.keep=[5,2]"])
        (tmp_path / ".hydra").mkdir()
        for name, part in parts.items():
            OmegaConf.save(part, tmp_path / ".hydra" / f"{name}.yaml")
    path = tmp_path / ".hydra" / "config.yaml"
    text = path.read_text()
    for old, new in renamed.OPTIONS.items():
        text = text.replace(f"  {new.rpartition('.')[2]}:", f"  {old.rpartition('.')[2]}:")
    assert "keep:" in text
    path.write_text(text)
    return tmp_path


@pytest.mark.parametrize("prefix", ["resume=", "--from="])
def test_a_stored_configuration_may_have_old_names(stored, prefix, capsys):
    name, _ = from_folder([f"{prefix}{stored}"])
    *renamed_notes, new = capsys.readouterr().err.splitlines()
    assert len(renamed_notes) == 3
    assert new.startswith("Note: new since then: smoothing=")
    with composed([], stored, name) as (cfg, hydra):
        assert cfg.refine.num_candidates == [5, 2]
        assert "keep" not in cfg.refine
        assert hydra.overrides.task == ["layer=spline", "refine.num_candidates=[5,2]"]


def test_a_stored_sweep_may_have_old_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"overrides": ["refine.keep=[8],[4]"], "jobs": [], "cwd": str(tmp_path)}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    _, words = read_arguments(["-m", "sweep.resume=."])
    assert "refine.num_candidates=[8],[4]" in words


def test_units_of_columns_do_not_change_the_key_of_a_run(tmp_path):
    with composed(["layer=spline", "task=regression"], tmp_path) as (cfg, _):
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
        del values["data"]["units"]
        assert run_key(cfg) == digest(values)


def test_all_new_names_exist(tmp_path):
    with composed([], tmp_path) as (cfg, _):
        assert all(OmegaConf.select(cfg, new) is not None for new in renamed.OPTIONS.values())
