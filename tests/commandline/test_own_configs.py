"""Faults of a user's own YAML files: which file, which line, what to change."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.commandline.own_configs import ConfigChoice, OwnConfigs
from kan_exp.config import TrainConfig, config_folder

HEAD = "# @package _global_\n"
FAULTS = {
    "dims: [2,1,1\nsteps: 3\n": "{}, line 2, column 6: expected ',' or ']', but got ':'",
    HEAD + "layer:\n\tnum_x: 3\n": "{}, line 3, column 1: a tab cannot indent: use blanks",
    HEAD + "steps: 3\nsteps: 4\n": "{}, line 3, column 1: found duplicate key steps",
    HEAD + "- a\n": "{}: must hold options as 'name: value', got a list.",
    HEAD + "just text\n": "{}: must hold options as 'name: value', got text.",
    HEAD + "a: &x [*x]\n": "{}: cannot be read: it refers to itself.",
    HEAD + "steps: ${gradient.\n": "{}: cannot be read: no viable alternative",
    HEAD
    + "steps: !!python/object/apply:os.system [ls]\n": "{}, line 2, column 8: could not determine",
    "": "{}: its first line must be '# @package _global_'.",
    "dims: [2,1,1]\n": "{}: its first line must be '# @package _global_'.",
    "dims: [2,1,1]\n" + HEAD: "{}: its first line must be '# @package _global_'. It has that line",
    "\ufeff"
    + HEAD
    + "steps: 3\n": "{}: its first line must be '# @package _global_'. It begins with",
    "# @package a b\n": "{}, line 1: '# @package a b' is no such header",
    HEAD + "step: 3\n": "{}, line 2: step: there is no such option. Did you mean 'steps'?",
    HEAD + "defaults: adam\n": "{}, line 2: defaults must be a list",
    HEAD + "defaults:\n  - 3\n": "{}, line 2: 3 is no entry of defaults",
    HEAD
    + "defaults:\n  - override /optimizr: adam\n": "{}, line 3: 'override /optimizr: adam': there "
    "is no group 'optimizr'. Did you mean 'optimizer'?",
    HEAD
    + "defaults:\n  - override /layer: splin\n": "{}, line 3: 'override /layer: splin': there is "
    "no such layer. Did you mean 'spline'? Choose from: chebyshev",
    HEAD
    + "defaults:\n  - layer: spline\n": "{}, line 3: 'layer: spline': write 'override /layer: ",
    HEAD + "defaults:\n  - override layer: spline\n": "{}, line 3: 'override layer: spline': write",
    HEAD + "defaults:\n  - x\n": "{}: its defaults lead back to itself",
}
GOOD = [
    HEAD,
    HEAD + "batch_size:\n",
    HEAD
    + "defaults:\n  - override /layer: spline\n  - override /hydra/launcher: joblib\nseed: 1\n",
    HEAD + "hydra:\n  run:\n    dir: x\n",
    "\n" + HEAD + "seed: 1\n",
]


def fault(folder: Path, *asked: str) -> str | None:
    options = [field.name for field in fields(TrainConfig)]
    known = OwnConfigs([folder], Path(config_folder()), options)
    return known.fault([ConfigChoice(*text.split("/")) for text in asked])


def write(folder: Path, text: str, name: str = "experiment/x") -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", FAULTS, ids=repr)
def test_a_fault_is_reported_with_its_file(tmp_path, text):
    path = write(tmp_path, text)
    assert fault(tmp_path, "experiment/x").startswith(FAULTS[text].format(path))


@pytest.mark.parametrize("text", GOOD, ids=repr)
def test_nothing_is_wrong_with_a_good_one(tmp_path, text):
    write(tmp_path, text)
    assert fault(tmp_path, "experiment/x", "layer/mlp") is None


def test_a_file_that_is_not_asked_for_is_not_blamed(tmp_path):
    write(tmp_path, "a: [")
    assert fault(tmp_path, "experiment/y") is None


def test_a_config_that_another_asks_for_is_looked_at(tmp_path):
    write(tmp_path, HEAD + "defaults:\n  - y\n")
    inner = write(tmp_path, "a: [", "experiment/y")
    assert fault(tmp_path, "experiment/x").startswith(f"{inner}, line 1")


def test_other_groups_need_the_line_only_if_they_set_more_than_their_own(tmp_path):
    write(tmp_path, "_target_: mine.Layer\nsize: 3\n", "layer/mine")
    assert fault(tmp_path, "layer/mine") is None
    path = write(tmp_path, "layer:\n  _target_: mine.Layer\nsteps: 3\n", "layer/mine")
    assert fault(tmp_path, "layer/mine") == f"{path}: its first line must be '{HEAD.strip()}'."


def test_what_is_no_text_file(tmp_path):
    (tmp_path / "experiment" / "x.yaml").mkdir(parents=True)
    assert "x.yaml: cannot be read: Is a directory." in fault(tmp_path, "experiment/x")
    (tmp_path / "experiment" / "y.yaml").write_bytes(HEAD.encode() + b"a: \xe9\n")
    assert "y.yaml, line 2: is not UTF-8 (byte 0xe9)" in fault(tmp_path, "experiment/y")
    (tmp_path / "experiment" / "z.yaml").symlink_to("nowhere")
    assert "z.yaml: cannot be read: No such file" in fault(tmp_path, "experiment/z")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    write(tmp_path, HEAD).chmod(0)
    assert "x.yaml: cannot be read: Permission denied." in fault(tmp_path, "experiment/x")


YAML = st.lists(
    st.sampled_from(
        [
            *("# @package _global_\n", "defaults:\n", "  - override /layer: spline\n", "a: 1\n"),
            *(
                "seed: [\n",
                "\t",
                "- x\n",
                "layer:\n",
                "  num_x: ${x}\n",
                "{",
                "}",
                "? \n",
                ": ",
                "'",
            ),
            *(
                "&a ",
                "*a ",
                "!!set ",
                "<<: ",
                "---\n",
                "...\n",
                "\x00",
                "é\n",
                "null\n",
                "  - null\n",
            ),
            *(
                "defaults: null\n",
                "  - [x]\n",
                "  - {a: b, c: d}\n",
                "1: 2\n",
                "  - /layer@x: mlp\n",
            ),
        ]
    ),
    max_size=6,
).map("".join)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(YAML)
def test_no_text_is_more_than_one_line_wrong(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    write(folder, text)
    found = fault(folder, "experiment/x")
    assert found is None or len(found.splitlines()) == 1
