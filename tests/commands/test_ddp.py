"""One network trained by two processes, as a user would have it trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.train import prepare
from tests.conftest import environment, read_metrics, run_command

OPTIONS = ["optimizer=adam", "layer=interpo", "dims=[2,3,1]", "points=500", "evaluations=3"]
# A batch that two cannot share evenly, and penalties of both kinds. Adam would magnify rounding:
# its first steps go by the sign of gradients, and many of a table's are nearly zero.
SHORT = ["steps=90", "batch_size=33", "log_every_n_steps=20", "penalty.l1_edges=0.01"]
SHORT += ["optimizer=sgd", "optimizer.lr=0.001"]


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)).partition(".tfevents")[0]
        for path in folder.rglob("*")
        if path.is_file() and ".hydra" not in path.parts
    }


def test_two_processes_end_with_what_one_ends_with(tmp_path):
    result = run_command(
        "train", *OPTIONS, *SHORT, "trainer=ddp", "hydra.run.dir=two", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    prepare([*OPTIONS, *SHORT], tmp_path / "one").run()
    two, one = (read_metrics(tmp_path / name) for name in ("two", "one"))
    assert (two["devices"], one["devices"]) == (2, 1)
    for name in ("test_rmse", "test_mae", "val_rmse"):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert (two["steps"], two["best_step"]) == (one["steps"], one["best_step"])
    curves = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("two", "one")]
    for name in ("train", "val"):
        several, alone = (dict(curve[name]) for curve in curves)
        assert several == pytest.approx(alone, rel=1e-4), name
    # The command writes two files that an experiment from Python does not.
    assert files(tmp_path / "two") == files(tmp_path / "one") | {"status.json", "train.log"}
    events = list((tmp_path / "two").glob("*tfevents*"))
    assert len(events) == 1
    log = (tmp_path / "two" / "train.log").read_text()
    assert log.count("trained by SGD in 2 processes") == 1
    assert result.stdout.count("test RMSE") == 1


def other_ranks(rank_0: int) -> list[int]:
    """Processes of ranks; there may be others beside them, such as a compiler."""
    children = Path(f"/proc/{rank_0}/task/{rank_0}/children").read_text().split()
    return [
        int(pid) for pid in children if b"kan_exp.rank" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_killed_rank_ends_the_run_with_one_line_and_it_can_go_on(tmp_path):
    options = [*OPTIONS, "trainer=ddp", "steps=1500", "logger=none", "checkpoint_seconds=0"]
    argv = [sys.executable, "-m", "kan_exp.train", *options, "hydra.run.dir=run"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, cwd=tmp_path, env=environment(), **pipes) as rank_0:
        checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
        while rank_0.poll() is None and not checkpoint.exists():
            time.sleep(0.05)
        (rank_1,) = other_ranks(rank_0.pid)
        os.kill(rank_1, signal.SIGKILL)
        _, said = rank_0.communicate()
    assert rank_0.returncode == 1
    assert said.startswith(f"Error: rank 1 (process {rank_1}, one of 2) was killed by SIGKILL")
    assert said.count("\n") == 1
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], f"Error: {status['reason']}\n") == ("failed", said)
    assert not (tmp_path / "run" / "metrics.json").exists()
    for arguments in (["resume=run"], [*options, "hydra.run.dir=whole"]):
        result = run_command("train", *arguments, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
    cut, whole = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("run", "whole")
    )
    assert cut.keys() == whole.keys()
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("options", "mended"),
    [
        (["optimizer=lm"], "set optimizer=adam"),
        (["optimizer=lbfgs"], "set optimizer=adam"),
        (["replicas=2"], "replicas=2 does not go with trainer=ddp"),
        (["compile=true"], "compile=false"),
        (["trainer.devices=1"], "set such a number, or trainer=auto"),
        (["trainer.devices=auto"], "set such a number, or trainer=auto"),
        (["batch_size=3", "trainer.devices=4"], "batch_size=3 has no row for each of 4"),
        (["+trainer.num_nodes=2"], "stays on one machine"),
        (["trainer=cpu", "+trainer.strategy=ddp"], "set trainer=ddp"),
        ([], "is for the command"),
    ],
    ids=" ".join,
)
def test_what_processes_cannot_share_is_refused(tmp_path, options, mended):
    with pytest.raises(KanExpError, match=mended):
        prepare(["optimizer=adam", "trainer=ddp", *options], tmp_path)
