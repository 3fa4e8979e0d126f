"""Files, folders and columns whose names mean something to Hydra or OmegaConf."""

from __future__ import annotations

import pytest

from kan_exp.quoting import quoted
from kan_exp.train import prepare

NAMES = ["a${b}c", "${", "a,b=c", "???", "a'b", 'a"b', "{a: 1}", "\\${x}", "null", "a\nb#%s"]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_and_its_column_may_have_any_name(name, tmp_path):
    path = tmp_path / f"{name}.csv"
    path.write_text("a;y\n" + "".join(f"{k};{k * k}\n" for k in range(40)), encoding="utf-8")
    options = ["data=table", f"data.path={quoted(str(path))}", "data.target=y", "dims=[1,1]"]
    options += ["data.separator=';'", "logger=none", "~callbacks.figures", "layer=spline"]
    experiment = prepare(options, tmp_path / "run")
    assert experiment.data.features == ("a",)
    if (
        name.isprintable() and '"' not in name and name != "???"
    ):  # which OmegaConf has no escape for
        path.write_text(path.read_text(encoding="utf-8").replace("y", name, 1), encoding="utf-8")
        options[2] = f"data.target={quoted(name)}"
        assert prepare(options, tmp_path / "run").data.target_name == name
