"""However little memory a step may take, it is the same step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kan_exp.layers import KANInterpoLayer, KANLayer, KANSplineLayer
from kan_exp.optimizers import (
    BatchedNetworks,
    Fit,
    Limits,
    Quadratic,
    SmoothL1,
    conjugate_gradients,
)
from kan_exp.optimizers.systems import ParameterSystem, ProductSystem, SampleSystem
from kan_exp.tasks.losses import CrossEntropy, Squared

SMALL = 4000  # bytes: less than any matrix here, but for those of a few samples


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perceptrons(out: int) -> list[nn.Module]:
    made = []
    for seed in range(2):
        module = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, out)).double()
        for part in module.parameters():
            part.data = torch.randn(part.shape, generator=seeded(seed), dtype=torch.float64)
        made.append(module)
    return made


def splines(out: int) -> list[nn.Module]:
    def made(seed):
        generator = seeded(seed)
        first = KANSplineLayer(2, 2, num_intervals=4, generator=generator)
        return nn.Sequential(first, KANLayer(2, out, fcn_hidden=3, generator=generator)).double()

    return [made(seed) for seed in range(2)]


def grids(out: int) -> list[nn.Module]:
    def made(seed):
        generator = seeded(seed)
        first = KANInterpoLayer(2, 3, num_x=5, generator=generator)
        return nn.Sequential(first, KANSplineLayer(3, out, 4, generator=generator)).double()

    return [made(seed) for seed in range(2)]


def fit(modules, loss, count: int, penalties, memory: float) -> tuple[Fit, torch.Tensor]:
    x = torch.rand(count, 2, generator=seeded(1), dtype=torch.float64) * 2 - 1
    stack = BatchedNetworks(modules)
    y = torch.sin(3 * x[:, :1]) * torch.ones(1, 3 if isinstance(loss, CrossEntropy) else 1)
    if isinstance(loss, CrossEntropy):
        y = torch.randint(3, (count,), generator=seeded(2))
    limits = Limits(memory, cg_tolerance=1e-10, cg_steps=1000)
    return Fit(stack, x, y, loss, penalties, limits), stack.read()


def dense_step(problem: Fit, parameters: torch.Tensor, damping: torch.Tensor) -> torch.Tensor:
    """The damped step from the plainest of all formulas."""
    outputs, jacobian = problem.networks.jacobian(parameters, problem.x)
    local = problem.loss.expand(outputs, problem.y)
    rows, residuals = local.weigh(jacobian).flatten(1, 2), local.residuals.flatten(1)
    penalty = problem.penalty.expand(parameters)
    hessian = rows.mT @ rows / len(problem.x) + torch.diag_embed(penalty.diagonal)
    if penalty.matrix is not None:
        hessian = hessian + penalty.matrix
    slope = torch.einsum("rnp,rn->rp", rows, residuals) / len(problem.x) + penalty.slope
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    added = damping[:, None] * diagonal.maximum(1e-8 * diagonal.amax(1, keepdim=True))
    # By NumPy: torch's batched solution has been seen to fail on two threads.
    damped = (hessian + torch.diag_embed(added)).numpy()
    change = -torch.from_numpy(np.linalg.solve(damped, slope.unsqueeze(2).numpy())).squeeze(2)
    fall = -2 * (slope * change).sum(1) - torch.einsum("rp,rpq,rq->r", change, hessian, change)
    return change, fall


@pytest.mark.parametrize("loss", [Squared(), CrossEntropy()], ids=["squared", "cross_entropy"])
@pytest.mark.parametrize("penalised", [False, True], ids=["free", "penalised"])
@pytest.mark.parametrize(
    ("modules", "count", "memory", "kind"),
    [
        (perceptrons, 90, 1e9, ParameterSystem),
        (perceptrons, 5, 1e9, SampleSystem),
        (perceptrons, 90, 2 * 33 * 33 * 8 + 100, ParameterSystem),  # the Jacobian in blocks
        (perceptrons, 90, SMALL, ProductSystem),
        (splines, 90, SMALL, ProductSystem),
        (grids, 90, SMALL, ProductSystem),
        (perceptrons, 5, 500, ProductSystem),
    ],
)
def test_the_step_is_the_dense_one(modules, count, memory, kind, penalised, loss):
    out = 3 if isinstance(loss, CrossEntropy) else 1
    penalties = [SmoothL1(0.01, 0.1)] if penalised else []
    problem, parameters = fit(modules(out), loss, count, penalties, memory)
    value, system = problem.expand(parameters)
    assert type(system) is kind
    damping = torch.tensor([0.05, 2.0], dtype=torch.float64)
    change, fall = system.step(damping)
    expected, expected_fall = dense_step(problem, parameters, damping)
    torch.testing.assert_close(change, expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(fall, expected_fall, rtol=1e-7, atol=1e-12)
    for found, alone in zip(value, problem.evaluate(parameters), strict=True):
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-14)


def test_a_penalty_of_a_matrix_goes_with_blocks():
    size = sum(part.numel() for part in perceptrons(1)[0].parameters())
    root = torch.randn(2, size, 3, generator=seeded(3), dtype=torch.float64)
    problem, parameters = fit(perceptrons(1), Squared(), 90, [Quadratic(root @ root.mT)], SMALL)
    _, system = problem.expand(parameters)
    damping = torch.tensor([0.05, 2.0], dtype=torch.float64)
    expected, _ = dense_step(problem, parameters, damping)
    torch.testing.assert_close(system.step(damping)[0], expected, rtol=1e-6, atol=1e-8)


def test_conjugate_gradients_solve_each_system_by_itself():
    """One is solved at once, one has no way down, one is no number: the third is solved."""
    root = torch.randn(6, 6, generator=seeded(0), dtype=torch.float64)
    good = root @ root.T + torch.eye(6)
    matrices = torch.stack([torch.eye(6, dtype=torch.float64), -good, good * torch.nan, good])
    right = torch.randn(4, 6, generator=seeded(1), dtype=torch.float64)
    found = conjugate_gradients(
        lambda vectors: torch.einsum("rpq,rq->rp", matrices, vectors),
        right,
        torch.ones_like(right),
        tolerance=1e-13,
        steps=50,
    )
    torch.testing.assert_close(found[0], right[0])
    assert (found[1:3] == 0).all()
    torch.testing.assert_close(
        found[3],
        torch.from_numpy(np.linalg.solve(good.numpy(), right[3].numpy())),
        rtol=1e-9,
        atol=1e-10,
    )
