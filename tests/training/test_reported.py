"""What a training reports while it runs and at its end is what its networks do."""

from __future__ import annotations

import json
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

import kan_exp
from kan_exp.data import Split
from kan_exp.plots import TASK_FIGURES
from kan_exp.tasks.numbers import metric_text
from kan_exp.train import prepare
from kan_exp.training.callbacks import checkpoint as checkpoints
from kan_exp.training.module import OBSERVED_POINTS
from kan_exp.training.replicas import ReplicaModule
from tests.conftest import read_metrics
from tests.regression import TASK
from tests.training.test_ending import SMALL
from tests.training.test_module import ADAM, module
from tests.training.test_resume import CASES, LINE, csv_curve


class Keep(Logger):
    """Keeps all that is logged, by the step."""

    name, version = "keep", 0

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, list[tuple[int, float]]] = {}

    def log_hyperparams(self, *_, **__) -> None:
        pass

    def log_metrics(self, metrics, step=None) -> None:
        for name, value in metrics.items():
            self.logged.setdefault(name, []).append((step, float(value)))


def rmse(model, split) -> float:
    error = model.predict(split.x).double().numpy() - split.y.double().numpy()
    return math.sqrt(np.mean(error**2))


def test_curves_are_in_the_users_units(make_data, make_model, make_trainer):
    data = make_data()
    data.plan(None, 1, 1, 1, torch.Generator().manual_seed(0))
    keep = Keep()
    start, model = make_model(data), make_model(data)
    run = module(model, roughness=0.1)
    make_trainer(1, logger=keep).fit(run, datamodule=data)
    ((step, error),) = keep.logged["error/train_rmse"]
    assert step == 1
    assert data.scaling.y_std.item() == pytest.approx(data.train.y.std().item(), rel=0.1)
    assert abs(data.scaling.y_std.item() - 1) > 0.1
    assert error == pytest.approx(rmse(start, data.train), rel=1e-5)
    assert keep.logged["error/val_rmse"] == [(1, pytest.approx(rmse(model, data.val), rel=1e-5))]
    rough = sum(layer.roughness().mean().item() for layer in start.network)
    assert keep.logged["penalty/roughness"] == [(1, pytest.approx(rough, rel=1e-5))]
    ((_, loss),) = keep.logged["loss/train"]
    assert loss == pytest.approx((error / data.scaling.y_std.item()) ** 2, rel=1e-5)


def test_an_overfitting_least_squares_run_ends_early_and_keeps_the_network_before(tmp_path):
    options, _ = CASES["lm, overfits"]
    experiment = prepare(
        [
            *options,
            "points=100",
            "data.num_test=50",
            "logger=none",
            "dims=[2,2,1]",
            "~callbacks.figures",
        ],
        tmp_path,
    )
    experiment.run()
    metrics = read_metrics(tmp_path)
    assert metrics["stopped"] == "overfitting"
    assert metrics["best_step"] < metrics["steps"] < experiment.trainer.max_steps
    assert metrics[TASK.chosen_by] == pytest.approx(
        rmse(kan_exp.load(tmp_path), experiment.data.val), rel=1e-6
    )


def test_a_converged_least_squares_run_says_by_which_test(tmp_path):
    experiment = prepare(
        [*LINE, "points=40", "data.num_test=20", "logger=none", "~callbacks.figures"], tmp_path
    )
    experiment.run()
    metrics = read_metrics(tmp_path)
    assert metrics["stopped"] in [f"converged ({name})" for name in ("gradient", "step", "loss")]
    assert metrics["steps"] < experiment.trainer.max_steps
    assert metrics["test_rmse"] < 1e-6
    assert metrics["test_r2"] == pytest.approx(1)


def test_final_figures_show_what_the_files_say(tmp_path, monkeypatch):
    shown = {}

    def keep(name):
        def draw(*arguments):
            shown[name] = arguments
            raise RuntimeError("not drawn")

        return draw

    monkeypatch.setattr("kan_exp.training.sinks.history_figure", keep("history_figure"))
    monkeypatch.setitem(TASK_FIGURES, "prediction", keep("prediction_figure"))
    primary = "relative_error"  # not the same the other way round, as RMSE is
    task = [f"task.metrics=[rmse,{primary}]", f"task.primary={primary}"]
    experiment = prepare([*SMALL, *task], tmp_path)
    experiment.run()
    metrics, history = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("metrics", "history")
    )
    train, val, best = shown["history_figure"]
    assert [list(map(list, train)), list(map(list, val))] == [history["train"], history["val"]]
    assert best == metrics["best_step"]
    truth, predicted, names, caption = shown["prediction_figure"]
    test = experiment.data.test
    np.testing.assert_array_equal(truth, test.y.numpy())
    np.testing.assert_allclose(predicted, kan_exp.load(tmp_path).predict(test.x), rtol=1e-6)
    assert names == [experiment.data.target_name]
    curves = [
        f"{one.title} {metric_text(one, metrics[f'test_{one.name}'])}"
        for one in experiment.module.task.curves
    ]
    assert caption == ", ".join(curves)
    assert "relative error" in caption
    for name, split in (("test", test), ("val", experiment.data.val)):
        y = split.y.double().numpy()
        error = kan_exp.load(tmp_path).predict(split.x).double().numpy() - y
        expected = np.linalg.norm(error) / np.linalg.norm(y)
        assert metrics[f"{name}_{primary}"] == pytest.approx(expected, rel=1e-5)


def test_curves_on_the_disk_are_as_new_as_the_checkpoint(tmp_path, monkeypatch):
    """Whatever ends the process later."""
    monkeypatch.setattr(checkpoints, "MAX_SHARE", math.inf)  # write it however long it takes

    class Look(Callback):
        seen: ClassVar[list[tuple[int, int]]] = []

        def on_train_batch_start(self, trainer, *_) -> None:
            if trainer.global_step:
                self.seen.append((csv_curve(tmp_path)[-1][0], trainer.global_step))

    experiment = prepare(
        [*SMALL, "~callbacks.figures", "checkpoint_seconds=0", "logger=csv"], tmp_path
    )
    experiment.trainer.callbacks.append(Look())
    experiment.run()
    assert Look.seen == [(3, 3)]


@pytest.mark.parametrize("count", [1, 2])
def test_domains_are_of_the_first_points(make_data, make_model, make_trainer, count):
    data = make_data(num_train=OBSERVED_POINTS + 1)
    x = data.train.x.clone()
    x[0] = x.amax(0) + 0.01
    x[-1] = x.amin(0) - 0.01  # one point too far
    data.train = Split(x, data.train.y)
    generators = [torch.Generator().manual_seed(k) for k in range(count)]
    data.plan(16, 1, 1, 1, *generators)
    model = make_model(data)
    if count == 1:
        run = module(model)
    else:
        networks = [make_model(data, seed=k).network for k in range(count)]
        run = ReplicaModule(model, TASK, networks, 0, ADAM, None, {}, {})
    make_trainer(1).fit(run, datamodule=data)
    seen = model.standardize(x[:-1])
    expected = torch.stack([seen.amin(0), seen.amax(0)], 1)
    for domain in [model.network[0].domain] if count == 1 else run.stack[0].domain:
        torch.testing.assert_close(domain.cpu(), expected, rtol=1e-6, atol=1e-6)
