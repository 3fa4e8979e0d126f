"""How folders of runs are called."""

from __future__ import annotations

import pytest

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
