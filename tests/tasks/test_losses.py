"""Losses against autograd, SciPy and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.optimize import minimize as scipy_minimize
from torch import nn
from torch.autograd.functional import hessian
from torch.nn import functional

from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.tasks.losses import BinaryCrossEntropy, CrossEntropy, Huber, Pinball, Poisson, Squared


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def perceptron(*dims: int, dtype=torch.float64) -> nn.Sequential:
    layers = []
    for k, (fan_in, fan_out) in enumerate(itertools.pairwise(dims)):
        linear = nn.Linear(fan_in, fan_out).to(dtype)
        linear.weight.data = normal(fan_out, fan_in, seed=k).to(dtype) / fan_in**0.5
        linear.bias.data.zero_()
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def pinball(f, y, shares, width):
    """By Huber's loss of torch, which is half a parabola."""
    size = functional.huber_loss(f, y.expand_as(f), reduction="none", delta=width) / width
    return (size / 2 + (shares - 0.5) * (y - f)).mean()


CLASSES = torch.tensor([2, 0, 1, 1, 2])
COUNTS = torch.tensor([[0, 1, 2], [3, 0, 0], [7, 1, 1], [0, 0, 20], [2, 2, 2]]).double()
CASES = {
    "squared": (Squared(), normal(5, 3, seed=1), lambda f, y: functional.mse_loss(f, y)),
    "huber": (
        Huber(0.7),
        normal(5, 3, seed=1),
        lambda f, y: 2 * functional.huber_loss(f, y, delta=0.7),
    ),
    "binary": (
        BinaryCrossEntropy(),
        (normal(5, 3, seed=1) > 0).double(),
        functional.binary_cross_entropy_with_logits,
    ),
    "classes": (CrossEntropy(), CLASSES, functional.cross_entropy),
    "binary ridge": (
        BinaryCrossEntropy(0.1),
        (normal(5, 3, seed=1) > 0).double(),
        lambda f, y: functional.binary_cross_entropy_with_logits(f, y) + 0.1 * f.square().mean(),
    ),
    "classes ridge": (
        CrossEntropy(0.1),
        CLASSES,
        lambda f, y: functional.cross_entropy(f, y) + 0.1 * f.square().sum(-1).mean(),
    ),
    "class numbers": (
        CrossEntropy(),
        CLASSES[:, None].double(),
        lambda f, y: functional.cross_entropy(f, y[:, 0].long()),
    ),
    "counts": (
        Poisson(0.1),
        COUNTS,
        lambda f, y: (
            functional.poisson_nll_loss(f, y)
            - functional.poisson_nll_loss(y.clamp(min=1e-300).log(), y)
            + 0.1 * f.square().mean()
        ),
    ),
    "quantiles": (
        Pinball([0.1, 0.5, 0.9], 0.7),
        normal(5, 1, seed=1),
        lambda f, y: pinball(f, y, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), 0.7),
    ),
    "chances": (CrossEntropy(), normal(5, 3, seed=1).softmax(-1), functional.cross_entropy),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_slope_are_torchs_and_the_curvature_is_half_the_hessian(name):
    loss, y, reference = CASES[name]
    outputs = normal(1, 5, 3).requires_grad_()
    value = reference(outputs[0], y)
    assert loss.values(outputs, y).mean().item() == pytest.approx(value.item(), rel=1e-12)
    (slope,) = torch.autograd.grad(value, outputs)
    local = loss.expand(outputs.detach(), y)
    torch.testing.assert_close(2 * local.pull(local.residuals) / 5, slope, rtol=1e-10, atol=1e-12)
    eye = torch.eye(3, dtype=torch.float64).expand(1, 5, 3, 3)
    root = local.weigh(eye)
    for sample in range(5):
        exact = hessian(
            lambda f, y=y[sample : sample + 1]: reference(f[None], y), outputs[0, sample]
        )
        found = 2 * root[0, sample].T @ root[0, sample]
        if name in ("huber", "quantiles"):  # a parabola that touches the loss from above
            assert torch.linalg.eigvalsh(found - exact).min() > -1e-12
        else:
            torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)


def test_a_line_through_outliers_is_scipys():
    x = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    y = 2 * x - 0.5 + 0.05 * normal(40, 1)
    y[::9] += 30
    line = nn.Linear(1, 1).double()
    optimizer = LevenbergMarquardt(line, loss=Huber(0.1))
    for _ in range(100):
        optimizer.step(lambda: (x, y))
    expected = least_squares(
        lambda p: (p[0] * x + p[1] - y).numpy().ravel(),
        [0.0, 0.0],
        loss="huber",
        f_scale=0.1,
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    ).x
    found = [line.weight.item(), line.bias.item()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found == pytest.approx([2, -0.5], abs=0.1)  # outliers of 30 drew it nowhere


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_newtons(classes):
    x = normal(80, 2)
    y = (x @ normal(2, classes, seed=1) + normal(80, classes, seed=2)).argmax(1)
    held = 0.01 * torch.eye(3 * classes, dtype=torch.float64)  # makes the softmax's solution one
    model = nn.Linear(2, classes).double()
    optimizer = LevenbergMarquardt(model, loss=CrossEntropy(), quadratic=lambda _: held)
    for _ in range(30):
        optimizer.step(lambda: (x, y))

    def objective(flat):
        p = torch.from_numpy(flat).requires_grad_()
        logits = x @ p[: 2 * classes].view(classes, 2).T + p[2 * classes :]
        value = functional.cross_entropy(logits, y) + p @ held @ p
        return value.item(), torch.autograd.grad(value, p)[0].numpy()

    expected = scipy_minimize(objective, np.zeros(3 * classes), jac=True, options={"gtol": 1e-10}).x
    found = torch.cat([part.detach().flatten() for part in model.parameters()])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert optimizer.stopped == ["gradient"] or optimizer.stopped == ["loss"]


def test_a_yes_or_no_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = normal(100, 3)
    y = (x[:, :1] - x[:, 1:2] + normal(100, 1, seed=1) > 0).double()
    model = nn.Linear(3, 1).double()
    optimizer = LevenbergMarquardt(model, loss=BinaryCrossEntropy())
    for _ in range(30):
        (value,) = optimizer.step(lambda: (x, y))
    peer = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    peer.fit(x.numpy(), y.numpy().ravel())
    np.testing.assert_allclose(model.weight.detach().numpy(), peer.coef_, rtol=1e-5)
    logits = torch.from_numpy(peer.decision_function(x.numpy()))[:, None]
    expected = functional.binary_cross_entropy_with_logits(logits, y)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)


def test_classes_that_can_be_told_apart_are():
    """The loss falls towards nothing, where probabilities round to 0 and 1."""
    x = normal(60, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = perceptron(2, 12, 2, dtype=torch.float32)
    optimizer = LevenbergMarquardt(model, loss=CrossEntropy())
    losses = [optimizer.step(lambda: (x, y)).item() for _ in range(60)]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(losses))
    assert losses[-1] < 1e-3
    assert (model(x.float()).argmax(1) == y).all()


@pytest.mark.parametrize(
    ("loss", "y", "said"),
    [
        (Squared(), torch.zeros(7), r"Squared needs y in the shape of the outputs, \(7, 3\)"),
        (CrossEntropy(), torch.zeros(7), "CrossEntropy needs y to be 7 whole numbers"),
        (CrossEntropy(), torch.full((7,), 3), "CrossEntropy needs classes from 0 to 2"),
        (BinaryCrossEntropy(), torch.zeros(7, 1), "BinaryCrossEntropy needs y in the shape"),
    ],
)
def test_values_that_do_not_go_with_the_loss_are_told(loss, y, said):
    optimizer = LevenbergMarquardt(perceptron(2, 3), loss=loss)
    with pytest.raises(ValueError, match=said):
        optimizer.step(lambda: (normal(7, 2), y))


@pytest.mark.parametrize("classes", [2, 3])
def test_separable_classes_keep_finite_logits(classes):
    """The optimum of the ridge is reached, far from where probabilities round to 0 and 1."""
    x = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]
    y = ((x + 1) * classes / 2.001).floor()
    model = nn.Linear(1, 1 if classes == 2 else 3).double()
    optimizer = LevenbergMarquardt(model, loss=CrossEntropy(1e-4))
    for _ in range(100):
        optimizer.step(lambda: (x, y))
    assert optimizer.stopped[0] in ("gradient", "loss", "step")
    assert 3 < model(x).detach().abs().max() < 40


def test_a_quantile_is_that_of_the_values():
    y = normal(999, 1)
    model = nn.Linear(1, 2, bias=False).double()
    optimizer = LevenbergMarquardt(model, loss=Pinball([0.25, 0.9], 0.01))
    for _ in range(60):
        optimizer.step(lambda: (torch.ones(999, 1), y))
    expected = y.quantile(torch.tensor([0.25, 0.9], dtype=torch.float64))
    torch.testing.assert_close(model.weight[:, 0].detach(), expected, atol=0.01, rtol=0)


def test_counts_are_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = normal(100, 2)
    y = torch.poisson((x[:, :1] - 1).exp(), generator=seeded(3))
    model = nn.Linear(2, 1).double()
    optimizer = LevenbergMarquardt(model, loss=Poisson())
    for _ in range(30):
        optimizer.step(lambda: (x, y))
    peer = linear_model.PoissonRegressor(alpha=0, tol=1e-12, max_iter=1000).fit(x, y.ravel())
    np.testing.assert_allclose(model.weight.detach().numpy()[0], peer.coef_, rtol=1e-5)


def test_huber_needs_a_width():
    with pytest.raises(ValueError, match="Huber needs delta above 0, got 0"):
        Huber(0)
    with pytest.raises(ValueError, match="Pinball needs quantiles between 0 and 1"):
        Pinball([1.0], 0.1)
    with pytest.raises(ValueError, match="Poisson needs ridge of at least 0, got -1"):
        Poisson(-1)
