"""A report folds what is one setting, by the definition that sweeps go by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kan_exp.reporting.grouping import OF_SEEDS, group_records, varying_choices
from kan_exp.runs.records import Record, read_records


def write_run(folder, *typed, seed=0, setting="s", points="p", **choices):
    folder.mkdir(parents=True)
    status = {"state": "done", "overrides": [*typed, f"seed={seed}"], "setting": setting}
    (folder / "status.json").write_text(json.dumps({**status, "key": f"{setting}{seed}"}))
    metrics = {"test_rmse": 0.5, "test_points": points, "choices": {"seed": seed, **choices}}
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize(
    "typed",
    [
        "checkpoint_seconds=9",
        "threads=4",
        "logger=none",
        "callbacks=pruning",
        "callbacks.figures.moments=3",
        "search=learning_rate",
        "hydra/launcher=joblib",
        "experiment=mine",  # the same by another name, as the equal digests say
    ],
)
def test_options_that_decide_nothing_make_no_setting(tmp_path, typed):
    write_run(tmp_path / "a", typed, seed=0, layer="mlp")
    write_run(tmp_path / "b", seed=1, layer="mlp")
    write_run(tmp_path / "c", seed=1, layer="mlp", setting="t", steps=2)
    records = read_records([tmp_path]).records
    keys = varying_choices(records)
    (part,), unassigned = group_records(records, keys)
    assert sorted(map(len, part.settings.values())) == [1, 2]
    assert not unassigned


def test_a_callback_that_acts_makes_a_setting(tmp_path):
    write_run(tmp_path / "a", "+callbacks.stop._target_=mine.Stop", seed=0)
    write_run(tmp_path / "b", seed=1, setting="t")
    assert varying_choices(read_records([tmp_path]).records) == ["callbacks.stop._target_"]


def of_seeds(layer, seeds, points=None):
    choices = {"layer": layer, "data.seed": "${seed}"}
    records = [
        Record(Path(), "done", choices, (), True, seed, test_points=f"p{seed}") for seed in seeds
    ]
    return [replace(record, test_points=points) if points else record for record in records]


def test_seeds_that_have_data_of_their_own_are_folded_and_compared(tmp_path):
    records = [*of_seeds("a", [0, 1, 2]), *of_seeds("b", [1, 2, 3])]
    (part,), _ = group_records(records, ["layer"])
    assert part.test_points == OF_SEEDS
    assert {name: len(records) for name, records in part.settings.items()} == {("a",): 3, ("b",): 3}


def test_seeds_are_not_compared_with_those_of_other_data():
    fixed = [Record(Path(), "done", {"layer": "c"}, (), True, 0, test_points="p0")]
    changed = [replace(one, test_points=f"q{one.seed}") for one in of_seeds("b", [0, 1])]
    parts, _ = group_records([*of_seeds("a", [0, 1]), *changed, *fixed], ["layer"])
    assert {part.test_points: part.constants["layer"] for part in parts} == {
        OF_SEEDS: "a",
        f"{OF_SEEDS}, 2": "b",
        "p0": "c",
    }


def test_what_follows_the_seed_may_leave_the_test_points_alone():
    records = [
        Record(Path(), "done", {"steps": steps}, (), True, seed, test_points="p")
        for steps in ("${seed}", "9")
        for seed in (0, 1)
    ]
    (part,), _ = group_records(records, ["steps"])
    assert part.test_points == "p"
    assert [*map(len, part.settings.values())] == [2, 2]
