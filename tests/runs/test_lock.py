"""A folder is held by one process, for as long as that lives and no longer."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from filelock import FileLock

from kan_exp.commandline.explain import one_line
from kan_exp.runs import hold, holding, lock, release
from kan_exp.runs.lock import LockedError

HOLDER = """
import sys
from pathlib import Path
from kan_exp.commandline.explain import one_line
from kan_exp.runs import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
input()
"""


@contextmanager
def another(folder):
    """Another process that holds a folder, until it is killed."""
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


def test_a_process_may_ask_twice_and_a_copy_of_it_does_not_hold_it(tmp_path):
    hold(tmp_path)
    hold(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            hold(tmp_path)
        except LockedError:
            os.write(writing, b"refused")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"refused"
    assert (tmp_path / lock.NAME).exists()
    release(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_program_that_it_starts_does_not_hold_it(tmp_path):
    hold(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        release(tmp_path)
        hold(tmp_path)
        release(tmp_path)
        process.kill()


def test_a_file_that_its_holder_removes_meanwhile_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, its holder may give it back."""
    flock, removed = fcntl.flock, []

    def late(file: int, how: int) -> None:
        if not removed:
            removed.append(file)
            (tmp_path / lock.NAME).unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with holding(tmp_path, patience=60.0):
        monkeypatch.undo()
        assert removed
        with (tmp_path / lock.NAME).open() as file, pytest.raises(BlockingIOError):
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_note(tmp_path, monkeypatch, capsys, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with holding(tmp_path):
        with holding(tmp_path):
            pass
        assert capsys.readouterr().err.count("its file system has no locks") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_machine_holds_is_refused_with_its_name(tmp_path):
    with FileLock(tmp_path / lock.NAME):
        (tmp_path / lock.NAME).write_text('{"pid": 5, "host": "node17"}')
        with pytest.raises(LockedError, match="process 5 on node17 is still running: stop it"):
            hold(tmp_path)


def test_a_folder_of_another_user_is_one_line(tmp_path, monkeypatch):
    """As root this could be written: the system's refusal is imitated."""

    def refuse(path: str, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as raised:
        hold(tmp_path)
    monkeypatch.undo()
    line = one_line(raised.value)
    assert line.startswith(f"cannot write or read {tmp_path / lock.NAME}: Permission denied.")
    hold(tmp_path)
    release(tmp_path)
