"""What the steps of least squares are made of stays on its device, with the CPU's numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

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
    minimize,
    start,
    step,
)
from kan_exp.tasks.losses import BinaryCrossEntropy, CrossEntropy, Huber, Squared
from tests.standin import Count, standin

evaluate = Fit.evaluate


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grids(out: int) -> list[nn.Module]:
    def made(seed):
        first = KANInterpoLayer(2, 2, num_x=5, generator=seeded(seed))
        return nn.Sequential(first, KANSplineLayer(2, out, 8, generator=seeded(seed + 9))).double()

    return [made(0), made(1)]


def mixed(out: int) -> list[nn.Module]:
    def made(seed):
        first = KANLayer(2, 2, fcn_hidden=3, generator=seeded(seed))
        return nn.Sequential(first, KANSplineLayer(2, out, 8, generator=seeded(seed + 9))).double()

    return [made(0), made(1)]


def perceptrons(out: int) -> list[nn.Module]:
    networks = [nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, out)) for _ in range(2)]
    for seed, network in enumerate(networks):
        for part in network.parameters():
            part.data = torch.randn(part.shape, generator=seeded(seed), dtype=torch.float64)
    return networks


LOSSES = {
    "squared": Squared(),
    "classes": CrossEntropy(),
    "huber": Huber(0.5),
    "binary": BinaryCrossEntropy(),
}
SYSTEMS = [
    (grids, 40, 1e9, "quadratic"),
    (mixed, 40, 1e9, "none"),
    (perceptrons, 4, 1e9, "l1"),  # in the space of samples
    (grids, 40, 20_000, "quadratic"),  # in blocks
]
# By conjugate gradients, which take many operations: every loss once.
PRODUCTS = {
    (mixed, 6, 3000, "l1"): ("classes", "huber"),
    (grids, 6, 3000, "none"): ("squared", "binary"),
}
CASES = [(*system, loss) for system in SYSTEMS for loss in LOSSES]
CASES += [(*system, loss) for system, losses in PRODUCTS.items() for loss in losses]


@pytest.mark.parametrize(("make", "count", "memory", "penalty", "loss"), CASES)
def test_steps_stay_on_their_device(device, make, count, memory, penalty, loss):
    loss = LOSSES[loss]
    device = standin() if device.type == "cpu" else device
    out = 3 if isinstance(loss, CrossEntropy) else 1
    x = torch.rand(count, 2, generator=seeded(1), dtype=torch.float64) * 2 - 1
    y = (x[:, :1] * x[:, 1:] > 0).double()
    if isinstance(loss, CrossEntropy):
        y = torch.randint(3, (count,), generator=seeded(2))
    networks = make(out)

    def results(place: torch.device) -> list[torch.Tensor]:
        stack = BatchedNetworks([copy.deepcopy(network).to(place) for network in networks])
        parameters = stack.read()
        eye = torch.eye(parameters.shape[1], dtype=parameters.dtype, device=place)
        penalties = {
            "none": [],
            "l1": [SmoothL1(1e-3, 0.1)],
            "quadratic": [Quadratic(1e-3 * eye.expand(2, -1, -1))],
        }[penalty]
        limits = Limits(memory, cg_tolerance=1e-12, cg_steps=3)
        problem = Fit(stack, x.to(place), y.to(place), loss, penalties, limits)
        found, state = minimize(problem, parameters, 1 if memory == 3000 else 2)
        stack.write(found)
        return [found, *state, stack.outputs(found, x.to(place))]

    for found, expected in zip(results(device), results(torch.device("cpu")), strict=True):
        assert found.device == device
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-8)


def start_of(make: Callable[[int], list[nn.Module]], copies: int) -> tuple[Fit, torch.Tensor]:
    """A fit of many networks on the stand-in, and their parameters."""
    stack = BatchedNetworks([one.to(standin()) for _ in range(copies) for one in make(1)])
    x = torch.rand(20, 2, generator=seeded(1), dtype=torch.float64).to(standin())
    return Fit(stack, x, x[:, :1], Squared(), [SmoothL1(1e-3)], Limits(qr=False)), stack.read()


@pytest.mark.parametrize("make", [grids, mixed, perceptrons])
def test_64_starts_are_no_more_operations_than_8(make):
    """A GPU waits for each operation to start, and least squares begin with many networks."""
    counts = []
    for copies in (4, 32):
        problem, parameters = start_of(make, copies)
        state = start(problem, parameters, 1e-2)
        with Count() as count:
            step(problem, parameters, state, attempts=1)
        counts.append(count.kernels)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("make", [grids, mixed, perceptrons])
def test_the_host_waits_once_for_each_attempt(make, monkeypatch):
    problem, parameters = start_of(make, 2)
    state = start(problem, parameters, 1e-12)
    attempts = []
    monkeypatch.setattr(Fit, "evaluate", lambda *args: attempts.append(1) or evaluate(*args))
    with Count() as count:
        for _ in range(3):
            parameters, state, _ = step(problem, parameters, state, attempts=8)
    assert count.waits == len(attempts) > 3


@pytest.mark.parametrize("make", [grids, mixed])
def test_ill_conditioned_steps_stay_there_too(device, make):
    device = standin() if device.type == "cpu" else device
    stack = BatchedNetworks([network.to(device) for network in make(1)])
    x = torch.rand(40, 2, generator=seeded(1), dtype=torch.float64).to(device) * 2 - 1
    problem = Fit(stack, x, x[:, :1] * x[:, 1:], Squared(), [], Limits())
    _, system = problem.expand(stack.read())
    change, _ = system.step(torch.full((2,), 1e-20, dtype=torch.float64, device=device))
    assert change.device == system.min_damping.device == device
    assert (system.min_damping < 1e-14).all()
    assert change.isfinite().all()
