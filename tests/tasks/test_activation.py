"""Tasks whose predictions are not the plain outputs of the network."""

import pytest
import torch

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.tasks import Task
from kan_exp.tasks.activations import find_activation
from kan_exp.tasks.losses import BinaryCrossEntropy
from kan_exp.train import prepare
from tests.conftest import read_metrics


class YesOrNo(Task):
    activation = "sigmoid"
    scales_target = False

    def loss(self):
        return BinaryCrossEntropy()


def probability(x):
    return torch.sigmoid(3 * torch.sin(2 * x))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    draw = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(3000, generator=draw) - 2
    y = torch.rand(3000, generator=draw) < probability(x)
    path = tmp_path_factory.mktemp("table") / "t.csv"
    rows = [f"{a:.6f},{int(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["x,y", *rows]) + "\n")
    return path


ADAM = ["layer=spline", "layer.num_intervals=6", "optimizer=adam", "optimizer.lr=0.1"]
ADAM += ["steps=500", "penalty.roughness=0"]
SPLINES = ["layer=spline", "smoothing.method=null"]
OPTIMIZERS = {
    "lm": [
        "layer=spline",
        "smoothing.method=null",
        "refine.grids=[4]",
        "refine.num_candidates=[2]",
        "refine.steps=[15]",
    ],
    "adam": ADAM,
    "replicas": [*ADAM, "replicas=2"],
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_probabilities_are_learned_by_cross_entropy(table, tmp_path, optimizer):
    data = ["data=table", f"data.path={table}", "data.target=y", "dims=[1,1]"]
    task = [
        "task=regression",
        f"task._target_={__name__}.YesOrNo",
        "task.metrics=[rmse]",
        "logger=none",
    ]
    options = [*data, *task, "~callbacks.figures", *OPTIMIZERS[optimizer]]
    result = prepare(options, tmp_path).run()
    x = torch.linspace(-1.9, 1.9, 50)[:, None]
    predicted = kan_exp.load(tmp_path).predict(x)
    assert torch.equal(predicted, result.model.predict(x))
    assert (predicted - probability(x)).abs().max() < 0.1
    data = result.data.test
    brier = (result.model.predict(data.x).double() - data.y).square().mean()
    assert read_metrics(tmp_path)["test_rmse"] == pytest.approx(brier.sqrt().item())
    likelihood = torch.nn.functional.binary_cross_entropy(
        result.model.predict(result.data.val.x).double(), result.data.val.y.double()
    )
    losses = dict(result.history["val"])
    assert losses[result.metrics["best_step"]] == pytest.approx(likelihood.item(), rel=1e-5)


def test_an_unknown_activation_is_refused():
    with pytest.raises(KanExpError, match="no output activation 'tanh'"):
        find_activation("tanh")
