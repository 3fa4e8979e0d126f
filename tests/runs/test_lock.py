"""A folder is held by one process, for as long as that lives and no longer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from kan_exp.runs import hold, holding, lock, release
from kan_exp.runs.lock import LockedError

HOLDER = """
import sys
from pathlib import Path
from kan_exp.runs import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
input()
"""


@contextmanager
def another(folder):
    """Another process that holds a folder, until it is killed or told to end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(tmp_path):
    with another(tmp_path) as process:
        with pytest.raises(LockedError, match=f"process {process.pid} is still running") as refusal:
            hold(tmp_path)
        assert f"kill {process.pid}" in str(refusal.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with holding(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_who_waits_gets_it_when_the_other_ends(tmp_path):
    with another(tmp_path) as process:
        process.kill()  # and is not waited for
        hold(tmp_path, patience=60.0)
    release(tmp_path)


def test_a_process_may_ask_twice_and_its_copy_holds_it_on(tmp_path):
    hold(tmp_path)
    hold(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        os.close(lock._held.pop((os.getpid(), tmp_path.resolve())))  # as if it were killed
        with pytest.raises(LockedError):
            hold(tmp_path)
    finally:
        os.close(reading)
        os.close(writing)
        os.waitpid(child, 0)
    hold(tmp_path)
    release(tmp_path)


def test_a_program_that_it_starts_does_not_hold_it(tmp_path):
    hold(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        release(tmp_path)
        hold(tmp_path)
        release(tmp_path)
        process.kill()


def test_a_file_that_its_holder_removes_meanwhile_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, its holder may give it back."""
    flock, removed = lock.fcntl.flock, []

    def late(file: int, how: int) -> None:
        if not removed:
            removed.append(file)
            (tmp_path / lock.NAME).unlink()
        flock(file, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with holding(tmp_path):
        monkeypatch.undo()
        assert (tmp_path / lock.NAME).exists()
        with (tmp_path / lock.NAME).open() as file, pytest.raises(BlockingIOError):
            flock(file, lock.fcntl.LOCK_EX | lock.fcntl.LOCK_NB)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with holding(tmp_path):
        pass
    assert "its file system has no locks" in capsys.readouterr().err
