"""Each command in an interpreter of its own; other tests fork theirs, as that of the help."""

from __future__ import annotations

import pytest

from tests.conftest import run_command, run_light


@pytest.mark.parametrize(
    "name", ["train", "prune", "evaluate", "predict", "explain", "report", "dashboard"]
)
def test_it_has_help(tmp_path, name):
    done = run_light(name, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m kan_exp.{name}" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["dims=[3,1]"], "target 'exp_sin_square' has 2 inputs"),
        ("prune", ["run=nowhere"], "nowhere: there is no such folder of a run."),
        ("evaluate", ["run=nowhere"], "nowhere"),
        ("predict", ["run=a", "input=nowhere.csv", "output=b.csv"], "nowhere.csv"),
        ("explain", ["run=nowhere"], "nowhere"),
        ("report", ["nowhere"], "nowhere"),
        ("dashboard", ["nowhere"], "nowhere: there is no such folder."),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path, name, arguments, message):
    done = run_command(name, *arguments, cwd=tmp_path, fresh=True)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []
