"""The launcher that copies its process."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from socket import gethostname

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from kan_exp.errors import KanExpError
from kan_exp.quoting import in_quotes, option
from kan_exp.runs import Status, read_status, write_status
from kan_exp.sweeps import launcher
from kan_exp.sweeps.jobs import Job, JobGroup
from kan_exp.sweeps.progress import SweepProgress


class Patient(launcher.WarmLauncher):
    """Its jobs wait."""

    def _become_job(self, number, overrides, parent):
        time.sleep(60)
        os._exit(0)


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(launcher, "HEAVY", ())
    monkeypatch.setattr(launcher, "PATIENCE", 0.5)
    monkeypatch.setattr(launcher, "configure_log", lambda *_: None)
    made = Patient(workers=2)
    made.config = OmegaConf.create({"hydra": {"hydra_logging": None, "verbose": False}})
    return made


def test_no_job_outlives_a_launcher_that_breaks(patient, monkeypatch):
    fork, started = os.fork, []

    def fork_once():
        if started:
            raise BlockingIOError("no more processes")
        number = fork()
        started.append(number)
        return number

    monkeypatch.setattr(os, "fork", fork_once)
    with pytest.raises(BlockingIOError):
        patient.launch([["a=1"], ["a=2"]], 0)
    with pytest.raises(ChildProcessError):  # it is over, and taken note of
        os.waitpid(started[0], os.WNOHANG)


def test_a_job_that_was_killed_just_before_an_interrupt_has_failed(patient, tmp_path, monkeypatch):
    job = Job(0, ("a=1",), "key", "a=1")
    group = JobGroup((job,), tmp_path)
    progress = SweepProgress(Console(), 1, 0, "test_rmse")
    progress.follow([group])
    progress.look()  # so that it is not looked again for a while
    patient.watch = progress.poll

    def kill_and_interrupt(running, codes):
        (process,) = running
        started = datetime.now(UTC).isoformat(timespec="seconds")
        write_status(
            tmp_path, Status("running", None, [], "key", 0, process, gethostname(), started)
        )
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        monkeypatch.setattr(patient, "_collect", collect)
        raise KeyboardInterrupt

    collect = patient._collect
    monkeypatch.setattr(patient, "_collect", kill_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        patient.launch([["a=1"]], 0)
    assert read_status(tmp_path).state == "failed"


@pytest.mark.parametrize("name", ["0_seed-0", "a b", "it's"])
def test_a_job_that_fails_before_its_task_begins_has_a_status(tmp_path, capsys, name):
    made = launcher.WarmLauncher(workers=1)
    overrides = [
        "seed=0",
        option("hydra.sweep.dir", tmp_path),
        f"hydra.sweep.subdir={in_quotes(name)}",
    ]
    made._write_status(4, overrides, PermissionError(13, "Permission denied", "/x/train.log"))
    status = read_status(tmp_path / name)
    assert status is not None
    assert (status.state, status.job) == ("failed", 4)
    assert status.reason.startswith("cannot write or read /x/train.log: Permission denied.")
    assert capsys.readouterr().err == ""


def test_a_job_whose_folder_cannot_be_written_says_why(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    made = launcher.WarmLauncher(workers=1)
    overrides = [option("hydra.sweep.dir", tmp_path / "file"), "hydra.sweep.subdir='0'"]
    made._write_status(0, overrides, KanExpError("this and that."))
    assert capsys.readouterr().err == "Error: this and that.\n"
