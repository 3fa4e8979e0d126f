"""Whether the process of a run is alive."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kan_exp.runs import Status, StatusFile, is_running, read_status


@pytest.fixture(scope="module")
def sleeper():
    """A process that lives as long as the tests here."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def status(pid: int) -> Status:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Status("running", None, [], "0" * 16, None, pid, socket.gethostname(), now)


def test_a_process_that_runs_is_alive(sleeper):
    found = status(sleeper)
    assert is_running(found)
    assert not is_running(replace(found, state="done"))
    assert is_running(replace(found, host="elsewhere")), "it cannot be known from here"


def test_a_run_whose_process_has_ended_does_not_run():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert not is_running(status(gone.pid))


def test_a_zombie_does_not_run():
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as dead:
        assert dead.stdout is not None
        dead.stdout.read()  # it is closed by its end
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(status(dead.pid))


def test_a_process_that_has_the_number_of_an_older_one_is_not_the_run(sleeper):
    earlier = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    assert not is_running(replace(status(sleeper), started=earlier))


def test_versions_are_there_from_the_first_moment(tmp_path):
    with StatusFile(tmp_path, ["seed=1"], "0" * 16, None, str):
        found = read_status(tmp_path)
        assert found is not None
        assert found.state == "running"
        assert {"python", "torch", "lightning", "hydra-core", "numpy", "kan_exp"} <= set(
            found.versions
        )
