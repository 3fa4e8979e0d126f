"""What a run reports is what the loaded network does, to the last digit."""

from __future__ import annotations

import math

import pytest
import torch

import kan_exp
from kan_exp.models.model import evaluation_mode
from kan_exp.train import prepare
from tests.conftest import read_metrics
from tests.regression import TASK

LAYERS = {
    "mlp": ["layer=mlp"],
    "mlp, table": ["layer=mlp", "layer.table_points=8"],
    "interpo": ["layer=interpo", "layer.num_x=9"],
    "spline": ["layer=spline", "layer.num_intervals=8"],
    "chebyshev": ["layer=chebyshev"],
    "fourier": ["layer=fourier"],
    "rbf": ["layer=rbf"],
    "rational": ["layer=rational"],
    "linear": ["layer=linear"],
}
LEAST_SQUARES = [
    "optimizer=lm",
    "refine.num_candidates=[2,1]",
    "refine.steps=[4,4]",
    "evaluations=2",
]
GRADIENTS = ["scheduler=none", "steps=12", "batch_size=16", "evaluations=3", "log_every_n_steps=4"]
OPTIMIZERS = {
    "lm": LEAST_SQUARES,
    "adam": ["optimizer=adam", *GRADIENTS],
    "replicas": ["optimizer=adam", "replicas=3", *GRADIENTS],
    "lbfgs": ["optimizer=lbfgs", *GRADIENTS],
    "sgd, replicas": ["optimizer=sgd", "optimizer.lr=0.01", "replicas=2", *GRADIENTS],
}
CASES = [(layer, optimizer) for layer in LAYERS for optimizer in ("lm", "replicas")]
CASES.remove(("mlp, table", "lm"))  # which is refused
CASES += [("mlp, table", optimizer) for optimizer in ("adam", "lbfgs", "sgd, replicas")]
SMALL = ["points=60", "data.num_val=40", "data.num_test=50", "dims=[2,2,1]", "logger=none"]


@pytest.mark.parametrize(("layer", "optimizer"), CASES)
def test_the_loaded_network_scores_what_the_run_reports(layer, optimizer, tmp_path):
    options = [*LAYERS[layer], *OPTIMIZERS[optimizer], *SMALL, "~callbacks.figures"]
    experiment = prepare(options, tmp_path)
    experiment.run()
    metrics, data = read_metrics(tmp_path), experiment.data

    def scores(model):
        assert not any(part.training for part in model.modules())
        test = TASK.score(model.predict(data.test.x), data.test.y)
        assert torch.equal(model.predict(data.test.x), model(data.test.x)), "another mode, or batch"
        return {
            "test_rmse": test["rmse"],
            "test_max_error": test["max_error"],
            "val_rmse": TASK.score(model.predict(data.val.x), data.val.y)["rmse"],
        }

    assert scores(kan_exp.load(tmp_path)).items() <= metrics.items()
    if "replicas" in metrics:
        each = metrics["replicas"]["each"]
        for replica, one in enumerate(each):
            assert scores(kan_exp.load(tmp_path, replica)).items() <= one.items()
        kept = next(one for one in each if one["seed"] == metrics["replicas"]["kept_seed"])
        assert {name: metrics[name] for name in kept if name != "seed"} == {
            name: value for name, value in kept.items() if name != "seed"
        }


def test_validation_chooses_by_what_the_user_will_have(tmp_path):
    """The curve of validation errors has the error of the kept network at its step."""
    options = [*LAYERS["mlp, table"], *OPTIMIZERS["adam"], *SMALL, "~callbacks.figures"]
    experiment = prepare(options, tmp_path)
    experiment.run()
    metrics = read_metrics(tmp_path)
    losses = dict(experiment.module.val_history)
    y_std = experiment.data.scaling.y_std.item()
    assert losses[metrics["best_step"]] == pytest.approx((metrics["val_rmse"] / y_std) ** 2)


def test_modes_are_as_before():
    one = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2)).train()
    one[1].eval()
    with evaluation_mode(one):
        assert not any(part.training for part in one.modules())
    assert [part.training for part in one.modules()] == [True, True, False]


def test_prediction_is_evaluation_whatever_the_mode(make_data, make_model):
    data = make_data()
    model = make_model(data)
    model.network.insert(0, torch.nn.Dropout(0.9))
    with torch.no_grad():
        expected = model.eval()(data.test.x)
    predicted = model.train().predict(data.test.x)
    assert torch.equal(predicted, expected)
    assert model.training
    assert math.isfinite(predicted.sum())


def test_least_squares_choose_networks_by_what_they_do_in_evaluation(tmp_path):
    options = [*LAYERS["mlp"], *LEAST_SQUARES, *SMALL, "~callbacks.figures"]
    experiment = prepare(options, tmp_path)
    module, val = experiment.module, experiment.data.val
    engine = module.configure_optimizers()
    for layer in (layer for network in engine.modules for layer in network):
        layer.table_points = 8  # refused as an option, as a layer of one's own would not be
    found = module._validate(engine).tolist()
    assert all(network.training for network in engine.modules)
    for network, error in zip(engine.modules, found, strict=True):
        module.model.network = network
        assert error == pytest.approx(
            TASK.score(module.model.predict(val.x), val.y)["rmse"], rel=1e-6
        )


@pytest.mark.parametrize("older", [False, True])
def test_the_kept_seed_is_the_one_in_the_checkpoint(tmp_path, monkeypatch, older):
    """Also where two are equally good, and where the checkpoint is older than that."""
    options = ["layer=interpo", "layer.num_x=9", *OPTIMIZERS["replicas"], *SMALL]
    experiment = prepare([*options, "~callbacks.figures"], tmp_path)
    if older:
        monkeypatch.setattr(
            type(experiment.module), "on_save_checkpoint", without_replica(type(experiment.module))
        )
    experiment.run()
    replicas = read_metrics(tmp_path)["replicas"]
    kept = replicas["kept_seed"] - replicas["each"][0]["seed"]
    x = experiment.data.test.x
    one, other = kan_exp.load(tmp_path), kan_exp.load(tmp_path, kept)
    assert torch.equal(one.predict(x), other.predict(x))


def without_replica(kind):
    write = kind.on_save_checkpoint

    def on_save_checkpoint(module, checkpoint):
        write(module, checkpoint)
        del checkpoint["kan_exp"]["replica"]

    return on_save_checkpoint
