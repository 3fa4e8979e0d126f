"""A run that was killed goes on, and any run's folder is enough to run it again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from kan_exp.runs import read_status
from tests.conftest import COMMANDS, read_metrics, run_command, start, wait_until

OPTIONS = ["layer=interpo", "optimizer=adam", "dims=[2,1,1]", "steps=1000", "evaluations=5"]
OPTIONS += ["points=500", "log_every_n_steps=20", "checkpoint_seconds=0.05", "logger=csv"]


# Stops itself once it has a checkpoint, as if its next step took long.
STOPPING = f"""
import os, runpy, signal, sys
from kan_exp.training.callbacks import checkpoint
save = checkpoint.save

def save_and_stop(path, state):
    save(path, state)
    if path.name == "last.ckpt" and state["global_step"] > 0:  # the first may be of the start
        open("stops", "w").close()
        os.kill(os.getpid(), signal.SIGSTOP)

checkpoint.save = save_and_stop
sys.argv[1:] = {[*OPTIONS, "hydra.run.dir=cut"]!r}
runpy.run_module("kan_exp.train", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed in its training without warning, and its log up to then."""
    cwd = tmp_path_factory.mktemp("killed")
    with start("-c", STOPPING, cwd=cwd, server=COMMANDS) as process:
        wait_until(lambda: (cwd / "stops").exists() or None, process)
        too_early = run_command("train", "resume=cut", cwd=cwd)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (cwd / "cut" / "metrics.json").exists()
    return cwd, too_early


@pytest.fixture(scope="module")
def both(killed):
    """It has gone on, and was run again as a whole."""
    cwd, _ = killed
    resumed = run_command("train", "resume=cut", cwd=cwd)
    assert resumed.returncode == 0, resumed.stderr
    again = run_command("train", "--from", "cut", "hydra.run.dir=again", cwd=cwd)
    assert again.returncode == 0, again.stderr
    return cwd, resumed, again


def curve(folder: Path) -> list[str]:
    """Steps of the logged curve."""
    return [line.rpartition(",")[2] for line in (folder / "metrics.csv").read_text().splitlines()]


def test_a_run_that_is_at_work_is_left_alone(killed):
    _, too_early = killed
    assert too_early.returncode == 1
    assert "is still running: stop it first" in too_early.stderr
    assert len(too_early.stderr.splitlines()) == 1


def test_it_ends_with_the_numbers_of_the_run_that_was_not_killed(both):
    cwd, _, _ = both
    cut, again = cwd / "cut", cwd / "again"
    found, expected = read_metrics(cut), read_metrics(again)
    for metrics in (found, expected):
        del metrics["train_seconds"]
    assert found == expected
    for name in ("best", "last"):
        states = [
            torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for folder in (cut, again)
        ]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    histories = [json.loads((folder / "history.json").read_text()) for folder in (cut, again)]
    assert histories[0] == histories[1]
    assert curve(cut) == curve(again)


def test_it_says_where_it_goes_on_and_keeps_one_log(both):
    cwd, resumed, _ = both
    assert resumed.stderr == ""
    (line,) = (line for line in resumed.stdout.splitlines() if line.startswith("resumes at step"))
    said = (cwd / "cut" / "train.log").read_text()
    assert line in said
    assert said.count("trained by Adam") == 2
    status = read_status(cwd / "cut")
    assert status is not None
    assert status.state == "done"
    assert status.overrides == OPTIONS


def test_it_is_not_run_once_more(both):
    cwd, _, _ = both
    refused = run_command("train", "resume=cut", cwd=cwd)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: cut: the run is done (steps)")
