"""Every end has a name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from kan_exp.optimizers import (
    LeastSquares,
    LevenbergMarquardt,
    Problem,
    Tolerances,
    Value,
    minimize,
    start,
    step,
)
from kan_exp.optimizers.systems import System


def tensor(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def polynomial(residuals, jacobian) -> LeastSquares:
    return LeastSquares(residuals, lambda p: (residuals(p), jacobian(p)))


def root(power: int = 1, rest: float = 1.0) -> LeastSquares:
    """Minimises `p^(2 power) + rest^2`, whose least place is zero."""
    return polynomial(
        lambda p: torch.cat([p**power, torch.full_like(p, rest)], dim=1),
        lambda p: torch.stack([power * p ** (power - 1), torch.zeros_like(p)], dim=1),
    )


OFF = Tolerances(0, 0, 0)


@pytest.mark.parametrize(
    ("reason", "problem", "tolerances", "steps"),
    [
        ("gradient", root(), OFF._replace(gradient=1e-6), 50),
        ("step", root(rest=0), OFF._replace(step=0.5), 50),
        ("loss", root(3), OFF._replace(loss=1e-6), 50),
        ("loss", root(3), OFF, 200),  # none that lowers it within rounding
        ("steps", root(3), OFF, 4),
        ("non_finite", polynomial(lambda p: p * math.nan, lambda p: p[:, :, None]), OFF, 50),
    ],
)
def test_the_reason_is_named(reason, problem, tolerances, steps):
    _, state = minimize(problem, tensor(0.7), steps, tolerances=tolerances)
    assert state.reasons == [reason]


def test_the_least_place_is_a_place_to_stop():
    """Zero residuals and zero slopes, where ratios are 0 / 0."""
    for problem in (root(rest=0), root()):
        found, state = minimize(problem, tensor(0.0), 5)
        assert state.reasons == ["gradient"]
        assert found.item() == 0


def test_each_replica_stays_where_it_stopped():
    problem, starts = root(3), torch.tensor([[0.0], [0.01], [5.0]], dtype=torch.float64)
    together, state = minimize(problem, starts, 100)
    for k in range(3):
        alone, its = minimize(problem, starts[k : k + 1], 100)
        assert alone.item() == together[k].item()
        assert its.reasons == [state.reasons[k]]
    assert state.reasons[0] == "gradient"
    assert state.stalled.all()


def test_the_optimizer_says_why_it_goes_no_further():
    x = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
    model = nn.Linear(1, 1)
    optimizer = LevenbergMarquardt(model)
    assert optimizer.stopped == [None]
    optimizer.step(lambda: (x, x**2))
    assert optimizer.stopped == [None]
    for _ in range(20):
        optimizer.step(lambda: (x, x**2))
    assert optimizer.stopped[0] in ("gradient", "loss")
    optimizer.step(lambda: (x, x * math.nan))
    assert optimizer.stopped == ["non_finite"]


@pytest.mark.parametrize("name", ["gradient", "step", "loss"])
def test_bad_tolerances_are_named(name):
    said = f"LevenbergMarquardt needs {name}_tolerance at least 0, got -1"
    with pytest.raises(ValueError, match=said):
        LevenbergMarquardt(nn.Linear(1, 1), **{f"{name}_tolerance": -1})


class Foretold(Problem):
    """A step that gains 1 of 100, where the model has foretold more."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def evaluate(self, parameters):
        objective = 100 - parameters.sum(1)
        return Value(objective, objective)

    def expand(self, parameters):
        problem = self

        class Model(System):
            def step(self, damping):
                return torch.ones_like(parameters), torch.full_like(damping, problem.gain)

            def solve(self, damping, added):
                raise NotImplementedError

        ones = torch.ones_like(parameters)
        return self.evaluate(parameters), Model(ones, ones)


@pytest.mark.parametrize(("gain", "reason"), [(3.9, "loss"), (4.1, None), (1000.0, None)])
def test_a_small_fall_is_the_last_only_where_it_was_foretold(gain, reason):
    start_state = start(Foretold(gain), tensor(0.0), 1.0)
    found, state, _ = step(Foretold(gain), tensor(0.0), start_state, 1, OFF._replace(loss=0.02))
    assert found.item() == 1
    assert state.reasons == [reason]


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.7, 0.9, 1.0, 3.0])
def test_damping_follows_the_gain_ratio_as_nielsens(ratio):
    problem = Foretold(1 / ratio)
    _, state, _ = step(problem, tensor(0.0), start(problem, tensor(0.0), 0.6), 1, OFF)
    expected = 0.6 * min(1, max(1 / 3, 1 - (2 * ratio - 1) ** 3))
    assert state.damping.item() == pytest.approx(expected, rel=1e-12)


def test_damping_grows_fourfold_where_nothing_is_gained():
    state = start(root(3), tensor(0.0), 0.6)
    worse = Foretold(-1.0)
    worse.evaluate = lambda p: Value(100 + p.sum(1), 100 + p.sum(1))
    found, state, _ = step(worse, tensor(0.0), state, 3, OFF)
    assert found.item() == 0
    assert state.damping.item() == pytest.approx(0.6 * 4**3)
    assert state.reasons == ["loss"]
