"""One network trained by two processes, as a user would have it trained."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command

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


# Rank 1 is killed before its third chunk, once: rank 0 has written a state of later than the start.
KILLING = """
import math
import os
import signal
from pathlib import Path

from lightning.pytorch import Callback

from kan_exp.training.callbacks import checkpoint

checkpoint.MAX_SHARE = math.inf


class Killing(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_rank == 1 and trainer.global_step >= 40 and not Path("killed").exists():
            Path("killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
"""


def train(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("train", *arguments, "checkpoint_seconds=0", cwd=cwd)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """An uninterrupted run of two processes, in the folder `two`."""
    cwd = tmp_path_factory.mktemp("ddp")
    return train(cwd, *OPTIONS, *SHORT, "trainer=ddp", "hydra.run.dir=two"), cwd


def test_two_processes_have_the_result_of_one(two):
    result, cwd = two
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    prepare([*OPTIONS, *SHORT], cwd / "one").run()
    several, one = (read_metrics(cwd / name) for name in ("two", "one"))
    assert (several["devices"], one["devices"]) == (2, 1)
    for name in ("test_rmse", "test_mae", "val_rmse"):
        assert several[name] == pytest.approx(one[name], rel=1e-5), name
    assert (several["steps"], several["best_step"]) == (one["steps"], one["best_step"])
    curves = [json.loads((cwd / name / "history.json").read_text()) for name in ("two", "one")]
    for name in ("train", "val"):
        found, alone = (dict(curve[name]) for curve in curves)
        assert found == pytest.approx(alone, rel=1e-4), name
    # The command writes two files that an experiment from Python does not.
    assert files(cwd / "two") == files(cwd / "one") | {"status.json", "train.log"}
    events = list((cwd / "two").glob("*tfevents*"))
    assert len(events) == 1
    log = (cwd / "two" / "train.log").read_text()
    assert log.count("trained by SGD in 2 processes") == 1
    assert result.stdout.count("test RMSE") == 1


def test_a_killed_rank_ends_the_run_with_one_line_and_it_can_be_resumed(two):
    _, cwd = two
    (cwd / "killing.py").write_text(KILLING)
    options = [*OPTIONS, *SHORT, "trainer=ddp", "hydra.run.dir=run", "~callbacks.figures"]
    killed = train(cwd, *options, "+callbacks.killing._target_=killing.Killing")
    rank_1 = (cwd / "killed").read_text()
    errors = killed.stderr
    assert killed.returncode == 1
    assert errors.startswith(f"Error: rank 1 (process {rank_1}, one of 2) was killed by SIGKILL")
    assert errors.count("\n") == 1
    status = json.loads((cwd / "run" / "status.json").read_text())
    assert (status["state"], f"Error: {status['reason']}\n") == ("failed", errors)
    assert not (cwd / "run" / "metrics.json").exists()
    resumed = run_command("train", "resume=run", "modules=[killing]", cwd=cwd)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert "resumes at step" in resumed.stdout
    cut, whole = (
        torch.load(cwd / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("run", "two")
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
