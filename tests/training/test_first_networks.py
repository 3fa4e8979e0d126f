"""Least squares: the noise of their starts, what a penalty weighs, when a finer grid ends."""

from __future__ import annotations

import pytest
import torch

from kan_exp.data import Split
from kan_exp.layers import KANInterpoLayer, KANSplineLayer, LayerSpec
from kan_exp.models.model import KANModel
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.training.least_squares import LeastSquaresModule
from kan_exp.training.stages import Stage
from kan_exp.training.starts import make_starts, penalty_matrix
from tests.regression import TASK


@pytest.mark.parametrize("dim_in", [1, 4])
def test_the_noise_of_a_start_has_the_deviation_that_was_asked_for(dim_in):
    """Of an output, that is: each of its edges has its share of the variance."""
    bounds = torch.tensor([[-2.0, 2.0]] * dim_in, dtype=torch.float64)  # where the grids are made
    specs = [LayerSpec(KANInterpoLayer, {"x_min": -2.0, "x_max": 2.0})] * 2
    straight, noisy = (
        make_starts(specs, [dim_in, 40, 1], Stage(100, 1, 1), 3, std, bounds.T, bounds)[0][0]
        for std in (0.0, 0.3)
    )
    torch.testing.assert_close(
        straight.values.diff(n=2, dim=1), torch.zeros(dim_in, 99, 40).double(), atol=1e-5, rtol=0
    )
    noise = noisy.values - straight.values
    assert noise.square().sum(0).mean().sqrt().item() == pytest.approx(0.3, rel=0.05)
    assert abs(noise.mean().item()) < 0.02


def test_the_base_of_a_spline_has_no_penalty():
    def form(base: str) -> torch.Tensor:
        options = {"num_intervals": 5, "base": base}
        layers = [
            KANSplineLayer(*size, **options, generator=torch.Generator().manual_seed(1))
            for size in ((2, 3), (3, 1))
        ]
        return penalty_matrix(torch.nn.Sequential(*layers).double(), {2: 0.5})

    plain, based = form("none"), form("silu")
    bases = 2 * 3 + 3 * 1
    assert len(based) == len(plain) + bases
    free = (based == 0).all(1) & (based == 0).all(0)
    assert free.sum() == bases
    torch.testing.assert_close(based[~free][:, ~free], plain)


def test_a_finer_grid_has_five_steps_before_it_is_judged(make_data, make_trainer):
    """Its validation error may rise at first."""
    data = make_data()
    x = data.scaling.standardize(data.train).x.double()
    bounds = torch.stack([x.amin(0), x.amax(0)], 1)
    specs = [LayerSpec(KANSplineLayer, {"num_intervals": 8})] * 2
    stages = [Stage(4, 1, 1, points=20), Stage(8, 1, 12)]
    starts = make_starts(specs, [2, 2, 1], stages[0], 0, 0.3, x, bounds)
    model = KANModel(starts[0], data.scaling, data.schema)
    # On the points of the first stage the start is right; all others are far off.
    y = model.predict(data.train.x)
    y[20:] += 3 * data.scaling.y_std
    data.train = Split(data.train.x, y)
    validation = Split(x, starts[0](x).detach() + 0.01)
    description = {"layers": [{"kind": "any", "options": {}}] * 2}
    made = LeastSquaresModule(
        *(model, TASK, starts, stages, validation, LevenbergMarquardt, {}, 0.0, description),
        follow_every=5,
        max_rise=2.0,
    )
    data.plan(None, 13, 13, 1, torch.Generator())
    trainer = make_trainer(13)
    trainer.fit(made, datamodule=data)
    assert made.overfits
    assert trainer.global_step == 1 + 5
