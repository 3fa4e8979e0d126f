"""Smoothness by restricted maximum likelihood, compared with numpy and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.pursuit import find_directions, start_beside
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks
from kan_exp.optimizers.smooth_search import Search, refined
from kan_exp.optimizers.smoothing import INFLATION, Smoothing, State
from kan_exp.tasks.losses import CrossEntropy, Squared


def draw(count, inputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, inputs, generator=generator, dtype=torch.double)
    noise = torch.randn(count, 1, generator=generator, dtype=torch.double)
    return x, (x[:, :1] * 2).sin() + 0.5 * x[:, -1:] + 0.3 * noise


def curves(x, y, loss=None, intervals=6):
    shape = Shape(x.shape[1], y.shape[1], 0, intervals + 2, 1, intervals + 2)
    basis = NaturalBasis.of(x, intervals, intervals + 1)
    problem = Smoothing(SmoothNetworks(shape, x, basis), y, loss or Squared())
    q = x.new_zeros(1, sum(shape.sizes))
    return Search(problem, State.of(q, problem.start_weights(1), 1e-10), None, 8)


def beside(search, hidden=2, count=3):
    """Networks with hidden units, from curves that have been fitted."""
    networks, y = search.problem.networks, search.problem.y
    x, old = networks.x, networks.shape
    shape = old._replace(hidden=hidden, inner=4)
    problem = Smoothing(SmoothNetworks(shape, x, networks.first), y, search.problem.loss)
    missing = y - networks.outputs(search.state.q, None)[0]
    found = find_directions(x, missing, hidden, count, torch.Generator().manual_seed(0))
    return Search(problem, *start_beside(search.state, problem, found), 8)


def test_the_basis_has_a_line_and_bends_of_unit_roughness():
    x = draw(80, 2)[0]
    basis = NaturalBasis.of(x, 5, 6)
    values = basis.values(x)
    line = values[..., 0]
    torch.testing.assert_close(line, (x - x.mean(0)) / x.std(0, correction=0))
    assert values[..., 1:].mean(0).abs().max() < 1e-12
    assert (values[..., 1:] * line.unsqueeze(-1)).mean(0).abs().max() < 1e-12
    count = 20_001
    low, high = basis.ends
    dense = basis.values(
        torch.lerp(low, high, torch.linspace(0, 1, count, dtype=torch.double)[:, None])
    )
    second = dense.diff(n=2, dim=0) * (count - 1) ** 2
    roughness = second.square().mean(0)
    assert roughness[:, 0].max() < 1e-6  # straight lines are not penalized
    torch.testing.assert_close(roughness[:, 1:], torch.ones(2, 6).double(), atol=2e-3, rtol=0)


def test_weights_maximize_the_restricted_likelihood():
    x, y = draw(60, 2)
    search = curves(x, y)
    for _ in range(400):
        search.step()
    problem, found = search.problem, search.state.weights[0]
    hessian, _, _ = problem.expand(search.state.q, None)
    _, criteria = problem.update(hessian, search.state.weights, search.state.q, search.step().loss)
    groups = problem.networks.shape.groups().numpy()
    design = problem.networks.jacobian(search.state.q, None)[1][0, :, 0].numpy()
    target, n = y[:, 0].numpy(), len(y)

    def criterion(logs):
        """Minus twice the restricted log-likelihood, the variance of the noise profiled out."""
        weights = np.where(groups < 0, 0.0, n * np.exp(logs)[np.maximum(groups, 0)])
        matrix = design.T @ design + np.diag(weights)
        q = np.linalg.solve(matrix, design.T @ target)
        squares = np.sum((target - design @ q) ** 2) + np.sum(weights * q**2)
        free = n - np.sum(groups < 0)
        log_weights = np.sum(np.log(weights[groups >= 0]))
        return free * math.log(squares / free) + np.linalg.slogdet(matrix)[1] - log_weights

    logs = found.log().numpy()
    best = minimize(criterion, logs, method="Nelder-Mead", options={"maxiter": 4000})
    assert criterion(logs) <= best.fun + 1e-4  # it is as likely as the best that is found
    assert criterion(logs) < criterion(logs + 0.5) - 1e-3
    assert criterion(logs) < criterion(logs - 0.5) - 1e-3
    weights = np.where(groups < 0, 0.0, n * found.numpy()[np.maximum(groups, 0)])
    hat = design @ np.linalg.solve(design.T @ design + np.diag(weights), design.T)
    effective, squares = np.trace(hat), np.mean((target - hat @ target) ** 2)
    assert criteria.effective.item() == pytest.approx(effective, rel=1e-5)
    assert criteria.noise.item() == pytest.approx(squares * n / (n - effective), rel=1e-4)
    score = math.log(squares) - 2 * math.log(1 - INFLATION * effective / n)
    assert criteria.score.item() == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_jacobian_is_the_derivative(outputs):
    x = draw(12, 2)[0]
    shape = Shape(2, outputs, 2, 6, 4, 7)
    networks = SmoothNetworks(shape, x, NaturalBasis.of(x, 5, 6))
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(1, sum(shape.sizes), generator=generator, dtype=torch.double)
    second = NaturalBasis.of(networks.hidden(q), 5, 6, 0.05)
    expected = torch.autograd.functional.jacobian(lambda q: networks.outputs(q, second)[0], q)
    outputs, jacobian = networks.jacobian(q, second)
    torch.testing.assert_close(jacobian[0], expected[:, :, 0])
    torch.testing.assert_close(outputs, networks.outputs(q, second))


@pytest.mark.parametrize("loss", [Squared(), CrossEntropy()], ids=lambda loss: type(loss).__name__)
def test_a_step_never_raises_the_objective(loss):
    x, y = draw(60, 3)
    y = (y > 0).double() if isinstance(loss, CrossEntropy) else y
    search = curves(x, y, loss)
    for _ in range(5):
        search.step()
    search = beside(search)
    for _ in range(6):
        before, second = search.state, search.second
        after, _ = search.problem.step(before, second, 8)
        values = [
            search.problem.value(q, second) + (search.problem.penalty(after.weights) * q**2).sum(1)
            for q in (before.q, after.q)
        ]
        assert (values[1] <= values[0]).all()
        search.step()
    assert search.best is not None
    assert search.best.criteria.score.isfinite().all()


def test_hidden_units_find_a_product_and_a_finer_grid_is_the_same_function():
    x = draw(150, 3)[0]
    y = x[:, :1] * x[:, 1:2]
    search = curves(x, y)
    for _ in range(10):
        search.step()
    alone = float(search.winner().criteria.loss)
    search = beside(search)
    for _ in range(25):
        search.step()
    network = search.winner()
    assert float(network.criteria.loss) < 0.01 * alone
    old = search.problem.networks
    shape = old.shape._replace(additive=14, inner=14, outer=14)
    new = SmoothNetworks(shape, x, NaturalBasis.of(x, 12, 13))
    state, second = refined(network, old, new)
    before = old.outputs(network.state.q, network.second)
    assert (new.outputs(state.q, second) - before).abs().max() < 0.02 * before.std()


def refitted(problem, state, second, row):
    """Coordinates after one full Newton step on all points but one, at the same weights."""
    q, count = state.q, len(problem.y)
    kept = [k for k in range(count) if k != row]
    networks = problem.networks
    few = SmoothNetworks(networks.shape, networks.x[kept], networks.first)
    without = Smoothing(few, problem.y[kept], problem.loss)
    hessian, slope, _ = without.expand(q, second)
    share = (count - 1) / count  # means over fewer points, beside the same penalties
    penalty = problem.penalty(state.weights)
    matrix = share * hessian + torch.diag_embed(penalty)
    slope = share * slope + penalty * q
    whole = problem.expand(q, second)[1] + penalty * q  # not zero where no minimum is reached
    return q - torch.linalg.solve(matrix, (slope - whole).unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize(
    "loss", [Squared(), CrossEntropy(1e-3)], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize("hidden", [0, 2])
def test_points_are_left_out_as_in_a_fit_without_them(loss, hidden):
    x, y = draw(60, 2)
    if isinstance(loss, CrossEntropy):
        y = torch.bucketize(y[:, :1], torch.tensor([-0.5, 0.5]).double())
        y = torch.nn.functional.one_hot(y[:, 0]).double()
    search = curves(x, y, loss)
    for _ in range(8):
        search.step()
    if hidden:
        search = beside(search, hidden, 1)
        search.step()
    problem, state, second = search.problem, search.state, search.second
    found = problem.left_out(state, second)
    start, jacobian = problem.networks.jacobian(state.q, second)
    assert found.shape == (1, len(x), y.shape[1])
    for row in (0, 17):
        q = refitted(problem, state, second, row)
        outputs = start + (jacobian @ (q - state.q)[0])
        assert found[0, row].tolist() == pytest.approx(outputs[0, row].tolist(), rel=1e-6)
