"""What networks read in the place of inputs."""

from __future__ import annotations

import math

import pytest
import torch

from kan_exp.equations import AllenCahnSolution
from kan_exp.equations.features import Features
from kan_exp.errors import KanExpError

RANGES = {"x": (-1.0, 1.0), "t": (0.0, 2.0)}
POINTS = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)).double() * 2


def test_derivatives_are_those_of_the_formulas():
    features = Features(["x", "t"], {"x": ["sin(pi*x)", "x**3"]})
    assert features.columns == ("sin(pi*x)", "x**3", "t")
    x, t = POINTS.unbind(1)
    jets = features.jets(POINTS, [(), (0,), (1,), (0, 0), (0, 1), (1, 1)])
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    expected = {
        (): [(math.pi * x).sin(), x**3, t],
        (0,): [math.pi * (math.pi * x).cos(), 3 * x**2, zero],
        (1,): [zero, zero, one],
        (0, 0): [-(math.pi**2) * (math.pi * x).sin(), 6 * x, zero],
    }
    assert set(jets) == set(expected)  # the others are zero everywhere
    for key, columns in expected.items():
        torch.testing.assert_close(jets[key], torch.stack(columns, -1))


def test_ends_are_those_of_the_ranges():
    ends = Features(["x", "t"], {"x": "x**2"}).ends(RANGES)
    torch.testing.assert_close(ends, torch.tensor([[0.0, 1.0], [0.0, 2.0]]).double())


def test_points_follow_features_and_their_sizes_make_up_for_it():
    features = Features(["x", "t"], {"x": "asinh(100*x)"})
    t = torch.linspace(0, 2, 2000).double()
    even = torch.stack([torch.linspace(-1, 1, 2000).double(), t], -1)
    graded = features.grade(even, RANGES)
    assert torch.equal(graded[:, 1], t)
    assert torch.equal(graded[[0, -1]], even[[0, -1]])
    inside = (graded[:, 0].abs() < 0.1).double().mean()
    share = math.asinh(10) / math.asinh(100)
    assert inside.item() == pytest.approx((share + 0.1) / 2, abs=0.01)
    sizes = features.sizes(graded, RANGES)
    mean = (sizes * graded[:, 0].square()).mean()
    assert mean.item() == pytest.approx(1 / 3, rel=1e-2)  # the mean over the domain


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": "y**2"}, "pde.features.y: there is no such input"),
        ({"x": "x*t"}, "pde.features.x"),
        ("x**2", "must have formulas by the names of inputs"),
    ],
)
def test_what_is_no_feature_is_refused(given, message):
    with pytest.raises(KanExpError, match=message):
        Features(["x", "t"], given)


def test_allen_cahn_is_solved_as_a_finer_grid_does():
    options = {"a": 0.01, "b": 5, "start": "x**2*cos(pi*x)"}
    coarse, fine = (
        AllenCahnSolution(**options, nodes=n, steps=s) for n, s in ((256, 50), (512, 200))
    )
    points = torch.stack([POINTS[:, 0] - 1, POINTS[:, 1] / 2], -1)
    torch.testing.assert_close(coarse(points), fine(points), atol=1e-3, rtol=0)
    # From the definition, by differences away from the kink of the start.
    points = points[(points[:, 0].abs() < 0.8) & (points[:, 1] > 0.1) & (points[:, 1] < 0.9)]
    step = 1e-3

    def along(place, sign):
        return fine(points + sign * step * torch.eye(2).double()[place])

    u = fine(points)
    rate = (along(1, 1) - along(1, -1)) / (2 * step)
    bend = (along(0, 1) - 2 * u + along(0, -1)) / step**2
    torch.testing.assert_close(rate, 0.01 * bend + 5 * (u - u**3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("formula", "what"),
    [
        ("0*x", "constant"),
        (3, "constant"),
        ("log(x)", "not finite everywhere"),
    ],
)
def test_a_feature_that_tells_no_points_apart_is_refused(formula, what):
    with pytest.raises(KanExpError, match=rf"pde.features.x: .* is {what} for x from -1 to 1"):
        Features(["x"], {"x": formula}).ends({"x": (-1.0, 1.0)})
