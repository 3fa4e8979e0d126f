"""Penalties against autograd and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kan_exp.optimizers import LevenbergMarquardt, SmoothL1


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_the_parabola_touches_the_penalty_and_lies_above_it():
    penalty = SmoothL1(torch.tensor([0.5, 2.0, 0.0]), epsilon=0.3)
    parameters = normal(4, 3).requires_grad_()
    value = penalty.value(parameters)
    (slope,) = torch.autograd.grad(value.sum(), parameters)
    expansion = penalty.expand(parameters.detach())
    torch.testing.assert_close(2 * expansion.slope, slope, rtol=1e-12, atol=1e-14)
    for seed in range(1, 20):
        change = normal(4, 3, seed=seed)
        above = value + (2 * expansion.slope * change + expansion.diagonal * change**2).sum(1)
        assert (penalty.value(parameters + change) <= above + 1e-12).all()


def test_it_selects_as_the_lasso_does():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = normal(60, 8)
    y = x[:, :1] - 2 * x[:, 4:5] + 0.1 * normal(60, 1, seed=1)
    model = nn.Linear(8, 1, bias=False).double()
    optimizer = LevenbergMarquardt(model, penalties=[SmoothL1(0.2, epsilon=1e-6)])
    for _ in range(100):
        optimizer.step(lambda: (x, y))
    peer = linear_model.Lasso(alpha=0.1, fit_intercept=False, tol=1e-12)  # halves its squares
    peer.fit(x.numpy(), y.numpy().ravel())
    found = model.weight.detach().numpy().ravel()
    np.testing.assert_allclose(found, peer.coef_, atol=1e-4)
    assert (np.abs(found) < 1e-4).sum() == (peer.coef_ == 0).sum() > 3


@pytest.mark.parametrize(
    ("arguments", "said"), [((-1.0,), "weight at least 0"), ((1.0, 0.0), "epsilon above 0")]
)
def test_bad_options_are_named(arguments, said):
    with pytest.raises(ValueError, match=f"SmoothL1 needs {said}"):
        SmoothL1(*arguments)
