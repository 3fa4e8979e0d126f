"""Paths of any name, from any folder: found, kept, and printed so that they can be pasted."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kan_exp import load
from kan_exp.dashboard import read_arguments as read_dashboard
from kan_exp.errors import KanExpError
from kan_exp.evaluate import own_test_points
from kan_exp.models.loading import read_checkpoint
from kan_exp.preparing.keys import run_key
from kan_exp.preparing.paths import absolute_arguments, found_from, use_absolute_paths
from kan_exp.quoting import read_path
from kan_exp.report import split_folders
from kan_exp.runs import Status, no_run, write_status
from kan_exp.sweeps.summary import resumed_arguments
from kan_exp.train import train as whole
from tests.conftest import read_metrics
from tests.runs.test_lock import another

ODD = "a b=c,[1] (x) 'q' \"d\" $HOME #!é"
TABLE = ["data=table", "data.target=y", "optimizer=adam", "layer=interpo", "layer.num_x=5"]
TABLE += ["dims=[2,1,1]", "steps=20", "log_every_n_steps=5", "logger=none", "evaluations=2"]


@pytest.fixture(autouse=True)
def as_it_was():
    """The number of threads is the command's to set."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write_table(path: Path, shift: float = 0.0) -> Path:
    numbers = random.Random(0)
    rows = [[numbers.random(), numbers.random()] for _ in range(60)]
    lines = [f"{a},{b},{a + b * b + shift}" for a, b in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["a,b,y", *lines, ""]))
    return path


def stored(folder: Path) -> str:
    return str(OmegaConf.load(folder / ".hydra" / "config.yaml").data.path)


def unfinished(folder: Path) -> None:
    """Makes a run one that was killed after its last checkpoint."""
    (folder / "metrics.json").unlink()
    about = json.loads((folder / "status.json").read_text()) | {"state": "running", "pid": 2**22}
    write_status(folder, Status(**about))


def test_a_run_goes_on_from_another_folder_and_with_data_that_were_moved(
    train, tmp_path, monkeypatch
):
    table = write_table(tmp_path / ODD / "t, (1).csv")
    monkeypatch.chdir(tmp_path / ODD)
    run = tmp_path / ODD / "cut"
    assert train(*TABLE, "data.path=t, (1).csv", "hydra.run.dir=cut", task=whole).code == 0
    assert stored(run) == str(table)
    expected = read_metrics(run)["test_rmse"]

    elsewhere = tmp_path / "else"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(own_test_points(run, {}, read_checkpoint(run)["kan_exp"], []).x) == 9
    unfinished(run)
    assert train(f"resume={run}", task=whole).code == 0
    assert read_metrics(run)["test_rmse"] == expected

    unfinished(run)
    moved = table.rename(elsewhere / "new.csv")
    assert f"{table}: no such file" in train(f"resume={run}", task=whole).line
    write_table(elsewhere / "other.csv", shift=1.0)
    answer = train(f"resume={run}", "data.path=other.csv", task=whole)
    assert "its training points have changed" in answer.line
    assert stored(run) == str(table)
    assert train(f"resume={run}", "data.path=new.csv", task=whole).code == 0
    assert stored(run) == str(moved)
    assert read_metrics(run)["test_rmse"] == expected
    assert "'seed=3' cannot be set" in train(f"resume={run}", "seed=3").line

    monkeypatch.chdir(tmp_path)
    assert train("--from", str(run)).cfg.data.path == str(moved)
    assert train("--from", str(run)).code == 0


def test_a_run_in_its_own_folder_finds_what_is_named_from_the_users(train, tmp_path, monkeypatch):
    table = write_table(tmp_path / "t.csv")
    options = [*TABLE, "data.path=t.csv", "hydra.run.dir=own", "hydra.job.chdir=true"]
    answer = train(*options, task=whole)
    assert answer.code == 0, answer.err
    assert stored(tmp_path / "own") == str(table)
    assert ["figures", f"{tmp_path / 'own' / 'figures'}"] in map(str.split, answer.out.splitlines())


def test_the_identity_of_a_run_does_not_depend_on_where_it_was_begun(train, tmp_path, monkeypatch):
    write_table(tmp_path / "data" / "t.csv")
    (tmp_path / "link").symlink_to("data")
    given = ["data/t.csv", "./data/../data/t.csv", "link/t.csv", str(tmp_path / "data" / "t.csv")]
    keys = set()
    for path in given:
        cfg = train(*TABLE, f"data.path={path}").cfg
        use_absolute_paths(cfg, tmp_path)
        keys.add(run_key(cfg))
    assert len(keys) == 1
    assert cfg.data.path == str(tmp_path / "data" / "t.csv")


def test_names_of_options_need_not_be_texts(tmp_path):
    (tmp_path / "t.csv").write_text("")
    cfg = OmegaConf.create({"pde": {True: "border", 2: {"path": "t.csv"}}})  # on: border
    assert use_absolute_paths(cfg, tmp_path)
    assert cfg.pde[2].path == str(tmp_path / "t.csv")


def test_a_sweep_goes_on_where_it_was_begun(tmp_path, monkeypatch):
    began, now = tmp_path / "began", tmp_path / "now"
    for folder in (began / "sweep", now):
        folder.mkdir(parents=True)
    write_table(now / "t.csv")
    content = {"overrides": ["data.path=x.csv", "seed=1,2"], "jobs": [], "cwd": str(began)}
    (began / "sweep" / "sweep.json").write_text(json.dumps(content))
    monkeypatch.chdir(now)
    found = resumed_arguments(["-m", "sweep.resume=../began/sweep", "layer=mlp", "data.path=t.csv"])
    assert Path.cwd() == began
    assert found == [
        "-m",
        "seed=1,2",
        f"sweep.resume={began / 'sweep'}",
        "layer=mlp",
        f"data.path={now / 't.csv'}",
    ]


def test_two_do_not_write_in_one_folder(train, tmp_path):
    for arguments in (["hydra.run.dir=x"], ["-m", "hydra.sweep.dir=x", "seed=1,2"]):
        with another(tmp_path / "x") as process:
            assert (
                f"x: process {process.pid} is still running" in train(*arguments, task=whole).line
            )
        assert [path.name for path in (tmp_path / "x").iterdir()] == [".lock"]
        assert train("seed=1,2", "hydra.run.dir=x").code == 1  # refused for another reason
    write_table(tmp_path / "t.csv")
    assert train(*TABLE, "data.path=t.csv", "hydra.run.dir=run", task=whole).code == 0
    unfinished(tmp_path / "run")
    before = (tmp_path / "run" / "status.json").read_text()
    with another(tmp_path / "run") as process:
        assert f"run: process {process.pid} is still" in train("resume=run", task=whole).line
    assert (tmp_path / "run" / "status.json").read_text() == before
    assert train("resume=run", task=whole).code == 0


def test_only_paths_are_made_absolute(tmp_path):
    (tmp_path / "mlp").mkdir()
    (tmp_path / "a b").mkdir()
    given = ["layer=mlp", "--config-dir", "mlp", "data.path=mlp,nothing", 'run="a b"', "--from=x"]
    assert absolute_arguments(given, tmp_path) == [
        "layer=mlp",
        "--config-dir",
        f"{tmp_path / 'mlp'}",
        f"data.path={tmp_path / 'mlp'},nothing",
        f'run="{tmp_path / "a b"}"',
        f"--from={tmp_path / 'x'}",
    ]


def test_a_run_that_is_repeated_elsewhere_is_told_with_its_own_files(tmp_path):
    there = write_table(tmp_path / ODD / "t, 1.csv")
    write_table(tmp_path / "t, 1.csv")  # another file of that name
    cfg = OmegaConf.create({"data": {"path": str(there)}, "seed": 1, "task": {"path": None}})
    for typed in ("data.path=t, 1.csv", 'data.path="t, 1.csv"'):
        given = [typed, "seed=1", "data.test_path=x", "task.path=null"]
        assert found_from(tmp_path / ODD, given, cfg) == given
        path, *rest = found_from(tmp_path, given, cfg)
        assert rest == given[1:]
        assert read_path(path.removeprefix("data.path=")) == str(there)


def test_a_folder_that_hydra_cannot_name_is_refused(train, tmp_path):
    assert "must not hold '${'" in train(r'hydra.run.dir="\${seed}"').line
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(tmp_path):
    """A folder with all kinds of characters in its name, as a run would leave it."""
    folder = tmp_path / ODD
    for inner in ("checkpoints", ".hydra", "figures"):
        (folder / inner).mkdir(parents=True)
    (folder / "metrics.json").write_text('{"stopped": "steps"}')
    (folder / "checkpoints" / "best.ckpt").touch()
    return folder


@pytest.mark.parametrize("spelled", [ODD, '"a b"', "a b", "'a b'"])
def test_report_and_dashboard_take_both_spellings(tmp_path, monkeypatch, spelled):
    monkeypatch.chdir(tmp_path)
    folder = "a b" if "a b" in spelled and spelled != ODD else ODD
    Path(folder).mkdir()
    assert split_folders([spelled]) == ([folder], [])
    assert read_dashboard([spelled])[0] == Path(folder)
    assert read_dashboard([f"logdir={spelled}"])[0] == Path(folder)


@pytest.mark.parametrize("inner", ["checkpoints/best.ckpt", "metrics.json", "figures", ".hydra"])
def test_what_lies_in_a_run_names_the_run(train, run, inner):
    wanted = f"is in the folder of a run: name the run's folder, {run}."
    assert train(f"resume={run / inner}").line.endswith(wanted)
    assert train("--from", str(run / inner)).line.endswith(wanted)
    with pytest.raises(KanExpError, match="is in the folder of a run"):
        load(run / inner)


def test_what_holds_runs_names_one(tmp_path):
    (tmp_path / "day" / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "sweep" / "0_a" / ".hydra").mkdir(parents=True)
    (tmp_path / "sweep" / "sweep.json").touch()
    (tmp_path / "a.csv").touch()
    (tmp_path / "empty").mkdir()
    assert f"name the folder of one, such as {tmp_path}/day/run." in no_run(tmp_path / "day")
    assert f"a job, such as {tmp_path}/sweep/0_a, or resume it with" in no_run(tmp_path / "sweep")
    assert "is a file" in no_run(tmp_path / "a.csv")
    assert "holds no run" in no_run(tmp_path / "empty")
    assert no_run(tmp_path / "dya").endswith(f"Did you mean {tmp_path}/day?")
