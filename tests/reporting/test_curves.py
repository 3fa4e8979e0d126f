"""Learning curves of several seeds, folded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kan_exp.reporting.curves import band, read_curves
from kan_exp.runs.records import Record


def record(folder: Path, history, replica=None) -> Record:
    folder.mkdir(exist_ok=True)
    text = history if isinstance(history, str) else json.dumps(history)
    (folder / "history.json").write_text(text)
    return Record(folder, "done", replica=replica)


def test_a_seed_that_stopped_goes_on_with_its_last_value():
    curves = [[(10, 8.0), (20, 4.0), (30, 2.0)], [(10, 6.0), (20, 5.0)], [(5, 9.0), (30, 1.0)]]
    found = band("a", curves)
    assert found.steps.tolist() == [10, 20, 30]
    values = np.array([[8, 4, 2], [6, 5, 5], [9, 9, 1]])
    np.testing.assert_allclose(found.quartiles, np.percentile(values, [25, 50, 75], axis=0))
    assert found.seeds == 3
    assert band("a", []) is None


@pytest.mark.parametrize(
    ("history", "curve"),
    [
        ({"train": [[1, 9]], "val": [[1, 0.5], [2, 0.25]]}, [(1, 0.5), (2, 0.25)]),
        ({"train": [[1, 9], [2, 8]], "val": [[2, 0.5]]}, [(1, 9), (2, 8)]),
        ({"train": [], "val": [[2, 0.5]]}, [(2, 0.5)]),
        ({"val": [[2, 0.5], [1, None], [1, 0.7]]}, [(1, 0.7), (2, 0.5)]),
    ],
)
def test_validation_is_read_and_training_where_there_is_too_little(tmp_path, history, curve):
    assert read_curves([record(tmp_path / "a", history)]) == [curve]


@pytest.mark.parametrize("history", ["", "{", "[1]", {}, {"val": [3]}, {"val": {"a": 1}}])
def test_a_damaged_history_is_left_out(tmp_path, history):
    good = record(tmp_path / "good", {"val": [[1, 1.0], [2, 0.5]]})
    assert len(read_curves([record(tmp_path / "bad", history), good])) == 1
    assert read_curves([Record(tmp_path / "nowhere", "done")]) == []


def test_each_seed_of_a_stack_has_its_own_curve(tmp_path):
    stacked = {"val": [[1, [3.0, 4.0]], [2, [1.0, None]], [3, [0.5, 2.0]]]}
    history = {"val": [[1, 99.0]], "replicas": stacked}
    seeds = [record(tmp_path / "a", history, replica=k) for k in range(3)]
    assert read_curves(seeds) == [[(1, 3.0), (2, 1.0), (3, 0.5)], [(1, 4.0), (3, 2.0)]]
