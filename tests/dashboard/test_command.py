"""The command that starts TensorBoard: its options, its errors in one line, its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import pytest

from kan_exp.dashboard import main, read_arguments
from kan_exp.errors import KanExpError
from scripts.browser import PATIENCE, wait_for


@pytest.mark.parametrize(
    ("arguments", "folder", "host", "port"),
    [
        ([], "outputs", "localhost", None),
        (["a=b"], "a=b", "localhost", None),
        (["logdir=a=b", "port=0"], "a=b", "localhost", 0),
        (["port=7000", "outputs", "host=0.0.0.0"], "outputs", "0.0.0.0", 7000),
    ],
)
def test_a_folder_and_options_in_any_order(tmp_path, monkeypatch, arguments, folder, host, port):
    monkeypatch.chdir(tmp_path)
    for name in ("outputs", "a=b"):
        (tmp_path / name).mkdir()
    found, *rest = read_arguments(arguments)
    assert (str(found), *rest) == (folder, host, port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "outputs: there is no such folder yet: train something, or name another."),
        (["nowhere"], "nowhere: there is no such folder."),
        (["prot=1"], "prot: there is no such option. Did you mean 'port'? There are: logdir, "),
        (["--port", "1"], "--port: there is no such option. Did you mean 'port'?"),
        ([".", "port=70000"], "port must be a number from 0 to 65535, got '70000'."),
        ([".", "port=x"], "port must be a number from 0 to 65535, got 'x'."),
        ([".", ".."], "logdir is given twice: . and ..."),
    ],
)
def test_wrong_arguments_are_reported(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KanExpError) as error:
        read_arguments(arguments)
    assert str(error.value).startswith(message)


def test_help_names_every_option(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("FOLDER", "logdir", "port", "host", "outputs"))


@pytest.mark.slow
def test_it_prints_one_line_takes_no_torch_and_ends_on_ctrl_c(tmp_path):
    log, imports = tmp_path / "out", tmp_path / "err"
    command = [sys.executable, "-X", "importtime", "-m", "kan_exp.dashboard", ".", "port=0"]
    with log.open("w") as out, imports.open("w") as err:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=err)
    try:
        wait_for("address", lambda: "Ctrl-C" in log.read_text())
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
    assert re.fullmatch(
        r"TensorBoard on \.: http://localhost:\d+/ \(Ctrl-C ends it\)\n", log.read_text()
    )
    lines = imports.read_text().splitlines()
    assert all(line.startswith("import time:") for line in lines)
    assert not {line.split("|")[-1].strip() for line in lines} & {"torch", "hydra", "tensorflow"}


@pytest.mark.slow
def test_a_port_that_is_taken_is_reported(command, tmp_path):
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("dashboard", ".", f"port={port}")
    told = f"Error: port={port} is taken: set another, or leave it out for the next that is free.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
