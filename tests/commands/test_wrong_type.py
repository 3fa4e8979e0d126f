"""Values of a wrong type are explained without the names of OmegaConf's classes."""

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kan_exp.cli import hydra_config
from kan_exp.commandline.explain import one_line
from kan_exp.config import RunConfig, TrainConfig
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import check_numbers
from kan_exp.preparing.translation import translate
from tests.commands.in_process import Train

VALUES = [None, "abc", "", 1.5, -7, True, [1], ["a"], [None], [[1]], {"a": 1}, [{"a": 1}]]
OPTIONS = ["seed", "steps", "dims", "compile", "checkpoint_seconds", "penalty", "callbacks"]
OPTIONS += ["layers", "refine.num_candidates", "sweep.resume", "sweep.origin", "penalty.roughness"]


def check_all(cfg):
    check_numbers(translate(cfg, hydra_config())[0])


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_no_class_is_named(name, value):
    group, _, option = name.rpartition(".")
    given = {group: {option: value}} if group else {option: value}
    try:
        OmegaConf.merge(OmegaConf.structured(TrainConfig), given)
    except OmegaConfBaseException as error:
        line = one_line(error)
        for word in ("ListConfig", "DictConfig", "AnyNode", "subclass", "Optional", "NoneType"):
            assert word not in line
        assert "must" in line or "no such option" in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed=abc", "seed: must be a whole number, got abc."),
        ("seed=", "seed: must be a whole number, got nothing."),
        ("seed=null", "seed: must not be null."),
        ("compile=maybe", "compile: must be true or false, got maybe."),
        ("dims=2", "dims: must be a list, in brackets."),
        ("penalty.roughness=x", "penalty.roughness: must be a number, got x."),
        (
            "target.domain={a:1}",
            "target.domain: must stay a list, or a group of options, as it is.",
        ),
        ("steps=${oc.env:HOME}", "steps: ${oc.env:HOME}: must be a whole number, got /home/u."),
    ],
)
def test_the_line_says_what_an_option_must_be(train: Train, monkeypatch, text, line):
    monkeypatch.setenv("HOME", "/home/u")
    assert train("layer=interpo", "optimizer=adam", text).line == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dims=[2,null,1]", "dims[1]: must be a whole number, got null."),
        ("dims=[[2,1],1]", "dims[0]: must be a whole number, got [2,1]."),
        ("dims=[2,{a:1},1]", "dims[1]: must be a whole number, got {'a':1}."),
        (
            "refine.num_candidates=[[1]]",
            "refine.num_candidates[0]: must be a whole number, got [1].",
        ),
        ("refine.grids=[4,[8]]", "refine.grids[1]: must be a whole number, got [8]."),
    ],
)
def test_a_list_in_a_list_of_numbers_is_refused(train: Train, text, line):
    assert train("layer=spline", text, task=check_all).line == line


def test_no_list_of_numbers_is_needed():
    config = RunConfig()
    check_numbers(config)
    config.refine.points = [[1]]
    with pytest.raises(KanExpError, match=r"refine\.points"):
        check_numbers(config)
