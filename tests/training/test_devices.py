"""A training on another device than the CPU: the same numbers, and nothing is left behind."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

import kan_exp
from kan_exp.optimizers import Report
from kan_exp.preparing import experiment as preparing
from kan_exp.preparing.components import make_checked
from kan_exp.train import prepare
from kan_exp.training.callbacks import checkpoint as checkpoints
from tests.conftest import read_metrics
from tests.standin import Count, Strategy, standin

POINTS = ["points=60", "data.num_val=20", "data.num_test=20", "logger=none", "~callbacks.figures"]
CURVES = "layers=[chebyshev,fourier,rbf,rational]"
PIECES = "layers=[{interpo: {num_x: 9}},{spline: {num_intervals: 4, base: silu}},mlp,linear]"
TABLES = "layers=[{interpo: {num_x: 9}},{mlp: {table_points: 8}}]"
GRIDS = "layers=[{interpo: {num_x: 9}},{spline: {num_intervals: 8}}]"
ADAM = ["optimizer=adam", "steps=4", "log_every_n_steps=2", "evaluations=2", "batch_size=16"]
WIDE, NARROW = "dims=[2,2,2,2,1]", "dims=[2,2,1]"
PENALTIES = ["penalty.roughness=1e-3", "penalty.curvature=1e-4"]
STAGES = ["optimizer=lm", "log_every_n_steps=2", "evaluations=3", "refine.num_candidates=[3,2]"]
LM = [*STAGES, "refine.steps=[4,2]"]
SHORTEST = [*STAGES, "refine.steps=[1,1]", "refine.num_candidates=[2,1]"]
CASES = {
    "adam, pieces": [*ADAM, PIECES, WIDE, *PENALTIES],
    "adam, curves": [*ADAM, CURVES, WIDE, *PENALTIES, "penalty.l1_edges=1e-3"],
    "adam, tables": [*ADAM, TABLES, NARROW, "scheduler=onecycle"],
    "adamw, all points": [*ADAM, "optimizer=adamw", "batch_size=null", GRIDS, NARROW],
    "sgd": [*ADAM, "optimizer=sgd", "optimizer.lr=0.001", "layer=interpo", NARROW],
    "lbfgs": ["optimizer=lbfgs", "steps=2", "evaluations=1", GRIDS, NARROW],
    "replicas, pieces": [*ADAM, PIECES, WIDE, *PENALTIES, "replicas=2"],
    "replicas, curves": [*ADAM, CURVES, WIDE, *PENALTIES, "replicas=2"],
    "replicas, l1": [*ADAM, GRIDS, NARROW, "penalty.l1_outputs=1e-3", "replicas=2"],
    "lm, pieces": [*SHORTEST, "layers=[{spline: {base: silu}},mlp,linear]", "dims=[2,2,2,1]"],
    "lm, curves": [*SHORTEST, CURVES, WIDE],
    "lm, grids": [*LM, GRIDS, NARROW, "refine.grids=[4,8]", "refine.jerk=1e-6"],
    "lm, products": [*SHORTEST, "layer=rbf", NARROW, "optimizer.memory=3000"],
}
QUICK = ["adam, pieces", "adam, curves", "replicas, pieces", "lm, grids", "lm, pieces"]
CROSSED = ["lm, grids", "adamw, all points", "replicas, pieces"]
CPU_METRICS: dict[str, dict] = {}  # by the name of a case


def each(cases):
    slow = pytest.mark.slow
    return [pytest.param(one, marks=() if name in QUICK else slow) for name, one in cases.items()]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Writes checkpoints at every chunk."""
    monkeypatch.setattr(checkpoints, "MAX_SHARE", math.inf)


@pytest.fixture
def make(monkeypatch, device):
    """Makes the experiment of a command on the CPU, or on a device that is not the CPU."""
    other = standin() if device.type == "cpu" else device

    def make(options, folder: Path, elsewhere: bool, *callbacks: Callback, resume: bool = False):
        options = [*POINTS, "checkpoint_seconds=0", *options]
        with monkeypatch.context() as patch:
            if not elsewhere:
                options.append("trainer=cpu")
            elif other.type == "cuda":
                options.append("trainer=gpu")
            else:
                patch.setattr(preparing, "make_checked", _with_standin)
            experiment = prepare(options, folder, resume=resume)
        experiment.trainer.callbacks.extend(callbacks)
        return experiment

    make.other = other
    return make


def _with_standin(name, component, *kinds, **options):
    if name == "trainer":
        options |= {"accelerator": "auto", "strategy": Strategy()}
    return make_checked(name, component, *kinds, **options)


def close(found: dict, expected: dict) -> None:
    for name in ("test_rmse", "test_mae", "val_rmse"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3)
    for name in ("steps", "best_step", "stopped", "parameters"):
        assert found[name] == expected[name]


@pytest.fixture
def on_the_cpu(make, tmp_path_factory):
    """Gives the metrics of a case on the CPU, where it runs once for all tests."""

    def metrics(name: str) -> dict:
        if name not in CPU_METRICS:
            folder = tmp_path_factory.mktemp("cpu")
            make(CASES[name], folder, elsewhere=False).run()
            CPU_METRICS[name] = read_metrics(folder)
        return CPU_METRICS[name]

    return metrics


@pytest.mark.parametrize("name", each({name: name for name in CASES}), ids=CASES)
def test_another_device_gives_the_same_numbers(make, on_the_cpu, tmp_path, name):
    make(CASES[name], tmp_path / "other", elsewhere=True).run()
    found = read_metrics(tmp_path / "other")
    assert found["device"] == str(make.other)
    close(found, on_the_cpu(name))
    model = kan_exp.load(tmp_path / "other")
    assert {part.device.type for part in model.state_dict().values()} == {"cpu"}


class Waits(Callback):
    """Counts the waits of each step for its device, but for those of each attempt."""

    def __init__(self, monkeypatch) -> None:
        self.found, self._attempts = [], 0
        read = Report.of

        def of(*args):
            self._attempts += 1
            return read(*args)

        monkeypatch.setattr(Report, "of", of)

    def on_train_batch_start(self, *_) -> None:
        self._count, self._attempts = Count().__enter__(), 0

    def on_train_batch_end(self, *_) -> None:
        self._count.__exit__()
        self.found.append(self._count.waits - self._attempts)


@pytest.mark.parametrize("layer", ["mlp", "spline", "interpo"])
def test_least_squares_wait_once_for_each_attempt(make, monkeypatch, tmp_path, layer):
    """And once to choose among few networks; more where a stage begins or ends."""
    if make.other.type == "cuda":
        pytest.skip("waits are counted by the stand-in")
    waits = Waits(monkeypatch)
    stages = ["refine.steps=[4]", "refine.num_candidates=[6,3,1]", "refine.follow_every=100"]
    options = [f"layer={layer}", NARROW, *stages, "refine.points=null", "evaluations=1"]
    grids = [] if layer == "mlp" else ["refine.grids=[4,8,16]"]
    make([*options, *grids], tmp_path, True, waits).fit()
    assert [waits.found[step] for step in (1, 2, 5, 6, 9, 10)] == [0, 0, 1, 1, 0, 0]


class Crash(Callback):
    """Ends the training after a step as a bug would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step >= self.step:
            raise ZeroDivisionError


@pytest.mark.parametrize("began_elsewhere", [True, False], ids=["to the CPU", "from the CPU"])
@pytest.mark.parametrize(
    "name", [CROSSED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in CROSSED[1:])]
)
def test_a_run_resumes_on_a_different_device(make, on_the_cpu, tmp_path, name, began_elsewhere):
    with pytest.raises(ZeroDivisionError):
        make(CASES[name], tmp_path / "cut", began_elsewhere, Crash(4)).run()
    stored = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < stored["global_step"] < 4
    make(CASES[name], tmp_path / "cut", not began_elsewhere, resume=True).run()
    close(read_metrics(tmp_path / "cut"), on_the_cpu(name))


def test_a_tensor_that_stays_on_the_cpu_is_found(make, tmp_path, monkeypatch):
    """The test of these tests."""
    monkeypatch.setattr("kan_exp.training.starts.penalty_matrix", _on_the_cpu)
    with pytest.raises(RuntimeError, match="same device"):
        make(CASES["lm, grids"], tmp_path, True).run()


def _on_the_cpu(network, weights):
    size = sum(part.numel() for part in network.parameters())
    return torch.eye(size, dtype=torch.float64)
