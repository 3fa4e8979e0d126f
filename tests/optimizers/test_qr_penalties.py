"""Steps by QR obey a penalty, and only replicas that need it are solved so."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from kan_exp.optimizers import SmoothL1
from kan_exp.optimizers.systems import dense_system

COUNT = 7  # of samples, the last of which are not given in a wide problem


def problem(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Jacobians `(2, samples, 4)` and residuals; two columns of the second are nearly parallel."""
    generator = torch.Generator().manual_seed(0)
    jacobian, residuals = (
        torch.randn(2, samples, size, generator=generator, dtype=torch.float64) for size in (4, 1)
    )
    jacobian[1, :, 2] = 3 * jacobian[1, :, 1] + 1e-6 * jacobian[1, :, 2]
    return jacobian, residuals.squeeze(2)


def exact(jacobian, residuals, slope, diagonal) -> list[float]:
    """`-(J' J / count + diag(diagonal))^-1 (J' r / count + slope)` in fractions."""
    columns = [list(map(Fraction, column)) for column in jacobian.T.tolist()]
    right = list(map(Fraction, residuals.tolist()))
    rows = []
    for i, left in enumerate(columns):
        row = [sum(a * b for a, b in zip(left, other, strict=True)) / COUNT for other in columns]
        row[i] += Fraction(diagonal[i].item())
        pull = sum(a * b for a, b in zip(left, right, strict=True)) / COUNT
        rows.append([*row, -pull - Fraction(slope[i].item())])
    size = len(rows)
    for i in range(size):
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in set(range(size)) - {i}:
            rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [float(row[-1]) for row in rows]


@pytest.mark.parametrize(
    ("samples", "damping", "by_qr"),
    [(COUNT, 1e-12, [False, True]), (3, 1e-12, [True, True]), (3, 1e-3, [False, False])],
    ids=["tall", "wide", "wide and damped"],
)
def test_a_step_is_the_exact_one_with_a_penalty(samples, damping, by_qr):
    jacobian, residuals = problem(samples)
    parameters = torch.tensor([[0.5, 0.1, -0.2, 0.4], [0.3, 1.0, -1.0, -0.7]], dtype=torch.float64)
    # None on the parallel columns, which it would tell apart.
    weight = torch.tensor([0.3, 0.0, 0.0, 0.2], dtype=torch.float64)
    penalty = SmoothL1(weight).expand(parameters)
    system = dense_system((jacobian, residuals, torch.zeros(2)), COUNT, penalty)
    change, _ = system.step(torch.full((2,), damping, dtype=torch.float64))
    held = penalty.diagonal + damping * system.scale
    for replica in range(2):
        expected = exact(
            jacobian[replica], residuals[replica], penalty.slope[replica], held[replica]
        )
        assert change[replica].tolist() == pytest.approx(expected, rel=1e-5)
    # Less damping is allowed where QR has taken over.
    assert (system.min_damping < 1e-20).tolist() == by_qr
