"""How far the starts of least squares are from straight lines, and what a penalty weighs."""

from __future__ import annotations

import pytest
import torch

from kan_exp.layers import KANInterpoLayer, KANSplineLayer, LayerSpec
from kan_exp.training.stages import Stage
from kan_exp.training.starts import make_starts, penalty_matrix


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
