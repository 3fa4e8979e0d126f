"""A training that is cut off and goes on ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import csv
import errno
import functools
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kan_exp.errors import KanExpError
from kan_exp.preparing.stored_config import LAST
from kan_exp.train import prepare
from kan_exp.training.callbacks import RunCheckpoint
from kan_exp.training.callbacks import checkpoint as checkpoints
from kan_exp.training.experiment import Experiment
from tests.conftest import read_metrics

SMALL = ["points=200", "data.num_val=50", "data.num_test=50", "~callbacks.figures", "dims=[2,2,1]"]
ADAM = ["layer=interpo", "optimizer=adam", "batch_size=32", "steps=60", "log_every_n_steps=5"]
ADAM += ["evaluations=4"]
LM = ["optimizer=lm", "log_every_n_steps=2", "evaluations=6"]
STAGES = ["refine.num_candidates=[5,3,1]", "refine.steps=[6,8,6]"]
CASES = {
    "adam, mini-batches": (ADAM, 33),
    "adam, best long ago": (
        [*ADAM, "optimizer.lr=1", "scheduler=none", "steps=55", "evaluations=11"],
        33,
    ),
    "adamw, all points": ([*ADAM, "optimizer=adamw", "batch_size=null", "scheduler=onecycle"], 33),
    "sgd, penalties": ([*ADAM, "optimizer=sgd", "optimizer.lr=0.001", "penalty.l1_edges=0.01"], 33),
    "lbfgs": (["layer=spline", "optimizer=lbfgs", "steps=12", "evaluations=3"], 6),
    "replicas": ([*ADAM, "layer=mlp", "replicas=3"], 33),
    "adam, monotone": ([*ADAM, "monotone={x: 1}"], 33),
    "replicas, convex": ([*ADAM, "replicas=2", "convex={y: 1}"], 33),
    # In stage 2 of 3, three starts of the first five being left.
    "lm, refined": (
        [
            *LM,
            "layer=interpo",
            "layer.num_x=17",
            "refine.num_candidates=[5,3,1]",
            "refine.steps=[6,8,6]",
        ],
        10,
    ),
    # Whose validation error had risen since the stage before.
    "lm, overfits": (
        [
            *LM,
            "layer=interpo",
            "layer.num_x=33",
            "points=100",
            "target.noise=0.3",
            "refine.num_candidates=[3,1]",
            "refine.steps=[6]",
            "refine.jerk=0",
        ],
        10,
    ),
    "lm, first stage": ([*LM, "layer=spline", "layer.num_intervals=8", "refine.steps=[9]"], 4),
    "lm, no grid": ([*LM, "layer=mlp", "refine.num_candidates=[3,1]", "refine.steps=[6,6]"], 8),
    # Among the starts with hidden units.
    "lm, smoothing": (
        [
            *LM,
            "layer=spline",
            "smoothing.method=reml",
            "smoothing.steps=[4,6,6,3,6]",
            "smoothing.num_candidates=[3,2]",
        ],
        8,
    ),
    # With points drawn anew, on the way to the last problem.
    "lm, equation": (
        [
            *LM,
            "pde=burgers",
            "pde.continuation.nu=[0.05,0.01,0.0031830988618379067]",
            "dims=[auto,3,auto]",
            "multiply=[3]",
            "pde.points={interior: 60, edge: 10, drawn_anew: 0.5}",
            "refine.grids=[4,8]",
            "refine.num_candidates=[3,1]",
            "refine.steps=[3,4]",
        ],
        8,
    ),
    "lm, last stage": ([*LM, "layer=rbf", "refine.num_candidates=[3,1]", "refine.steps=[4,8]"], 8),
}


class Crash(Callback):
    """Breaks off the training after a step, as whatever a program does not expect."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step >= self.step:
            raise ZeroDivisionError


class CtrlC(Callback):
    """Interrupts before a step, in the middle of a chunk."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer, *_) -> None:
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Checkpoints however long they take beside so short a training."""
    monkeypatch.setattr(checkpoints, "MAX_SHARE", math.inf)


def make(options: list[str], folder: Path, *callbacks: Callback, resume: bool = False):
    options = ["logger=none", *SMALL, "checkpoint_seconds=0", *options]
    experiment = prepare(options, folder, resume=resume)
    experiment.trainer.callbacks.extend(callbacks)
    return experiment


def crashed(options: list[str], folder: Path, step: int) -> Experiment:
    """Breaks a training off after a step."""
    experiment = make(options, folder, Crash(step))
    with pytest.raises(ZeroDivisionError):
        experiment.run()
    return experiment


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run has found but for times: numbers, curves, and both checkpoints."""
    metrics = read_metrics(folder)
    del metrics["train_seconds"]
    files = [folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    best, last = (torch.load(file, weights_only=True) for file in files)
    del last["kept"]["seconds"]
    history = json.loads((folder / "history.json").read_text())
    return {"metrics": metrics, "history": history, "best": best, "last": last}


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Places where nested containers differ by as much as a bit."""
    if isinstance(left, torch.Tensor):
        same = isinstance(right, torch.Tensor) and left.dtype == right.dtype
        same = same and left.shape == right.shape
        return [] if same and left.allclose(right, 0, 0, equal_nan=True) else [where]
    if type(left) is not type(right):
        return [where]
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return [f"{where}: {left.keys() ^ right.keys()}"]
        return [d for key in left for d in differences(left[key], right[key], f"{where}/{key}")]
    if isinstance(left, list | tuple):
        if len(left) != len(right):
            return [f"{where}: {len(left)} and {len(right)}"]
        pairs = enumerate(zip(left, right, strict=True))
        return [d for at, pair in pairs for d in differences(*pair, f"{where}/{at}")]
    return [] if left == right or (left != left and right != right) else [where]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Gives the outcome of the training that is not cut off, which runs once for all tests."""

    @functools.cache
    def run(*options: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("whole")
        make([*options], folder).run()
        return outcome(folder)

    return run


@pytest.mark.parametrize(("options", "step"), CASES.values(), ids=CASES)
def test_it_ends_as_the_training_that_was_not_cut_off(tmp_path, whole, options, step):
    crashed(options, tmp_path / "cut", step)
    make(options, tmp_path / "cut", resume=True).run()
    assert differences(whole(*options), outcome(tmp_path / "cut")) == []


@pytest.mark.parametrize("late", [0, 1, 20], ids=["before", "just before", "after"])
def test_so_do_replicas_of_which_one_diverges(tmp_path, late):
    """Just before it does, what it was a step earlier is needed, to which it goes back."""
    options = [*ADAM, "replicas=3", "optimizer=sgd", "optimizer.lr=0.002", "log_every_n_steps=1"]

    def run(folder: Path, *callbacks: Callback):
        experiment = make(options, folder, *callbacks)
        with torch.no_grad():
            for part in experiment.module.stack.parameters():
                part[1] *= 5
        experiment.run()
        return experiment.module.diverged

    diverged = run(tmp_path / "whole")
    step = diverged[1]
    assert list(diverged) == [1]
    assert 4 < step < 30
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "cut", Crash({0: 3, 1: step, 20: step + 20}[late]))
    assert len(torch.load(tmp_path / "cut" / LAST, weights_only=True)["replicas"]["diverged"]) == (
        late == 20
    )
    make(options, tmp_path / "cut", resume=True).run()
    assert differences(outcome(tmp_path / "whole"), outcome(tmp_path / "cut")) == []


def test_ctrl_c_in_the_middle_of_a_chunk_changes_nothing_of_what_comes(tmp_path, whole):
    with pytest.raises(SystemExit) as caught:
        make(ADAM, tmp_path / "cut", CtrlC(33)).run()
    assert caught.value.code == 130
    assert read_metrics(tmp_path / "cut")["steps"] == 34
    make(ADAM, tmp_path / "cut", resume=True).run()
    assert differences(whole(*ADAM), outcome(tmp_path / "cut")) == []


def test_it_may_be_cut_off_again_and_again(tmp_path, whole):
    crashed(ADAM, tmp_path / "cut", 3)
    for step in (12, 13, 31, 60):
        with pytest.raises(ZeroDivisionError):
            make(ADAM, tmp_path / "cut", Crash(step), resume=True).run()
    make(ADAM, tmp_path / "cut", resume=True).run()
    assert differences(whole(*ADAM), outcome(tmp_path / "cut")) == []


LINE = ["optimizer=lm", "layer=linear", "dims=[1,1]", "target=formula", "target.formula=2*x-1"]


@pytest.mark.parametrize("options", [ADAM, LINE], ids=["all steps", "converged"])
def test_a_training_that_had_come_to_its_end_is_only_scored(tmp_path, whole, monkeypatch, options):
    with monkeypatch.context() as patch:
        patch.setattr("kan_exp.training.experiment.make_result", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(options, tmp_path / "cut").run()

    class Never(Callback):
        def on_train_batch_start(self, *_) -> None:
            raise AssertionError("a step was taken")

    make(options, tmp_path / "cut", Never(), resume=True).run()
    assert differences(whole(*options), outcome(tmp_path / "cut")) == []


def test_seconds_of_training_add_up(tmp_path):
    crashed(ADAM, tmp_path, 33)
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert state["kept"]["seconds"] > 0
    state["kept"]["seconds"] = 5000.0
    torch.save(state, tmp_path / LAST)
    make(ADAM, tmp_path, resume=True).run()
    assert 5000 < read_metrics(tmp_path)["train_seconds"] < 5100


class Keep(Callback):
    """Writes a checkpoint before a step, as when it is due."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, module, *_) -> None:
        if trainer.global_step == self.step:
            (keep,) = (c for c in trainer.callbacks if isinstance(c, RunCheckpoint))
            keep._write(trainer, module)


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_curves_go_on_without_gap_or_overlap(tmp_path, logger):
    """Though more was logged after the last checkpoint, as of a process that died later."""
    options = [*ADAM, f"logger={logger}", "checkpoint_seconds=1e9"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    make(options, whole).run()
    broken = make(options, cut, Keep(30), Crash(48))
    with pytest.raises(ZeroDivisionError):
        broken.run()
    curve = csv_curve if logger == "csv" else events_curve
    broken.trainer.logger.save()
    if logger == "tensorboard":
        broken.trainer.logger.flush()
    assert max(step for step, _ in curve(cut)) > 30
    make(options, cut, resume=True).run()
    assert len(curve(whole)) == 12
    assert curve(cut) == curve(whole)


def csv_curve(folder: Path) -> list[tuple[int, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [(int(row["step"]), row["loss/train"]) for row in csv.DictReader(file)]
    return [(step, float(value)) for step, value in rows if value]


def events_curve(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(scalar.step, scalar.value) for scalar in events.Scalars("loss/train")]


def test_what_an_earlier_attempt_has_left_is_not_taken_for_this_one(tmp_path):
    """Such as the checkpoints of a job that a sweep runs again in the same folder."""
    options, folder = [*ADAM, "logger=tensorboard"], tmp_path / "folder"
    earlier = crashed([*options, "seed=5"], tmp_path / "earlier", 33)
    earlier.trainer.logger.finalize("failed")
    experiment = make([*options, "checkpoint_seconds=1e9"], folder, Crash(10))
    shutil.copytree(tmp_path / "earlier", folder, dirs_exist_ok=True)
    experiment.start_over()
    with pytest.raises(ZeroDivisionError):
        experiment.run()
    experiment.trainer.logger.flush()
    assert list((folder / "checkpoints").iterdir()) == []
    assert [step for step, _ in events_curve(folder)] == [5, 10]


# What cannot go on


def refusal(options: list[str], folder: Path) -> str:
    with pytest.raises(KanExpError) as caught:
        make(options, folder, resume=True)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(folder))
    return message


def test_other_points_or_another_network_are_told(tmp_path):
    crashed(ADAM, tmp_path, 33)
    assert "training points have changed" in refusal([*ADAM, "data.seed=5"], tmp_path)
    assert "does not fit" in refusal([*ADAM, "dims=[2,3,1]"], tmp_path)
    assert "does not fit" in refusal([*ADAM, "replicas=2"], tmp_path)


def test_a_checkpoint_without_the_whole_state_is_told(tmp_path):
    crashed(ADAM, tmp_path, 33)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(best, tmp_path / LAST)
    assert "holds a network, but not the state of its training" in refusal(ADAM, tmp_path)
    (tmp_path / LAST).write_bytes(b"junk")
    assert "not a checkpoint of kan_exp" in refusal(ADAM, tmp_path)


# Writing


def test_a_full_disk_ends_the_training_and_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    real, names = os.fsync, []

    def full(number: int) -> None:
        names.append(number)
        if len(names) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    make(ADAM, tmp_path / "whole")
    with pytest.raises(OSError, match="No space left"):
        make(ADAM, tmp_path / "cut").run()
    monkeypatch.undo()
    files = sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir())
    assert files == ["best.ckpt", "last.ckpt"]
    assert 0 < torch.load(tmp_path / "cut" / LAST, weights_only=True)["global_step"] < 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_torchs_own_word_for_a_full_disk_is_understood(tmp_path):
    (tmp_path / ".a.ckpt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoints.save(tmp_path / "a.ckpt", {"a": torch.zeros(100_000)})
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_short_run_writes_each_checkpoint_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoints, "save", lambda path, _: written.append(path.name))
    experiment = make([*ADAM, "checkpoint_seconds=3600"], tmp_path)
    experiment.fit()
    assert written == ["best.ckpt", "last.ckpt"]


def test_a_least_squares_run_of_an_earlier_version_says_to_repeat_it(tmp_path):
    options, step = CASES["lm, no grid"]
    crashed(options, tmp_path, step)
    last = torch.load(tmp_path / LAST, weights_only=True)
    last["progress"]["optimizer"] = None
    torch.save(last, tmp_path / LAST)
    with pytest.raises(KanExpError, match=r"earlier version wrote its checkpoint.*--from"):
        make(options, tmp_path, resume=True)


@pytest.mark.parametrize("name", ["adam, mini-batches", "lm, no grid"])
def test_an_optimizer_state_that_does_not_fit_is_one_line(tmp_path, name):
    options, step = CASES[name]
    crashed(options, tmp_path, step)
    last = torch.load(tmp_path / LAST, weights_only=True)
    last["progress"]["optimizer"]["param_groups"][0]["params"].pop()
    torch.save(last, tmp_path / LAST)
    with pytest.raises(KanExpError, match="does not fit its configuration: loaded state dict"):
        make(options, tmp_path, resume=True)


def test_a_run_goes_on_where_there_is_no_compiler(tmp_path, monkeypatch):
    """Sums of splines in C and by torch agree to rounding, before and after."""
    options, step = CASES["adam, mini-batches"]
    make(options, tmp_path / "whole").run()
    crashed(options, tmp_path / "cut", step)
    monkeypatch.setattr("kan_exp.layers.kernels.native_sum.takes", lambda _: False)
    make(options, tmp_path / "cut", resume=True).run()
    whole, cut = (read_metrics(tmp_path / name) for name in ("whole", "cut"))
    assert cut["test_rmse"] == pytest.approx(whole["test_rmse"], rel=1e-3)
    assert cut["best_step"] == whole["best_step"]
