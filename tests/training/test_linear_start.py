"""Networks that begin as the linear model."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from kan_exp.config import choice, to_values
from kan_exp.data import Split
from kan_exp.layers import LayerSpec, find_layer, make_network
from kan_exp.tasks.losses import CrossEntropy, Squared
from kan_exp.train import prepare
from kan_exp.training.linear_start import start_linear


def network_of(kind, dims, **options):
    layer = choice("layer", kind, **options)
    spec = LayerSpec(find_layer(layer.target), to_values(layer.options))
    return make_network([spec] * 2, dims, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "near"), [("spline", 1e-3), ("interpo", 1e-3), ("mlp", 0.2), ("wavelet", 0.2)]
)
def test_the_start_is_the_linear_model(kind, near):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(400, 3, generator=generator).clamp(-2, 2)
    y = x @ torch.tensor([[0.5, -0.2], [0.1, 0.4], [0, 0.3]])
    noisy = y + 1e-3 * torch.randn(400, 2, generator=generator)
    network = network_of(kind, [3, 6, 2])
    hidden = network[0].edges(x)[..., 2:].clone()
    start_linear([network], Split(x, noisy), Squared())
    assert (network(x) - y).square().mean().sqrt() < near
    if kind == "spline":  # the other units are there, for the training to use
        assert (network[0].edges(x)[..., 2:] - hidden).abs().max() < 0.05 * hidden.abs().max()
        assert hidden.std() > 0


def test_the_start_of_classes_has_their_log_odds():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 2, generator=generator)
    odds = torch.cat([torch.zeros(4000, 1), x @ torch.tensor([[1.0, 0.5], [0, -1.0]])], 1)
    y = torch.distributions.Gumbel(0.0, 1.0).icdf(torch.rand(odds.shape, generator=generator))
    network = network_of("spline", [2, 5, 3])
    start_linear([network], Split(x, (odds + y).argmax(1)), CrossEntropy(1e-4))
    found = network(x)
    assert ((found - found[:, :1]) - odds).abs().mean() < 0.15


def test_a_wide_linear_table_is_no_worse_than_the_linear_model(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(900, 302))
    y = x[:, :30].sum(1) + 5 * generator.normal(size=900)
    columns = {f"x{k}": x[:, k] for k in range(302)}
    path = tmp_path / "wide.parquet"
    pl.DataFrame({**columns, "y": y}).write_parquet(path)
    options = ["data=table", f"data.path={path}", "data.target=y", "wide.rows=1", "wide.steps=20"]
    options += ["wide.lr=1", "wide.hidden=2", "layer=spline"]  # steps that lead nowhere
    experiment = prepare([*options, "logger=none"], tmp_path / "run")
    (note,) = experiment.notes
    assert note.startswith("optimizer=adamw dims=[302,3,1], beginning with the linear model")
    metrics = experiment.fit().metrics
    assert metrics["best_step"] == 0
    folds = prepare([*options, "data.folds=2", "logger=none"], tmp_path / "folds").fit().folds
    size = metrics["parameters"], 0
    assert [(one.metrics["parameters"], one.metrics["best_step"]) for one in folds] == [size] * 2
    assert metrics["test_rmse"] < 1.01 * metrics["linear_rmse"]
