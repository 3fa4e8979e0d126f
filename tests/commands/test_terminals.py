"""Terminals that cannot show what is message, or go away, cost no result."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp import terminal
from kan_exp.terminal import Outlet, fault_of_stdout, steady_streams
from tests.conftest import environment, start_command

OPTIONS = ["optimizer=adam", "layer=interpo", "layer.num_x=5", "dims=[2,1,1]", "steps=20"]
OPTIONS += ["points=50", "data.num_val=20", "data.num_test=20", "target=formula"]
OPTIONS += ["target.formula=sin(a)*b", "logger=csv"]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(
    name: str, *arguments: str, cwd: Path, **changes: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", f"kan_exp.{name}", *arguments],
        cwd=cwd,
        env=environment() | changes,
        capture_output=True,
        check=False,
    )


def test_names_are_read_and_kept_in_a_locale_that_has_only_ascii(tmp_path):
    conf = tmp_path / "données" / "experiment"
    conf.mkdir(parents=True)
    (conf / "größe.yaml").write_text("# @package _global_\nseed: 3\n", encoding="utf-8")
    arguments = ["--config-dir", "données", "experiment=größe", *OPTIONS, "hydra.run.dir=läuft"]
    result = run("train", *arguments, cwd=tmp_path, **C_LOCALE)
    assert (result.returncode, result.stderr) == (0, b"")
    message = result.stdout.decode("ascii")  # the terminal's own encoding
    assert "test R2 " in message
    assert "l\\xe4uft/figures" in message
    log = (tmp_path / "läuft" / "train.log").read_text(encoding="utf-8")
    assert "test R²" in log
    assert "läuft/figures" in log


def test_a_reader_that_leaves_ends_no_training(tmp_path):
    with start_command("train", *OPTIONS, "hydra.run.dir=run", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.fixture
def streams(monkeypatch):
    """The standard streams as a program finds them, to be replaced."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    return monkeypatch


def printed(streams, encoding: str, text: str) -> bytes:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as end:
        with open(writing, "w", encoding=encoding, errors="strict") as stream:  # noqa: PTH123
            streams.setattr(sys, "stdout", stream)
            steady_streams()
            sys.stdout.write(text)
            assert fault_of_stdout() is None
        return end.read()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "R² → 产 é"),
        ("ascii", "R2 -> \\u4ea7 \\xe9"),
        ("latin-1", "R² -> \\u4ea7 é"),
        ("cp1252", "R² -> \\u4ea7 é"),
    ],
)
def test_what_an_encoding_lacks_has_a_stand_in(streams, encoding, shown):
    assert printed(streams, encoding, "R² → 产 é") == shown.encode(encoding)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.text(), st.sampled_from(["ascii", "cp1252", "latin-1", "cp437", "shift_jis", "koi8-r"]))
def test_any_text_can_be_shown(text, encoding):
    steady = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=terminal.STAND_INS)
    steady.write(text)
    steady.flush()


def test_names_that_are_no_text_keep_their_bytes(streams):
    name = os.fsdecode(b"caf\xe9")
    assert printed(streams, "utf-8", name) == b"caf\xe9"


def test_a_name_that_is_no_text_is_refused_before_the_training(train):
    line = train("data.path=caf\udce9.csv").line
    assert line == "'data.path=caf\\udce9.csv' is not UTF-8: rename the file or folder, or link it."


def test_a_full_disk_is_remembered_and_a_closed_pipe_is_not(streams):
    with Outlet("/dev/full", "wb") as full:
        assert full.write(b"abc") == 3
        assert full.fault is not None
    reading, writing = os.pipe()
    os.close(reading)
    with Outlet(writing, "wb") as closed:
        assert closed.write(b"abc") == 3
        assert closed.fault is None


def test_streams_that_are_closed_swallow_what_is_said(tmp_path):
    code = "import sys; from kan_exp.terminal import steady_streams as s; s(); print('x'); "
    code += "print('y', file=sys.stderr); open('file', 'w').write('z'); print('w', flush=True)"
    command = f'"{sys.executable}" -c "{code}" <&- >&- 2>&-'
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "z"
