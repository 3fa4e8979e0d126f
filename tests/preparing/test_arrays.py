"""The configuration of a training on rows in memory."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kan_exp.data.table import Table
from kan_exp.errors import KanExpError
from kan_exp.fitting.rows import make_table
from kan_exp.preparing.arrays import array_config
from kan_exp.preparing.defaults import with_defaults
from kan_exp.preparing.experiment import make_experiment


def table(rows: int, columns: int = 1) -> Table:
    generator = np.random.default_rng(0)
    x = pl.DataFrame({f"x{k}": generator.normal(size=rows) for k in range(columns)})
    return make_table(x, pl.DataFrame({"y": generator.normal(size=rows)}), None, "error", False)


def optimizer(given: Table, **options: object) -> str:
    config, _ = with_defaults(*array_config(options, given, 0))
    return config.optimizer.target.rpartition(".")[2]


def test_defaults_follow_the_rows_as_those_of_the_command_do():
    many = table(12_200)  # of which 15 in 85 are for validation
    assert optimizer(table(12_000 - 300)) == "LevenbergMarquardt"
    assert optimizer(many) == "Adam"
    assert optimizer(many, optimizer="lm") == "LevenbergMarquardt"
    assert optimizer(table(2500, 320)) == "AdamW"
    assert optimizer(table(500, 320)) == "LevenbergMarquardt"


def test_a_composition_is_not_changed_by_a_training():
    options = {"dims": ["auto", 2, "auto"], "layer": "spline"}
    for columns in (2, 3):
        config, context = array_config(options, table(30, columns), 0)
        assert make_experiment(config, None, context).choices["dims"] == [columns, 2, 1]


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"refine.steps": (2, 3)}, [2, 3]),
        ({"refine.steps": np.array([2, 3])}, [2, 3]),
        ({"penalty.roughness": np.float32(0.5), "layer": "spline"}, 0.5),
        ({"layers": [{"interpo": {"num_x": 9}}]}, 9),
    ],
)
def test_values_of_python_are_those_of_yaml(options, value):
    plain = {"smoothing.method": None, "dims": ["auto", "auto"]} | options
    config, _ = array_config(plain, table(30), 0)
    found = {
        "refine.steps": config.refine.steps,
        "penalty.roughness": config.penalty.roughness,
        "layers": config.each_layer[0].options.get("num_x"),
    }
    assert found[next(iter(options))] == value


def test_options_of_files_are_refused():
    for name in ("data.path", "logger", "callbacks.progress", "hydra.run.dir"):
        with pytest.raises(KanExpError, match="is an option of commands"):
            array_config({name: "x"}, table(30), 0)
