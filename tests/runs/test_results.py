"""metrics.json is whole or absent."""

import json
import math
import os

import pytest

from kan_exp.runs.results import write_metrics


def test_metrics_replace_the_old_ones_and_leave_nothing_else(tmp_path):
    write_metrics(tmp_path, {"test_rmse": 2.0, "old": True})
    write_metrics(tmp_path, {"test_rmse": 0.1 + 0.2, "edge_r2": {"x → h1": 1.0}})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found == {"test_rmse": 0.1 + 0.2, "edge_r2": {"x → h1": 1.0}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_metrics_that_json_does_not_know_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(tmp_path, {"test_r2": value})
    assert not (tmp_path / "metrics.json").exists()


def test_metrics_are_whole_or_absent(tmp_path, monkeypatch):
    """A disk that fills up while they are written must not leave half a file that means done."""

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_metrics(tmp_path, {"test_rmse": 1.0})
    assert list(tmp_path.iterdir()) == []
