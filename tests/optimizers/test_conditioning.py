"""Least squares whose normal matrix is singular to rounding, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kan_exp.optimizers import Expansion, LevenbergMarquardt, Quadratic, systems
from kan_exp.optimizers.orthogonal import damped_step, triangular_factor

COUNT = 200


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def powers(size: int, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix of powers, and values that no polynomial takes."""
    x = torch.linspace(0, 1, count, dtype=torch.float64)
    return torch.vander(x, size), (torch.sin(6 * x) + 0.3 * x.sqrt())[:, None]


def line(size: int) -> nn.Module:
    module = nn.Linear(size, 1, bias=False).double()
    nn.init.zeros_(module.weight)
    return module


def fitted(matrix, values, steps: int = 120, **options) -> tuple[float, LevenbergMarquardt]:
    optimizer = LevenbergMarquardt(line(matrix.shape[1]), **options)
    for _ in range(steps):
        error = optimizer.step(lambda: (matrix, values)).item()
        if optimizer.stopped != [None]:
            break
    return error**0.5, optimizer


def best(matrix, values) -> float:
    found = np.linalg.lstsq(matrix.numpy(), values.numpy(), rcond=1e-15)[0]
    return float(np.sqrt(np.mean((matrix.numpy() @ found - values.numpy()) ** 2)))


@pytest.mark.parametrize("memory", [1e9, COUNT * 14 * 8 / 3], ids=["whole", "in blocks"])
@pytest.mark.parametrize("size", [14, 16])
def test_an_ill_conditioned_fit_is_as_good_as_lstsqs(size, memory):
    matrix, values = powers(size)
    assert torch.linalg.cond(matrix) > 4e9
    error, optimizer = fitted(matrix, values, memory=memory)
    assert optimizer.stopped[0] in ("gradient", "loss", "step")
    assert error == pytest.approx(best(matrix, values), rel=1e-4)


def test_so_is_one_with_fewer_samples_than_parameters():
    """A row that is nearly the sum of others, where the error can be zero."""
    matrix = torch.randn(9, 12, generator=seeded(0), dtype=torch.float64)
    noise = torch.randn(12, generator=seeded(1), dtype=torch.float64)
    matrix[8] = matrix[:8].sum(0) + 1e-9 * noise
    values = torch.arange(9.0, dtype=torch.float64)[:, None]
    error, _ = fitted(matrix, values, loss_tolerance=0, gradient_tolerance=0)
    assert error < 1e-4 < best(matrix[:, :8], values)


def test_a_penalty_takes_part():
    matrix, values = powers(14)
    scale = torch.logspace(-14, -10, 14, dtype=torch.float64)
    penalty = torch.diag(scale)[None]
    error, _ = fitted(matrix, values, penalties=[Quadratic(penalty)], loss_tolerance=1e-14)
    rows = np.concatenate([matrix.numpy() / COUNT**0.5, np.diag(scale.sqrt().numpy())])
    wanted = np.concatenate([values.numpy()[:, 0] / COUNT**0.5, np.zeros(14)])
    weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    expected = np.sqrt(np.mean((matrix.numpy() @ weights - values.numpy()[:, 0]) ** 2))
    assert error == pytest.approx(expected, rel=1e-5)


def test_a_well_conditioned_fit_is_left_to_the_normal_matrix(monkeypatch):
    monkeypatch.setattr(systems, "damped_step", lambda *_: 1 / 0)
    matrix = torch.randn(50, 6, generator=seeded(0), dtype=torch.float64)
    values = torch.randn(50, 1, generator=seeded(1), dtype=torch.float64)
    options = dict.fromkeys(("gradient_tolerance", "step_tolerance", "loss_tolerance"), 0)
    error, _ = fitted(matrix, values, **options)
    assert error == pytest.approx(best(matrix, values), rel=1e-12)


def test_only_the_replica_that_needs_it_takes_the_other_way():
    """One of two has a matrix of full rank, one a matrix of two equal columns, one is NaN."""
    draw = seeded(2)
    good = torch.randn(3, 30, 5, generator=draw, dtype=torch.float64)
    good[1, :, 4] = good[1, :, 3] + 1e-8 * good[1, :, 4]
    good[2, 0, 0] = torch.nan
    residuals = torch.randn(3, 30, generator=draw, dtype=torch.float64)
    nothing = torch.zeros(3, 5, dtype=torch.float64)
    system = systems.dense_system(
        (good, residuals, torch.zeros(3)), 30, Expansion(nothing, nothing)
    )
    change, _ = system.step(torch.full((3,), 1e-22, dtype=torch.float64))
    assert system.min_damping.tolist() == [1e-14, 1e-30, 1e-14]
    assert change[2].isnan().all()
    for k in range(2):
        found = good[k] @ change[k] + residuals[k]
        whole = np.linalg.lstsq(good[k].numpy(), -residuals[k].numpy(), rcond=1e-14)[0]
        least = good[k].numpy() @ whole + residuals[k].numpy()
        assert found.norm().item() == pytest.approx(np.linalg.norm(least), rel=1e-3)


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("count", [3, 40])
def test_the_step_by_qr_is_the_dense_one(count, blocks):
    draw = seeded(3)
    jacobian = torch.randn(2, count, 6, generator=draw, dtype=torch.float64)
    residuals = torch.randn(2, count, generator=draw, dtype=torch.float64)
    slope, diagonal, added = torch.rand(3, 2, 6, generator=draw, dtype=torch.float64)
    root = torch.randn(2, 6, 2, generator=draw, dtype=torch.float64)
    penalty = Expansion(slope, diagonal, root @ root.mT)
    parts = zip(jacobian.chunk(blocks, 1), residuals.chunk(blocks, 1), strict=True)
    found = damped_step(triangular_factor(parts, count), penalty, added)
    for k in range(2):
        a = jacobian[k].numpy()
        matrix = a.T @ a / count + penalty.matrix[k].numpy()
        matrix += np.diag((diagonal + added)[k].numpy())
        right = a.T @ residuals[k].numpy() / count + slope[k].numpy()
        np.testing.assert_allclose(found[k].numpy(), -np.linalg.solve(matrix, right), rtol=1e-9)
