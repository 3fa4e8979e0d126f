"""Each run and seed in a folder is one record, with its outcome."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from kan_exp.errors import KanExpError
from kan_exp.runs import StatusFile, write_status
from kan_exp.runs.lenient_json import parse_overrides
from kan_exp.runs.records import read_records
from tests.reporting.conftest import write_run


def test_a_record_has_the_state_of_its_run(tmp_path):
    write_run(tmp_path / "a" / "done", 0.5, seed=3)
    write_run(tmp_path / "a" / "failed", state="failed", reason="out of memory")
    write_run(tmp_path / "a" / "killed", state="running")
    write_run(tmp_path / "b" / "stopped", 0.5, state="interrupted", more={"stopped": "interrupted"})
    write_run(tmp_path / "b" / "lost", 9.0, state="failed", more={"stopped": "diverged"})
    found = read_records([tmp_path])
    assert {record.folder.name: record.state for record in found.records} == {
        "done": "done",
        "failed": "failed",
        "killed": "unfinished",
        "stopped": "interrupted",
        "lost": "diverged",
    }
    by_name = {record.folder.name: record for record in found.records}
    assert by_name["failed"].reason == "out of memory"
    assert by_name["done"].reason is None
    assert by_name["done"].metrics["test_rmse"] == 0.5
    assert (by_name["done"].seed, by_name["done"].seconds) == (3, 2.0)
    assert by_name["failed"].choices == {"layer": "mlp"}


def test_a_run_that_was_killed_is_distinguished_from_one_that_runs(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    expected = {"live": "still running", "dead": "its process is gone: it was killed", "odd": None}
    for name, pid in {"live": os.getpid(), "dead": ended.pid, "odd": "x"}.items():
        (tmp_path / name).mkdir()
        with StatusFile(tmp_path / name, [], name, None, str) as status:
            pass
        write_status(tmp_path / name, replace(status.status, pid=pid))
    found = read_records([tmp_path]).records
    assert {record.folder.name: record.reason for record in found} == expected
    assert {record.state for record in found} == {"unfinished"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\xff", '"text"'])
def test_a_damaged_file_is_named_and_its_run_is_counted(tmp_path, text):
    run = write_run(tmp_path / "run", 0.5)
    (run / "metrics.json").write_bytes(text.encode("latin-1"))
    found = read_records([tmp_path])
    assert [record.state for record in found.records] == ["unreadable"]
    assert len(found.unreadable) == 1
    assert str(run / "metrics.json") in found.unreadable[0]


def test_odd_values_are_left_and_the_rest_is_taken(tmp_path):
    odd = {"test_rmse": float("nan"), "test_r2": None, "edge_r2": {"a": 1}, "device": 3, "x": True}
    odd |= {"train_seconds": "long", "versions": [], "test_points": [7], "replicas": "no"}
    write_run(tmp_path / "run", 0.5, more=odd)
    (record,) = read_records([tmp_path]).records
    assert dict(record.metrics) == {"parameters": 50, "device": 3}
    assert (record.seconds, record.test_points, record.state) == (None, None, "done")


def stack(each, **entries):
    choices = {"layer": "mlp", "seed": 5, "replicas": len(each)}
    return {"choices": choices, "replicas": {"count": len(each), "each": each, **entries}}


def test_each_seed_of_a_stack_is_a_record_of_its_own(tmp_path):
    each = [{"seed": 5 + k, "test_rmse": 0.1 * k, "val_rmse": 0.2} for k in range(4)]
    write_run(tmp_path / "stack", 0.1, seed=5, more=stack(each, diverged=[{"seed": 6, "step": 40}]))
    records = read_records([tmp_path]).records
    assert [record.seed for record in records] == [5, 6, 7, 8]
    assert [record.state for record in records] == ["done", "diverged", "done", "done"]
    assert records[1].reason == "the loss became NaN or infinite at step 40."
    assert [record.metrics["test_rmse"] for record in records] == [0.1 * k for k in range(4)]
    assert [(record.seconds, record.shared_by) for record in records] == [(0.5, 4)] * 4
    # A score of the network that was kept is no seed's own.
    assert all("test_r2" not in record.metrics for record in records)
    assert all(record.metrics["parameters"] == 50 for record in records)


def test_a_stack_that_failed_is_as_many_failures(tmp_path):
    write_run(tmp_path / "stack", state="failed", seed=2, typed={"replicas": 3})
    records = read_records([tmp_path]).records
    assert [(record.seed, record.state) for record in records] == [(k, "failed") for k in (2, 3, 4)]


def test_a_run_counts_once(tmp_path):
    run = write_run(tmp_path / "x" / "one", 0.5)
    found = read_records([tmp_path, tmp_path / "x", run])
    assert len(found.records) == 1
    assert found.repeated == 0


def test_a_run_that_was_repeated_counts_once_with_its_result(tmp_path):
    early, late = {"started": "2026-01-01", "key": "k"}, {"started": "2026-01-02", "key": "k"}
    write_run(tmp_path / "a", 0.5, **early)
    write_run(tmp_path / "b", state="failed", **late)
    write_run(tmp_path / "other_seed", 0.7, **early, seed=1)
    found = read_records([tmp_path])
    assert [record.folder.name for record in found.records] == ["a", "other_seed"]
    assert found.repeated == 1
    write_run(tmp_path / "c", 0.5, **late)
    assert [r.folder.name for r in read_records([tmp_path]).records] == ["c", "other_seed"]
    # The same configuration on other data is another run.
    write_run(tmp_path / "d", 0.5, **late, more={"test_points": "other"})
    assert len(read_records([tmp_path]).records) == 3


def test_jobs_that_left_no_folder_are_counted(tmp_path):
    write_run(tmp_path / "0_layer-mlp", 0.5)
    jobs = [
        {"job": 0, "folder": "0_layer-mlp", "state": "done", "overrides": ["layer=mlp"]},
        {"job": 1, "folder": None, "state": "failed", "reason": "killed", "overrides": ["seed=4"]},
        {"job": 2, "folder": "2_x", "state": None, "overrides": ["layer=spline"]},
    ]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    records = read_records([tmp_path]).records
    assert sorted((record.state, record.seed) for record in records if record.state != "done") == [
        ("failed", 4),
        ("unfinished", None),
    ]
    assert len(records) == 3


def test_a_folder_without_status_and_result_is_listed(tmp_path):
    (tmp_path / "old" / ".hydra").mkdir(parents=True)
    write_run(tmp_path / "run", 0.5)
    found = read_records([tmp_path])
    assert [path.name for path in found.silent] == ["old"]
    assert len(found.records) == 1


def test_what_lies_inside_a_run_is_no_run(tmp_path):
    run = write_run(tmp_path / "run", 0.5)
    write_run(run / "checkpoints" / "copy", 0.5)
    assert len(read_records([tmp_path]).records) == 1


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(KanExpError, match="nope: there is no such folder of runs"):
        read_records([tmp_path / "nope"])
    with pytest.raises(KanExpError, match="no run there"):
        read_records([tmp_path])


def test_overrides_are_read_without_hydra():
    typed = ["layer=mlp", "+a.b=[2,5,1]", "x=1e-3", "y=null", "z='a=b'", "hydra.run.dir=x"]
    typed += ["logger=none", "callbacks.a=1", "~scheduler", "seed=7"]
    assert parse_overrides(typed) == {
        "layer": "mlp",
        "a.b": [2, 5, 1],
        "x": 0.001,
        "y": None,
        "z": "a=b",
        "seed": 7,
    }


def test_a_seed_counts_once_whether_stacked_or_by_itself(tmp_path):
    for name, replicas, seed in (("stack", 3, 0), ("more", 2, 2), ("alone", 1, 1), ("other", 1, 7)):
        each = [{"seed": seed + k, "test_rmse": 0.5} for k in range(replicas)]
        more = {"choices": {"layer": "mlp", "seed": seed, "replicas": replicas}}
        if replicas > 1:
            more["replicas"] = {"count": replicas, "each": each}
        run = write_run(tmp_path / name, 0.5, more=more)
        status = json.loads((run / "status.json").read_text())
        status |= {"key": name, "setting": "same"}
        (run / "status.json").write_text(json.dumps(status))
    found = read_records([tmp_path])
    assert sorted(record.seed for record in found.records) == [0, 1, 2, 3, 7]
    assert found.repeated == 2
