"""How folders of runs are called."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.runs import folder_name, run_name


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "12"),
        (["layer=mlp", "seed=0"], "12_layer-mlp_seed-0"),
        (["dims=[2,1,1]", "optimizer.lr=1e-3"], "12_dims-2-1-1_optimizer.lr-1e-3"),
        (["data.path=/home/a b/c.csv"], "12_data.path-home-a-b-c.csv"),
        (["+x=../..", "~y"], "12_+x-..-.._y"),
    ],
)
def test_names_say_what_was_asked_for(overrides, expected):
    assert folder_name("12", overrides) == expected


def test_no_name_is_too_long_for_a_file_system():
    assert len(folder_name("12", [f"target.formula={'x*' * 500}1"]).encode()) <= 255
    assert len(folder_name("12", ["data.path=" + "\u4ef7" * 500]).encode()) <= 255


def test_a_run_is_not_named_by_how_it_is_shown():
    shown = ["logger=none", "callbacks.figures.moments=9", "~callbacks.progress", "threads=2"]
    assert run_name("12", ["layer=mlp", *shown, "seed=3"]) == "12_layer-mlp_seed-3"


NAMES = st.text(st.characters(), max_size=300) | st.sampled_from(
    ["../..", "CON", "nul.csv", "a" * 400, "...", "---", "$%&|", "\0", "\ud800", "\n", "~", "-x"]
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(NAMES, max_size=4))
def test_any_overrides_make_a_folder_that_can_be_made(tmp_path_factory, words):
    root = tmp_path_factory.mktemp("names")
    name = folder_name("7", [f"data.target={word}" for word in words])
    assert name.startswith("7")
    assert len(name.encode()) <= 100
    assert re.fullmatch(r"[^\s/\\:*?\"'<>|$`;&()\[\]{}=#~!\x00-\x1f]+", name)
    assert not name.endswith(".")
    (root / name).mkdir()
    assert [path.name for path in root.iterdir()] == [name]


@pytest.mark.parametrize("name", ["con", "NUL", "com1", "aux.3", "Lpt9.x"])
def test_names_of_devices_are_not_taken(name):
    assert folder_name(name, []) == f"run_{name}"


def test_letters_of_all_languages_are_kept():
    assert folder_name("1", ["data.target=हिन्दी", "x=产量", "y=e\u0301"]) == (
        "1_data.target-हिन्दी_x-产量_y-é"
    )


def test_a_file_system_of_ascii_gets_ascii(monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    assert folder_name("1", ["data.target=产量", "seed=3"]) == "1_data.target_seed-3"
