"""Levenberg-Marquardt against SciPy and algebra, on our networks and on anyone's."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import nn
from torch.func import functional_call, jacrev, vmap

from kan_exp.layers import (
    KANChebyshevLayer,
    KANInterpoLayer,
    KANLayer,
    KANLinearLayer,
    KANRationalLayer,
    KANSplineLayer,
)
from kan_exp.optimizers import BatchedNetworks, LeastSquares, LevenbergMarquardt, start, step

KINDS = [KANChebyshevLayer, KANInterpoLayer, KANLayer, KANLinearLayer, KANRationalLayer]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int = 60, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(count, 2, generator=seeded(seed), dtype=torch.float64) * 2 - 1
    return x, torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)


def network(seed: int, kind=KANSplineLayer, dims=(2, 2, 1), **options) -> nn.Sequential:
    generator = seeded(seed)
    layers = [kind(i, o, generator=generator, **options) for i, o in itertools.pairwise(dims)]
    made = nn.Sequential(*layers).double()
    for part in made.parameters():
        noise = torch.randn(part.shape, generator=generator, dtype=part.dtype)
        part.data += 0.2 * noise
    return made


# Jacobians


@pytest.mark.parametrize("kind", [*KINDS, KANSplineLayer])
def test_jacobians_are_autograds(kind):
    networks = [network(seed, kind) for seed in range(3)]
    x, _ = points(7)
    stack = BatchedNetworks(networks)
    parameters = stack.read()
    outputs, jacobian = stack.jacobian(parameters, x)
    assert torch.equal(stack.outputs(parameters, x), outputs)
    for k, one in enumerate(networks):
        torch.testing.assert_close(outputs[k], one(x).detach(), rtol=1e-12, atol=1e-12)
        named = dict(one.named_parameters())

        def call(parts, sample, one=one):
            return functional_call(one, parts, (sample[None],))[0]

        expected = vmap(jacrev(call), in_dims=(None, 0))(named, x)
        flat = torch.cat([part.flatten(2) for part in expected.values()], dim=2)
        torch.testing.assert_close(jacobian[k], flat.detach(), rtol=1e-9, atol=1e-10)


def test_any_module_with_several_outputs_has_a_jacobian():
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x, _ = points(5)
    stack = BatchedNetworks([module])
    outputs, jacobian = stack.jacobian(stack.read(), x)
    assert jacobian.shape == (1, 5, 2, 17)
    shift = 1e-6
    parameters = stack.read()
    for p in range(17):
        moved = parameters.clone()
        moved[0, p] += shift
        slope = (stack.outputs(moved, x) - outputs) / shift
        torch.testing.assert_close(jacobian[..., p], slope, rtol=1e-4, atol=1e-5)


def test_parameters_come_back_as_they_were():
    networks = [network(seed).float() for seed in range(2)]
    before = [[part.clone() for part in one.parameters()] for one in networks]
    stack = BatchedNetworks(networks)
    stack.write(stack.read())
    for one, parts in zip(networks, before, strict=True):
        for found, part in zip(one.parameters(), parts, strict=True):
            assert torch.equal(found, part)


# Steps


def linear_problem(replicas: int = 3, count: int = 9, size: int = 4, quadratic: bool = False):
    matrix = torch.randn(replicas, count, size, generator=seeded(0), dtype=torch.float64)
    target = torch.randn(replicas, count, generator=seeded(1), dtype=torch.float64)

    def residuals(parameters):
        return torch.einsum("rnp,rp->rn", matrix, parameters) - target

    penalty = torch.eye(size, dtype=torch.float64).expand(replicas, -1, -1) if quadratic else None
    return LeastSquares(residuals, lambda p: (residuals(p), matrix), penalty), matrix, target


@pytest.mark.parametrize("quadratic", [False, True])
def test_a_linear_problem_is_solved_as_algebra_does(quadratic):
    problem, matrix, target = linear_problem(quadratic=quadratic)
    parameters = torch.ones(3, 4, dtype=torch.float64)
    state = start(problem, parameters, 1e-10)
    for _ in range(3):
        parameters, state, _ = step(problem, parameters, state, attempts=4)
    for k in range(3):
        a, b = matrix[k].numpy(), target[k].numpy()
        normal = a.T @ a / 9 + (np.eye(4) if quadratic else 0)
        expected = np.linalg.solve(normal, a.T @ b / 9)
        np.testing.assert_allclose(parameters[k].numpy(), expected, rtol=1e-7)
        error = np.mean((a @ expected - b) ** 2)
        assert state.error[k].item() == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("count", [3, 40])
def test_both_spaces_give_the_damped_step(count):
    """With fewer samples than parameters the system is solved in the space of samples."""
    problem, matrix, target = linear_problem(count=count, size=6)
    parameters = torch.full((3, 6), 0.5, dtype=torch.float64)
    found, *_ = step(problem, parameters, start(problem, parameters, 0.3), attempts=1)
    for k in range(3):
        a = matrix[k].numpy()
        residual = a @ parameters[k].numpy() - target[k].numpy()
        hessian = a.T @ a / count
        change = -np.linalg.solve(hessian + 0.3 * np.diag(np.diag(hessian)), a.T @ residual / count)
        np.testing.assert_allclose((found - parameters)[k].numpy(), change, rtol=1e-7, atol=1e-10)


def test_it_reaches_what_scipy_reaches():
    """Rosenbrock's valley and a decay, each from several places at once."""
    t = torch.linspace(0, 3, 20, dtype=torch.float64)
    y = 2 * torch.exp(-1.3 * t) + 0.1 * torch.sin(9 * t)

    def one(p):
        return p[0] * torch.exp(p[1] * t) - y

    problem = LeastSquares(
        vmap(one), lambda parameters: (vmap(one)(parameters), vmap(jacrev(one))(parameters))
    )
    places = torch.tensor([[1.0, -1.0], [0.5, 0.2], [3.0, -3.0]], dtype=torch.float64)
    parameters, state = places, start(problem, places, 1e-2)
    for _ in range(60):
        parameters, state, _ = step(problem, parameters, state, attempts=8)
    expected = least_squares(lambda p: one(torch.from_numpy(p)).numpy(), [1.0, -1.0], xtol=1e-14).x
    for found in parameters:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert state.stalled.all()  # nothing better within rounding


def test_the_objective_never_rises_and_a_lost_replica_stays_alone():
    problem, *_ = linear_problem()
    parameters = torch.ones(3, 4, dtype=torch.float64)
    parameters[1, 2] = math.nan
    state = start(problem, parameters, 1e-3)
    for _ in range(3):
        moved, after, _ = step(problem, parameters, state, attempts=3)
        assert (after.objective[[0, 2]] <= state.objective[[0, 2]]).all()
        parameters, state = moved, after
    assert parameters[1, 2].isnan()
    assert parameters[[0, 2]].isfinite().all()
    assert state.stalled[1]


def test_a_singular_system_only_raises_the_damping():
    def residuals(parameters):  # the second parameter does nothing
        return torch.stack([parameters[:, 0] - 3, parameters[:, 0] - 5], dim=1)

    jacobian = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    problem = LeastSquares(residuals, lambda p: (residuals(p), jacobian))
    parameters = torch.zeros(1, 2, dtype=torch.float64)
    state = start(problem, parameters, 1e-3)
    for _ in range(5):
        parameters, state, _ = step(problem, parameters, state, attempts=8)
    assert parameters[0].tolist() == pytest.approx([4.0, 0.0])


# Optimizer


def test_the_optimizer_fits_a_network_and_its_error_never_rises():
    x, y = points(400)
    model = network(0, KANSplineLayer, (2, 1, 1), num_intervals=8, x_min=-3.0, x_max=3.0)
    optimizer = LevenbergMarquardt(model)
    errors = [optimizer.step(lambda: (x, y)).item() for _ in range(60)]
    assert errors[-1] < 1e-3 * errors[0]
    assert all(after <= before for before, after in itertools.pairwise(errors))


def test_modules_trained_together_are_those_trained_alone():
    x, y = points()
    together = [network(seed) for seed in range(3)]
    alone = [network(seed) for seed in range(3)]
    optimizer = LevenbergMarquardt(together)
    for _ in range(6):
        errors = optimizer.step(lambda: (x, y))
    for one, other, error in zip(together, alone, errors, strict=True):
        single = LevenbergMarquardt(other)
        for _ in range(6):
            (found,) = single.step(lambda: (x, y))
        assert found.item() == pytest.approx(error.item(), rel=1e-6)
        for left, right in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_keeping_some_modules_keeps_their_damping():
    x, y = points()
    optimizer = LevenbergMarquardt([network(seed) for seed in range(4)])
    for _ in range(4):
        optimizer.step(lambda: (x, y))
    damping, modules = optimizer.replicas.damping.clone(), list(optimizer.modules)
    optimizer.keep([2, 0])
    assert optimizer.modules == [modules[2], modules[0]]
    assert torch.equal(optimizer.replicas.damping, damping[[2, 0]])
    assert optimizer.step(lambda: (x, y)).shape == (2,)


def test_a_quadratic_penalty_pulls_parameters_towards_nothing():
    x, y = points()
    free, held = network(0), network(0)
    size = sum(part.numel() for part in free.parameters())
    eye = torch.eye(size, dtype=torch.float64)
    for model, weight in ((free, 0.0), (held, 1.0)):
        optimizer = LevenbergMarquardt(model, quadratic=lambda _, weight=weight: weight * eye)
        for _ in range(10):
            optimizer.step(lambda: (x, y))

    def length(model):
        return sum(part.square().sum().item() for part in model.parameters())

    assert length(held) < 0.3 * length(free)


def test_fresh_points_at_every_step_find_what_all_points_would():
    """Batches of fewer samples than parameters, of data without noise."""
    truth = torch.randn(12, 1, generator=seeded(0), dtype=torch.float64)
    model, generator = torch.nn.Linear(12, 1, bias=False).double(), seeded(1)

    def batch():
        x = torch.randn(5, 12, generator=generator, dtype=torch.float64)
        return x, x @ truth

    optimizer = LevenbergMarquardt(model)
    for _ in range(100):
        optimizer.step(batch)
    torch.testing.assert_close(model.weight.detach().T, truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"damping": 0}, "damping"),
        ({"attempts": 0}, "attempts"),
        ({"memory": 0}, "memory"),
        ({"cg_steps": 0}, "cg_steps"),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=f"LevenbergMarquardt needs {said} above 0, got 0"):
        LevenbergMarquardt(network(0), **options)
    with pytest.raises(ValueError, match=rf"needs {said} below 2\*\*60, got 1e\+30"):
        LevenbergMarquardt(network(0), **dict.fromkeys(options, 1e30))


# State


def test_the_state_dict_goes_on_bit_for_bit(tmp_path):
    """Through a file, in another optimizer of the same modules, some of which are gone."""
    batch = points()
    networks = [network(seed) for seed in range(3)]
    optimizer = LevenbergMarquardt(networks, damping=0.3)
    for _ in range(3):
        optimizer.step(lambda: batch)
    optimizer.keep([2, 0])
    optimizer.step(lambda: batch)
    torch.save(optimizer.state_dict(), tmp_path / "state")
    again = [copy.deepcopy(one) for one in optimizer.modules]
    resumed = LevenbergMarquardt(again)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.stopped == optimizer.stopped
    for _ in range(2):
        assert torch.equal(resumed.step(lambda: batch), optimizer.step(lambda: batch))
    assert torch.equal(resumed.replicas.damping, optimizer.replicas.damping)
    assert len(set(resumed.replicas.damping.tolist())) == 2
    for one, other in zip(again, optimizer.modules, strict=True):
        for found, part in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(found, part)


def test_the_state_of_other_modules_is_refused():
    state = LevenbergMarquardt([network(0), network(1)])
    state.step(points)
    with pytest.raises(ValueError, match="loaded state dict"):
        LevenbergMarquardt([network(0)]).load_state_dict(state.state_dict())
    alike = LevenbergMarquardt(nn.Sequential(*network(0), *network(1)))
    with pytest.raises(ValueError, match=r"loaded state dict has 2 modules, the optimizer has 1"):
        alike.load_state_dict(state.state_dict())
