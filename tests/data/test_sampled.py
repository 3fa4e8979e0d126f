"""Samples of a target: where they lie, what noise they carry, and what decides them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kan_exp.data import SampledData
from kan_exp.errors import KanExpError
from kan_exp.targets import Target

FORMULA = "exp(sin(pi*x) + y**2)"
DOMAIN = [[-0.5, 2.0], [3.0, 3.5]]
SPLITS = ("train", "val", "test")


def sampled(noise: float = 0.0, seed: int = 0, sizes=(4000, 3000, 2000), **changes) -> SampledData:
    options = {"formula": FORMULA, "domain": DOMAIN, "noise": noise, **changes}
    return SampledData(Target(**options), *sizes, seed=seed)


def oracle(x: torch.Tensor) -> np.ndarray:
    a, b = x.double().numpy().T
    return np.exp(np.sin(np.pi * a) + b**2)[:, None]


def test_points_fill_the_domain():
    data = sampled()
    for name, size in zip(SPLITS, (4000, 3000, 2000), strict=True):
        x, y, _ = getattr(data, name)
        assert x.shape == (size, 2)
        assert y.shape == (size, 1)
        for column, (low, high) in zip(x.double().T, DOMAIN, strict=True):
            assert low <= column.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < column.max() <= high
            shares = np.histogram(column, bins=4, range=(low, high))[0] / size
            np.testing.assert_allclose(shares, 0.25, atol=0.05)  # uniform
    assert data.features == ("x", "y")


def test_splits_share_no_points():
    data = sampled(noise=0.1)
    points = [{tuple(row) for row in getattr(data, name).x.tolist()} for name in SPLITS]
    assert [len(rows) for rows in points] == [4000, 3000, 2000]
    assert len(set.union(*points)) == 9000


def test_without_noise_every_value_is_the_formulas():
    data = sampled()
    for name in SPLITS:
        x, y, _ = getattr(data, name)
        np.testing.assert_allclose(y, oracle(x), rtol=1e-6)
    assert data.noise_free


def test_noise_is_in_training_and_validation_only():
    data = sampled(noise=7.0)
    errors = {
        name: getattr(data, name).y.numpy() - oracle(getattr(data, name).x) for name in SPLITS
    }
    for name in ("train", "val"):
        noise = errors[name][:, 0]
        assert noise.std() == pytest.approx(7.0, rel=0.05)
        assert abs(noise.mean()) < 0.5
        within = np.mean(np.abs(noise) < 7.0)
        assert within == pytest.approx(0.683, abs=0.03)  # normal
    pair = np.corrcoef(errors["train"][:3000, 0], errors["val"][:, 0])[0, 1]
    assert abs(pair) < 0.1
    np.testing.assert_allclose(data.test.y, oracle(data.test.x), rtol=1e-6)
    assert not data.noise_free


def test_the_seed_alone_decides_points_and_noise():
    state = torch.get_rng_state()
    first, again, other = sampled(0.1), sampled(0.1), sampled(0.1, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for name in SPLITS:
        assert torch.equal(getattr(first, name).x, getattr(again, name).x)
        assert torch.equal(getattr(first, name).y, getattr(again, name).y)
        assert not torch.equal(getattr(first, name).x, getattr(other, name).x)


def test_inputs_are_scaled_by_the_domain_and_the_output_by_the_training_points():
    data = sampled(noise=0.5, sizes=(7, 5, 5))
    (a, b), (c, d) = DOMAIN
    scaling = data.scaling
    np.testing.assert_allclose(scaling.x_mean, [(a + b) / 2, (c + d) / 2], rtol=1e-6)
    expected = [(b - a) / math.sqrt(12), (d - c) / math.sqrt(12)]
    np.testing.assert_allclose(scaling.x_std, expected, rtol=1e-6)
    y = data.train.y.double().numpy()
    np.testing.assert_allclose(scaling.y_mean, y.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scaling.y_std, y.std(0), rtol=1e-5)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 0, -3])
def test_counts_below_two_are_refused_by_name(place, count):
    sizes = [5, 5, 5]
    sizes[place] = count
    rule = rf"^data\.num_{SPLITS[place]} must be a whole number of at least 2, got {count}\.$"
    with pytest.raises(KanExpError, match=rule):
        sampled(sizes=sizes)


def test_the_summary_says_what_was_drawn():
    assert sampled(0.25).summary == (
        f"{FORMULA}, noise 0.25; 4,000 train, 3,000 validation, 2,000 test points"
    )
    assert "noise" not in sampled().summary


def test_known_edges_are_the_targets():
    data = sampled(components=[["sin(pi*x)", "y**2"], ["exp(h)"]], sizes=(20, 5, 5))
    x = data.train.x
    first, second = data.true_edges(x)
    a, b = x.double().numpy().T
    expected = np.stack([np.sin(np.pi * a), b**2], 1)
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second, oracle(x), rtol=1e-5)
    assert sampled(sizes=(5, 5, 5)).true_edges(x) == []


def with_border(border: float, seed: int = 0, **changes) -> SampledData:
    options = {"formula": FORMULA, "domain": DOMAIN, **changes}
    return SampledData(Target(**options), 4000, 300, 200, seed=seed, border=border)


def test_a_share_of_the_training_points_lies_on_the_border():
    data, uniform = with_border(0.1), with_border(0.0)
    x = data.train.x
    ends = torch.tensor(DOMAIN)
    at_end = torch.stack([x == ends[:, 0], x == ends[:, 1]])  # (ends, points, inputs)
    np.testing.assert_allclose(at_end.double().mean(1), 0.05, atol=0.015)
    np.testing.assert_allclose(data.train.y, oracle(x), rtol=1e-6)
    corners = at_end.any(0).all(1).double().mean()  # the inputs are moved independently
    assert 0.005 < corners < 0.02
    # All other values, and all other points, are what they are without a border.
    inside = ~at_end.any(0)
    assert torch.equal(x[inside], uniform.train.x[inside])
    assert torch.equal(data.val.x, uniform.val.x)
    assert torch.equal(data.test.x, uniform.test.x)
    assert torch.equal(x, with_border(0.1).train.x)


@pytest.mark.parametrize(
    ("formula", "domain"),
    [
        ("log(x)", [0, 1]),
        ("1/x + y", [[0, 2], [-1, 1]]),
        ("tan(pi*x/2)", [-1, 1]),  # where rounding makes the pole a finite 1.6e16
        ("1/sin(pi*x)", [0, 1]),
        ("sqrt(x - 1)", [1 - 1e-12, 2]),
    ],
)
def test_a_border_on_which_the_target_has_no_value_is_left_out(formula, domain):
    uniform = with_border(0.0, formula=formula, domain=domain)
    data = with_border(0.3, formula=formula, domain=domain)
    low, high = uniform.train.y.aminmax()
    assert data.train.y.isfinite().all()
    assert data.train.y.min() >= low - (high - low)
    assert data.train.y.max() <= high + (high - low)
    exact = Target(formula, domain=domain).formula(data.train.x.double())[:, None]
    torch.testing.assert_close(data.train.y, exact.float())


@pytest.mark.parametrize("border", [-0.1, 1, 1.5, math.nan, True, "0.1", None])
def test_a_border_that_is_no_share_is_refused(border):
    with pytest.raises(KanExpError, match=r"data.border must be at least 0 and below 1, got"):
        with_border(border)


def test_noise_is_added_on_the_border_too():
    data, exact = with_border(0.2, noise=0.5), with_border(0.2)
    assert torch.equal(data.train.x, exact.train.x)
    moved = (data.train.x[:, 0] == DOMAIN[0][0]) | (data.train.x[:, 0] == DOMAIN[0][1])
    noise = (data.train.y - exact.train.y)[moved]
    assert noise.std().item() == pytest.approx(0.5, rel=0.2)
