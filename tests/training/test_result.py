"""The result of a training in memory."""

import pytest
import torch

import kan_exp
from kan_exp.layers import KANInterpoLayer, LayerSpec
from kan_exp.models.loading import describe_model
from kan_exp.train import prepare
from kan_exp.training.callbacks import BestNetwork, SignalStop
from kan_exp.training.experiment import Experiment
from kan_exp.training.module import KANModule
from tests.conftest import read_metrics
from tests.regression import TASK
from tests.training.conftest import OPTIONS

SMALL = ["optimizer=adam", "layer=interpo", "layer.num_x=5", "dims=[2,2,1]", "steps=40"]
SMALL += ["points=40", "data.num_val=20", "data.num_test=20", "evaluations=8"]
SMALL += ["log_every_n_steps=5", "batch_size=16", "scheduler=none", "logger=none"]


def test_a_training_without_a_folder_writes_nothing(
    make_data, make_model, make_trainer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    data = make_data()
    data.plan(16, 12, 4, 3, torch.Generator().manual_seed(0))
    specs = [LayerSpec(KANInterpoLayer, OPTIONS[KANInterpoLayer])] * 2
    description = describe_model(specs, [2, 3, 1], data, TASK)
    module = KANModule(make_model(data), TASK, torch.optim.Adam, None, {}, description)
    trainer = make_trainer(12, callbacks=[BestNetwork(), SignalStop()], enable_checkpointing=False)
    result = Experiment(module, data, trainer).run()
    assert result.diverged is None
    assert result.metrics["steps"] == 12
    error = result.model.predict(data.test.x).double() - data.test.y.double()
    assert result.metrics["test_rmse"] == pytest.approx(error.square().mean().sqrt().item())
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_what_the_folder_holds(tmp_path):
    result = prepare(SMALL, tmp_path).run()
    stored = read_metrics(tmp_path)
    assert {**result.metrics, "train_seconds": 0} == {**stored, "train_seconds": 0}
    loaded, x = kan_exp.load(tmp_path), result.data.test.x
    assert torch.equal(loaded.predict(x), result.predictions)
    assert torch.equal(result.model.predict(x), result.predictions)
    best = min(result.history["val"], key=lambda point: point[1])
    assert result.metrics["best_step"] == best[0]
