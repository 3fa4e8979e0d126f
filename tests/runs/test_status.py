"""Who is at a run, as others find out."""

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
    assert is_running(replace(found, host="elsewhere")), "nobody can tell from here"


def test_a_process_that_is_gone_is_at_no_run():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert not is_running(status(gone.pid))


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="only Linux tells")  # noqa: PTH110
def test_a_process_that_nobody_has_taken_note_of_is_gone_as_well():
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as dead:
        assert dead.stdout is not None
        dead.stdout.read()  # it is closed by its end
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(status(dead.pid))


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="only Linux tells")  # noqa: PTH110
def test_a_number_that_another_process_has_by_now_is_not_the_run(sleeper):
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
