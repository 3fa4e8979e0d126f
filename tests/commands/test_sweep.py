"""Many runs by one command."""

import csv
import json
import os
import shutil
import signal

import pytest

from kan_exp.runs import read_status
from tests.conftest import (
    read_metrics,
    run_command,
    run_folders,
    start_command,
    until_it_trains,
)

SMALL = ["layer=interpo", "optimizer=adam", "dims=[2,1,1]", "steps=40", "evaluations=2"]
SMALL += ["log_every_n_steps=20", "data.num_train=100", "data.num_test=100", "logger=none"]
SMALL += ["~callbacks.figures"]


def sweep_folder(cwd):
    (folder,) = (cwd / "outputs" / "sweeps").glob("*/*")
    return folder


def rows(folder):
    return json.loads((folder / "sweep.json").read_text())["jobs"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Stacked seeds, a setting that diverges, and one that is refused."""
    cwd = tmp_path_factory.mktemp("sweep")
    swept = ["optimizer.lr=0.02,1e12", "target=exp_sin_square,bessel", "seed=0,1"]
    result = run_command("train", "-m", *SMALL, *swept, cwd=cwd)
    return result, sweep_folder(cwd)


def test_every_job_has_a_line_and_the_failed_are_named_at_the_end(sweep):
    result, folder = sweep
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("8 jobs, seeds stacked: 4 runs; ")
    assert sum(line.partition("/8  ")[1] != "" for line in lines) == 4
    assert "Traceback" not in result.stderr
    head, *named, again = result.stderr.strip().splitlines()
    assert head == "Error: 4 of 8 jobs failed, 2 diverged:"
    assert len(named) == 6
    assert sum("set dims=[1,1,1]" in line for line in named) == 4
    assert sum("became NaN or infinite" in line for line in named) == 2
    assert again.endswith(f"-m sweep.resume={folder.relative_to(folder.parents[3])}")


def test_the_files_of_a_sweep_say_the_same(sweep):
    _, folder = sweep
    found = rows(folder)
    with (folder / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["state"] for row in found].count("done") == 2
    for row, line in zip(found, table, strict=True):
        assert line["seed"] == str(row["seed"])
        assert line["state"] == row["state"]
        assert (line["test_rmse"] != "") == (row["state"] == "done")
        assert read_status(folder / row["folder"]).state == row["state"]


def test_a_stacked_seed_is_the_run_of_that_seed(sweep, tmp_path):
    _, folder = sweep
    one = next(row for row in rows(folder) if row["state"] == "done" and row["seed"] == 1)
    assert run_command("train", *one["overrides"], cwd=tmp_path).returncode == 0
    alone = read_metrics(run_folders(tmp_path)[0])
    assert one["test_rmse"] == pytest.approx(alone["test_rmse"], rel=1e-4)
    assert one["stacked"] == 2


def test_going_on_without_the_flag_is_told(sweep, tmp_path):
    _, folder = sweep
    result = run_command("train", f"sweep.resume={folder}", *SMALL, "seed=0", cwd=tmp_path)
    assert result.returncode == 1
    assert "add -m" in result.stderr.splitlines()[-1]


def test_a_killed_job_and_an_interrupted_sweep_cost_nothing_else(tmp_path):
    """Kills a job outright, ends the sweep while another runs, and lets it go on."""
    long = ["steps=100000000", "checkpoint_seconds=0", "sweep.stack_seeds=false", "seed=0,1,2"]
    with start_command(
        "train", "-m", *SMALL, *long, "hydra.launcher.workers=1", cwd=tmp_path
    ) as process:
        try:
            os.kill(until_it_trains(tmp_path, 0, process), signal.SIGKILL)
            until_it_trains(tmp_path, 1, process)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate()
        finally:
            process.kill()
    folder = sweep_folder(tmp_path)
    assert [row["state"] for row in rows(folder)] == ["failed", "interrupted", "waiting"]
    assert "its process ended without a word" in errors
    assert f"sweep.resume={folder.relative_to(tmp_path)}" in output
    assert process.returncode == 1


def test_repetitions_of_a_run_go_on_as_such(tmp_path):
    base = [*SMALL, "dims=[2,2,1]", "target=product", "hydra.run.dir=base"]
    assert run_command("train", *base, cwd=tmp_path).returncode == 0
    swept = ["-m", "--from", "base", "seed=1,2", "hydra.sweep.dir=again"]
    assert run_command("train", *swept, cwd=tmp_path).returncode == 0
    before = rows(tmp_path / "again")
    (tmp_path / "base").rename(tmp_path / "moved")
    result = run_command("train", "-m", "sweep.resume=again", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "base") in result.stderr
    (tmp_path / "moved").rename(tmp_path / "base")
    shutil.rmtree(tmp_path / "again" / before[0]["folder"])
    result = run_command("train", "-m", "sweep.resume=again", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    after = rows(tmp_path / "again")
    assert [row["key"] for row in after] == [row["key"] for row in before]
    assert [row["test_rmse"] for row in after] == [row["test_rmse"] for row in before]
    more = run_command("train", "-m", "sweep.resume=again", "steps=60", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    both = rows(tmp_path / "again")
    assert both[:2] == after  # nothing that is done is lost, or comes under another's number
    assert [row["job"] for row in both] == [0, 1, 2, 3]
    assert [read_metrics(tmp_path / "again" / row["folder"])["steps"] for row in both] == [
        40, 40, 60, 60,
    ]  # fmt: skip
    result = run_command("train", *swept, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "again holds a sweep already: set hydra.sweep.dir=..." in result.stderr
