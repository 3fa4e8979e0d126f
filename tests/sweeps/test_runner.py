"""A sweep ends in order whatever its launcher and its jobs do."""

import json
import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from kan_exp.errors import KanExpError
from kan_exp.runs import Status, read_status, write_json, write_status
from kan_exp.runs.folders import SWEEP
from kan_exp.sweeps.jobs import Job, make_job_group, make_job_groups
from kan_exp.sweeps.outcomes import outcomes
from kan_exp.sweeps.runner import SweepRunner, finished_jobs, renumber
from kan_exp.sweeps.summary import read_summary, shortened

NOBODY = 2**22 + 1  # more than the system's largest process number
SECONDS = 4.0


def status(**fields) -> Status:
    usual = Status("running", None, [], "key", 0, NOBODY, socket.gethostname(), "2026-01-31")
    return replace(usual, **fields)


class FakeLauncher(Launcher):
    """Treats each job by a script, with one entry for each launch."""

    def __init__(self, **scripts):
        self.scripts = {name: list(script) for name, script in scripts.items()}
        self.launched = []

    def setup(self, *, hydra_context, task_function, config):
        raise NotImplementedError

    def launch(self, job_overrides, initial_job_idx):
        self.launched.append([" ".join(texts[:-2]) for texts in job_overrides])
        for texts in job_overrides:
            subdir = next(text for text in texts if text.startswith("hydra.sweep.subdir="))
            root = next(text for text in texts if text.startswith("hydra.sweep.dir="))
            folder = Path(root.partition("=")[2].strip("'"), subdir.partition("=")[2].strip("'"))
            name = texts[0].partition("=")[2]
            self.act(self.scripts[name].pop(0), folder, texts)
        return []

    def act(self, what, folder, texts):
        if what == "breaks":
            raise RuntimeError("a worker died")
        folder.mkdir(exist_ok=True)
        if what == "is killed and breaks":
            write_status(folder, status())
            raise RuntimeError("a worker died")
        if what == "is killed":
            write_status(folder, status())
        elif what == "diverges":
            write_status(folder, status(state="diverged", reason="no number", seconds=SECONDS))
        elif what == "is too large":
            write_status(folder, status(state="failed", reason="replicas=4 needs 9 GB", seconds=0))
        else:
            write_json(folder / "metrics.json", result(what, texts))
            write_status(folder, status(state="done", seconds=SECONDS))


def result(rmse, texts):
    options = dict(text.split("=") for text in texts if text.startswith(("seed=", "replicas=")))
    if "replicas" not in options:
        return {"test_rmse": rmse}
    first = int(options["seed"])
    each = [
        {"seed": seed, "test_rmse": rmse + seed, "val_rmse": 1.0}
        for seed in range(first, first + int(options["replicas"]))
    ]
    return {"test_rmse": rmse, "replicas": {"each": each, "diverged": [{"seed": 1, "step": 9}]}}


def job(number, name, seed=None, rest=None):
    setting = (f"name={name}",)
    overrides = setting if seed is None else (*setting, f"seed={seed}")
    return Job(number, overrides, f"{name}{seed}", " ".join(overrides), seed, setting, rest)


@pytest.fixture
def sweep(tmp_path, capsys):
    """Runs jobs by scripts; returns the launcher, the rows of the table, stdout and the error."""

    def run(jobs, known=(), kind=FakeLauncher, **scripts):
        launcher = kind(**scripts)
        hydra = {"launcher": {"_target_": "fake"}}
        config = OmegaConf.create({"sweep": {"metric": "test_rmse"}, "hydra": hydra})
        runner = SweepRunner(launcher, config, tmp_path, ["a=1,2"], known, len(jobs) + len(known))
        error = None
        try:
            runner.run(make_job_groups(jobs, tmp_path, most=64))
            runner.finish()
        except KanExpError as raised:
            error = str(raised)
        rows = json.loads((tmp_path / SWEEP).read_text())["jobs"]
        return launcher, rows, capsys.readouterr().out, error

    return run


def test_the_best_comes_first_and_failures_are_named_last(sweep, tmp_path):
    jobs = [job(0, "a"), job(1, "b"), job(2, "c")]
    _, rows, output, error = sweep(jobs, a=[0.5], b=["diverges"], c=[0.25])
    assert [row["state"] for row in rows] == ["done", "diverged", "done"]
    table = output.partition("\njob ")[2].splitlines()[1:4]
    assert [line.split()[0] for line in table] == ["2", "0", "1"]
    assert re.search(r"1/3 .* name=a .*0.5 .*4.0 s", output)
    assert error.splitlines()[:2] == ["1 of 3 jobs diverged:", "  job 1 (name=b): no number"]
    csv = (tmp_path / "sweep.csv").read_text().splitlines()
    assert csv[0].startswith("job,name,")
    assert csv[1].startswith("0,a,")


def test_a_killed_job_costs_no_other(sweep, tmp_path):
    jobs = [job(0, "a"), job(1, "b")]
    _, rows, _, error = sweep(jobs, a=["is killed"], b=[0.5])
    assert [row["state"] for row in rows] == ["failed", "done"]
    assert "killed" in error
    assert read_status(tmp_path / rows[0]["folder"]).state == "failed"


def test_a_launcher_that_breaks_launches_nothing_again(sweep, tmp_path):
    """As joblib and Ray do if a worker is killed; `sweep.resume` runs the rest."""
    jobs = [job(number, name) for number, name in enumerate("abc")]
    launcher, rows, output, error = sweep(jobs, a=[0.5], b=["is killed and breaks"], c=[0.75])
    assert launcher.launched == [["name=a", "name=b", "name=c"]]
    assert [row["state"] for row in rows] == ["done", "failed", "waiting"]
    assert error.startswith("1 of 3 jobs failed:")
    assert "job 1 (name=b): its process ended without a word" in error
    assert "To resume: -m sweep.resume=" in output
    known = finished_jobs(tmp_path, jobs)
    launcher, rows, _, error = sweep(jobs[1:], known, b=[0.25], c=[0.75])
    assert [row["test_rmse"] for row in rows] == [0.5, 0.25, 0.75]
    assert error is None


def test_a_launcher_that_breaks_without_a_failed_job_is_an_error(sweep):
    jobs = [job(0, "a"), job(1, "b")]
    _, rows, output, error = sweep(jobs, a=[0.5], b=["breaks"])
    assert [row["state"] for row in rows] == ["done", "waiting"]
    assert "To resume: -m sweep.resume=" in output
    assert error == "FakeLauncher ended early: a worker died"


def test_the_status_of_an_earlier_attempt_is_not_taken_for_the_new_one(sweep, tmp_path):
    (tmp_path / "1_name-b").mkdir()
    write_status(tmp_path / "1_name-b", status(state="diverged", pid=1, reason="then"))
    _, rows, output, _ = sweep([job(0, "a"), job(1, "b")], a=[0.5], b=["breaks"])
    assert [row["state"] for row in rows] == ["done", "waiting"]
    assert "diverged" not in output


def test_a_launcher_that_starts_no_job_is_an_error(sweep):
    *_, error = sweep([job(0, "a"), job(1, "b")], a=["breaks"], b=[0.5])
    assert error == "FakeLauncher cannot run name=a, name=b: a worker died"


def test_each_seed_of_a_stack_has_a_row_of_its_own(sweep):
    jobs = [job(number, "a", seed=number, rest="same") for number in range(3)]
    launcher, rows, output, error = sweep(jobs, a=[10.0])
    assert launcher.launched == [["name=a seed=0 replicas=3"]]
    assert [row["test_rmse"] for row in rows] == [10.0, None, 12.0]
    assert [row["replica"] for row in rows] == [0, 1, 2]
    assert sum(row["seconds"] for row in rows) == pytest.approx(SECONDS, abs=0.01)
    assert "median 11 (10 to 12), 1 of 3 diverged" in output
    assert [row["state"] for row in rows] == ["done", "diverged", "done"]
    assert error.startswith("1 of 3 jobs diverged:")
    assert "job 1 (name=a seed=1): the loss became NaN or infinite at step 9" in error


@pytest.mark.parametrize("trouble", ["is killed", "is too large"])
def test_a_stack_that_is_too_much_is_halved_until_it_fits(sweep, trouble):
    jobs = [job(number, "a", seed=number, rest="same") for number in (4, 5, 6)]
    launcher, rows, _, error = sweep(jobs, a=[trouble, 1.0, trouble, 2.0, 3.0])
    assert launcher.launched == [
        ["name=a seed=4 replicas=3"],
        ["name=a seed=4", "name=a seed=5 replicas=2"],
        ["name=a seed=5", "name=a seed=6"],
    ]
    assert [row["test_rmse"] for row in rows] == [1.0, 2.0, 3.0]
    assert error is None


def test_a_later_attempt_knows_what_is_done_by_its_key(sweep, tmp_path):
    first = [job(0, "a"), job(1, "b")]
    sweep(first, a=[0.5], b=["diverges"])
    overrides, groups = read_summary(tmp_path)
    assert overrides == ["a=1,2"]
    assert len(groups) == 2
    wanted = [job(0, "c"), job(1, "b"), job(2, "a")]  # its numbers have changed
    known = finished_jobs(tmp_path, wanted)
    assert [(one.job.number, one.metric("test_rmse")) for one in known] == [(2, 0.5)]
    launcher, rows, _, error = sweep(wanted[:2], known, b=[0.75], c=[1.0])
    assert launcher.launched == [["name=c", "name=b"]]
    assert [(row["job"], row["test_rmse"]) for row in rows] == [(0, 1.0), (1, 0.75), (2, 0.5)]
    assert error is None


def test_a_sweep_that_still_runs_is_refused(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("kan_exp.sweeps.runner.ENDING", 0.0)
    sweep([job(0, "a")], a=[0.5])
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    write_status(folder, status(pid=os.getpid(), started="2999-01-31"))
    with pytest.raises(KanExpError, match=rf"still runs \(process {os.getpid()}\)"):
        finished_jobs(tmp_path, [job(0, "a")])


@pytest.mark.parametrize("text", ["{", "[]", '{"overrides": [], "jobs": [{}]}'])
def test_a_damaged_summary_is_an_error(tmp_path, text):
    (tmp_path / SWEEP).write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own, or ours
        read_summary(tmp_path)


def test_a_summary_cannot_lead_out_of_its_folder(tmp_path):
    row = {"job": 0, "overrides": [], "key": "k", "seed": None, "folder": "../../etc"}
    (tmp_path / SWEEP).write_text(json.dumps({"overrides": [], "jobs": [row]}))
    (group,) = read_summary(tmp_path)[1]
    assert group.folder == tmp_path / "etc"


def test_a_sweep_that_may_run_on_another_machine_is_refused(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("kan_exp.sweeps.runner.ENDING", 0.0)
    sweep([job(0, "a")], a=[0.5])
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    write_status(folder, status(host="node17", pid=5))
    with pytest.raises(KanExpError, match=r"runs on node17, .*\(process 5 there\)") as raised:
        finished_jobs(tmp_path, [job(0, "a")])
    assert f"write interrupted for running in {folder / 'status.json'}" in str(raised.value)


def test_jobs_that_are_new_get_new_numbers(sweep, tmp_path):
    sweep([job(0, "a"), job(1, "b")], a=[0.5], b=["diverges"])
    (tmp_path / "7_of-an-attempt-before").mkdir()
    wanted = [job(0, "c"), job(1, "b"), job(2, "a"), job(3, "b")]
    assert [one.number for one in renumber(tmp_path, wanted)] == [8, 1, 0, 9]


def test_what_is_done_stays_known_when_it_is_not_wanted_any_more(sweep, tmp_path):
    sweep([job(0, "a"), job(1, "b")], a=[0.5], b=["diverges"])
    known = finished_jobs(tmp_path, [job(2, "c")])
    assert [(one.job.number, one.state, one.metrics["test_rmse"]) for one in known] == [
        (0, "done", 0.5)
    ]


def test_a_job_whose_result_cannot_be_read_is_not_finished(sweep, tmp_path):
    sweep([job(0, "a")], a=[0.5])
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (folder / "metrics.json").write_text('{"x')
    assert finished_jobs(tmp_path, [job(0, "a")]) == []


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["20260101", "20260102"], ["20260101", "20260102"]),
        (["0.0123456", "0.0123457", "-"], ["0.0123456", "0.0123457", "-"]),
        (["0.010004", "0.010001"], ["0.010004", "0.010001"]),
        (["0.0404387801", "mlp", "1e-9"], ["0.04044", "mlp", "1e-9"]),
        (["0.1234567", "0.1234567"], ["0.1235", "0.1235"]),
    ],
)
def test_values_are_as_short_as_their_differences_allow(values, shown):
    assert shortened(values) == shown


def test_runs_that_round_in_another_order_are_noted(sweep, tmp_path):
    class Kernels(FakeLauncher):
        def act(self, what, folder, texts):
            super().act(0.5, folder, texts)
            done = read_status(folder)
            write_status(folder, replace(done, versions={"kernel": what} if what else {}))

    jobs = [job(number, name) for number, name in enumerate("abc")]
    _, _, output, _ = sweep(jobs, kind=Kernels, a=["native"], b=["torch"], c=["native"])
    assert "compiled code in 2 of the runs and by torch in 1" in output
    _, _, output, _ = sweep(jobs, kind=Kernels, a=["native"], b=["native"], c=[None])
    assert "Note:" not in output


def test_diverged_and_failed_jobs_are_counted_apart(sweep):
    jobs = [job(0, "a"), job(1, "b"), job(2, "c")]
    *_, error = sweep(jobs, a=["diverges"], b=["is too large"], c=[0.5])
    assert error.startswith("1 of 3 jobs failed, 1 diverged:")


def test_a_diverged_job_of_an_earlier_version_is_recognized(tmp_path):
    group = make_job_group([job(0, "a")], tmp_path)
    group.folder.mkdir()
    write_status(group.folder, status(state="failed", reason="no number"))
    write_json(group.folder / "metrics.json", {"stopped": "diverged"})
    assert [one.state for one in outcomes(group)] == ["diverged"]
