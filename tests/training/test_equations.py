"""Trainings on the residuals of differential equations."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import pytest
import torch

from kan_exp.equations import Condition, Problem
from kan_exp.errors import KanExpError
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.translation import run_config
from kan_exp.tasks import Regression
from kan_exp.tasks.equation import Equation
from kan_exp.training.left_out import has_intervals
from kan_exp.training.solutions import solution_fields

SMALL = [
    *("data.num_val=100", "data.num_test=300", "evaluations=2", "refine.grids=[8]"),
    *("refine.num_candidates=[3]", "refine.steps=[25]", "refine.points=null", "logger=none"),
    "pde.points={interior: 150, edge: 20}",
]

SUMS = ["dims=[auto,3,auto]", "layers=null", "multiply=null"]


def solve(folder, *options):
    return make_experiment(run_config([*SMALL, *options], folder)).fit()


def weights_of(result):
    return torch.cat([part.flatten() for part in result.model.network.parameters()])


def test_poisson_is_solved_and_scored(tmp_path):
    border = "pde.conditions=[{on: border, equation: u}]"
    result = solve(tmp_path, "pde=poisson", "pde.factor=null", "pde.weight=0.0026", border)
    metrics = result.metrics
    assert metrics["test_relative_error"] < 0.05
    assert list(metrics["residuals"]) == ["the interior", "x=-1", "x=1", "y=-1", "y=1"]
    x = result.data.test.x
    truth = (math.pi * x).sin().prod(1, keepdim=True)
    torch.testing.assert_close(result.truth, truth)
    error = (result.predictions - truth).norm() / truth.norm()
    assert metrics["test_relative_error"] == pytest.approx(error.item())
    # From the definition: derivatives by automatic differentiation.
    points = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(result.model(points).sum(), points, create_graph=True)
    bends = [
        torch.autograd.grad(slopes[:, k].sum(), points, retain_graph=True)[0][:, k] for k in (0, 1)
    ]
    left = bends[0] + bends[1] + 2 * math.pi**2 * truth[:, 0]
    assert metrics["test_residual"] == pytest.approx(left.square().mean().sqrt().item())
    true = math.pi * torch.stack(
        [(math.pi * x).cos()[:, k] * (math.pi * x).sin()[:, 1 - k] for k in (0, 1)], 1
    )
    both = torch.cat([result.predictions, slopes], 1), torch.cat([truth, true], 1)
    h1 = (both[0] - both[1]).norm() / both[1].norm()
    assert metrics["test_h1_error"] == pytest.approx(h1.item())
    size = result.predictions.square().mean().sqrt().item()
    share = metrics["residuals"]["x=-1"] / size
    assert metrics["relative_residuals"]["x=-1"] == pytest.approx(share, rel=0.05)
    second = result.model.derivative(x, "dxx")
    torch.testing.assert_close(second[:, 0], bends[0])


def test_the_exact_solution_is_not_trained_on(tmp_path):
    options = ("pde=poisson", "refine.steps=[12]")
    first = solve(tmp_path, *options)
    other = solve(tmp_path, *options, "pde.exact=x+y")
    none = solve(tmp_path, *options, "pde.exact=null")
    assert torch.equal(weights_of(first), weights_of(other))
    assert torch.equal(weights_of(first), weights_of(none))
    assert "test_relative_error" not in none.metrics
    assert none.metrics["test_residual"] == first.metrics["test_residual"]
    assert none.task.judged_by == "test_residual"
    estimated = none.metrics["test_estimated_error"]
    assert 0.2 < estimated / first.metrics["test_relative_error"] < 2
    assert any("no exact solution" in note for note in none.metrics["notes"])


def test_a_solution_is_compared_with_a_table(tmp_path):
    rows = [(0.1 * i, 0.25 * j) for i in range(11) for j in range(5)]
    lines = [f"{x},{t},{math.exp(-0.1 * math.pi**2 * t) * math.sin(math.pi * x)}" for x, t in rows]
    file = tmp_path / "known.csv"
    file.write_text("\n".join(["x,t,u", *lines]))
    result = solve(tmp_path / "run", "pde=heat", f"pde.exact={file}")
    error = (result.predictions - result.truth).norm() / result.truth.norm()
    assert len(result.truth) == 55
    assert result.metrics["test_relative_error"] == pytest.approx(error.item())
    assert error < 0.01
    assert "test_h1_error" not in result.metrics
    fields = solution_fields(result.data, result.model)
    assert fields.exact is None
    assert fields.table[0].shape == (2, 55)
    file.write_text("x,t,u\n0.5,0.5,1\n0.5,3,1\n")
    with pytest.raises(
        KanExpError, match=r"pde.exact=.* has 1 of 2 rows off the domain, such as x"
    ):
        solve(tmp_path / "run", "pde=heat", f"pde.exact={file}")


def test_an_unknown_function_is_found_from_values_of_another(tmp_path):
    (tmp_path / "known.csv").write_text("t,u\n0.2,1.6\n0.5,2.5\n0.9,3.7\n")
    options = ("pde=lotka_volterra", "pde.inputs.t=[0,1]", "pde.continuation.t=null")
    more = ('pde.equation=["dt(u) - v", "dt(v)"]', "pde.exact=null", "data.measured=[u]")
    more = (*more, "pde.conditions=[]", f"data.path={tmp_path / 'known.csv'}")
    result = solve(tmp_path / "run", *options, *more)
    assert result.model.predict([[0.0], [1.0]]).tolist() == [
        pytest.approx([1, 3], rel=1e-4),
        pytest.approx([4, 3], rel=1e-4),
    ]


def test_a_problem_in_python_is_solved_like_its_formulas(tmp_path, monkeypatch):
    class Decay(Problem):
        inputs, coefficients = {"t": (0, 1)}, {"k": 2.0}
        conditions = (Condition("t=0", lambda at, u: u - 1),)
        exact = "exp(-2*t)"

        def interior(self, at, u):
            return u.dt + self.k * u

    module = ModuleType("my_module")
    module.Decay = Decay
    monkeypatch.setitem(sys.modules, "my_module", module)
    result = solve(tmp_path, "data=equation", "+pde._target_=my_module.Decay", "dims=[auto,auto]")
    assert result.metrics["test_relative_error"] < 1e-6
    assert result.metrics["test_h1_error"] < 1e-5


def test_a_continuation_ends_with_the_whole_problem(tmp_path):
    options = ("pde=heat", "pde.continuation={t: [0.2, 1]}", "pde.points.drawn_anew=0.5")
    result = solve(tmp_path, *options, *SUMS)
    assert result.metrics["steps"] == 50
    assert result.metrics["best_step"] > 25  # those of the first problem know t up to 0.2
    torch.testing.assert_close(result.model.x_mean, torch.tensor([0.5, 0.5]).double())
    assert result.metrics["test_relative_error"] < 0.1


def test_a_gradient_lowers_the_residuals(tmp_path):
    options = ("pde=poisson", "optimizer=adam", "steps=60", "batch_size=50", "scheduler=none")
    result = solve(tmp_path, *options, "log_every_n_steps=20")
    losses = [loss for _, loss in result.history["train"]]
    assert losses[-1] < 0.5 * losses[0]
    assert result.metrics["best_step"] == 60


@pytest.mark.parametrize("stretch", [True, False])
def test_a_gradient_follows_a_continuation(tmp_path, stretch):
    options = ("pde=heat", "optimizer=adam", "steps=40", "batch_size=50", "scheduler=none")
    more = ("pde.continuation={t: [0.2, 0.6, 1]}", f"pde.stretch={stretch}", "evaluations=4")
    more = (*more, 'pde.conditions=[{on: "t=0", equation: "u-x"}]')
    experiment = make_experiment(run_config([*SMALL, *options, *more], tmp_path))
    module, seen = experiment.module, []
    term = module._residue.__class__.term

    def watched(self, one, x):
        seen.append((module.global_step, self.ranges["t"][1]))
        return term(self, one, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._residue.__class__, "term", watched)
        result = experiment.fit()
    begun = {end: step for step, end in reversed(seen)}
    assert begun == {0.2: 0, 0.6: 10, 1: 20}
    assert result.metrics["best_step"] > 20  # earlier networks know a part of the range
    torch.testing.assert_close(result.model.x_mean[1], torch.tensor(0.5).double())


def test_an_unknown_coefficient_is_found_from_a_table(tmp_path):
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(60, 2, generator=generator, dtype=torch.float64)
    u = (-0.1 * math.pi**2 * x[:, 1]).exp() * (math.pi * x[:, 0]).sin()
    rows = [f"{a},{b},{value}" for (a, b), value in zip(x.tolist(), u.tolist(), strict=True)]
    (tmp_path / "known.csv").write_text("\n".join(["x,t,u", *rows]))
    options = ("pde=heat", "pde.unknown=[a]", "pde.coefficients.a=0.4", *SUMS)
    stages = ("refine.grids=[8,8]", "refine.num_candidates=[3,1]", "refine.steps=[15,25]")
    result = solve(tmp_path / "run", *options, *stages, f"data.path={tmp_path / 'known.csv'}")
    assert result.metrics["coefficients"]["a"] == pytest.approx(0.1, rel=0.01)
    assert result.metrics["best_step"] > 15  # in the first stage it has its start
    assert result.model.description["coefficients"] == result.metrics["coefficients"]


def test_a_solution_has_no_intervals():
    assert not has_intervals(Equation(["residual"], "residual"))
    assert has_intervals(Regression(["rmse"], "rmse"))


def test_a_solution_cannot_be_made_monotone(tmp_path):
    with pytest.raises(KanExpError, match="follows from its equation: leave monotone out"):
        solve(tmp_path, "pde=poisson", "monotone={x: 1}")


def test_an_unknown_coefficient_needs_something_known(tmp_path):
    with pytest.raises(KanExpError, match=r"set data\.path=FILE"):
        solve(tmp_path, "pde=heat", "pde.unknown=[a]")


def test_a_coefficient_that_nothing_determines_runs_away(tmp_path):
    # At the beginning the solution does not depend on it.
    (tmp_path / "known.csv").write_text("x,t,u\n0.5,0,1\n")
    options = ("pde=heat", "pde.unknown=[a]", 'pde.equation="dt(u) + a*u"', "pde.weight=0.1")
    stages = ("refine.grids=[8,8]", "refine.num_candidates=[1]", "refine.steps=[2,60]")
    ends = 'pde.conditions=[{on: "t=1", equation: u}]'
    result = solve(tmp_path / "run", *options, *stages, ends, f"data.path={tmp_path / 'known.csv'}")
    assert result.diverged is not None
    assert "a ran away from 0.1" in str(result.diverged)


def test_tables_have_no_second_derivatives(tmp_path):
    with pytest.raises(KanExpError, match="derivatives of order 2, which edges of degree 1"):
        solve(tmp_path, "pde=poisson", *SUMS, "layer=interpo")


@pytest.mark.parametrize("option", ["prune=auto", "replicas=2", "explain.enabled=true"])
def test_what_means_nothing_is_refused(tmp_path, option):
    with pytest.raises(KanExpError, match="does not go with data=equation"):
        solve(tmp_path, "pde=poisson", "optimizer=adam", option)


def test_a_gradient_ends_where_a_coefficient_runs_away(tmp_path):
    options = ("pde=heat", "pde.unknown=a", "data.observed=5", "optimizer=adam", "optimizer.lr=50")
    result = solve(tmp_path, *options, "scheduler=none", "steps=20", "batch_size=50")
    assert "a ran away from 0.1 to" in str(result.diverged)
    assert "lower optimizer.lr" in str(result.diverged)
