"""Problems: what their formulas mean, where their points are, and what is wrong with them."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch.func import jacrev, vmap

from kan_exp.equations import Condition, FormulaProblem, IntegratedSolution, Problem
from kan_exp.equations.fields import Field
from kan_exp.equations.frame import Frame
from kan_exp.equations.notes import notes_on
from kan_exp.equations.points import compile_relation, draw_points, pointwise
from kan_exp.errors import KanExpError
from kan_exp.targets.derivatives import read_derivative

BURGERS = {
    "inputs": {"x": [-1, 1], "t": [0, 1]},
    "equation": "dt(u) + u*dx(u) - nu*dxx(u)",
    "coefficients": {"nu": 0.01},
    "conditions": [
        {"on": "t=0", "equation": "u + sin(pi*x)", "weight": 10},
        {"on": "x=-1", "equation": "u"},
        {True: "x=1", "equation": "u"},  # as YAML reads the word `on`
    ],
}


class Burgers(Problem):
    inputs, coefficients = {"x": (-1, 1), "t": (0, 1)}, {"nu": 0.01}
    conditions = (
        Condition("t=0", lambda at, u: u + torch.sin(math.pi * at.x), weight=10),
        Condition("x=-1", lambda at, u: u),
        Condition("x=1", lambda at, u: u),
    )

    def interior(self, at, u):
        return u.dt + u * u.dx - self.nu * u.dxx


def burgers(**changes):
    return FormulaProblem(**{**BURGERS, **changes})


@pytest.mark.parametrize(
    ("name", "inputs", "key"),
    [
        ("dx", "xt", (0,)),
        ("dtx", "xt", (0, 1)),
        ("dxx", "xt", (0, 0)),
        ("d_temp_temp", ["temp", "t"], (0, 0)),
        ("dtemp", ["temp", "t"], (0,)),
        ("dz", "xt", None),
        ("x", "xt", None),
        ("d", "xt", None),
        (None, "xt", None),
    ],
)
def test_names_of_derivatives(name, inputs, key):
    assert read_derivative(name, list(inputs)) == key


def test_a_name_that_can_be_read_in_two_ways_is_refused():
    with pytest.raises(KanExpError, match="dxx can mean d_x_x, d_xx"):
        read_derivative("dxx", ["x", "xx"])


def test_python_and_formulas_mean_the_same():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(5, 2, generator=generator, dtype=torch.float64)
    values = {
        key: torch.rand(3, 5, 1, generator=generator, dtype=torch.float64)
        for key in [(), (0,), (1,), (0, 0)]
    }
    none = torch.zeros(3, 5, 0, dtype=torch.float64)
    made = []
    for problem in (burgers(), Burgers()):
        relations = [compile_relation(problem, one) for one in problem.relations]
        assert relations[0].keys == ((), (0,), (0, 0), (1,))
        assert [one.relation.weight for one in relations] == [1, 10, 1, 1]
        made.append([pointwise(problem, one, {})(x, values, none) for one in relations])
    for first, second in zip(*made, strict=True):
        torch.testing.assert_close(first, second)
    u, dx, dt, dxx = (values[key] for key in [(), (0,), (1,), (0, 0)])
    torch.testing.assert_close(made[0][0], dt + u * dx - 0.01 * dxx)


def test_an_unknown_coefficient_is_its_start_times_an_exponential():
    problem = burgers(unknown=["nu"])
    inside = compile_relation(problem, problem.relations[0])
    jets = {key: torch.ones(1, 2, 1).double() for key in inside.keys}
    left = pointwise(problem, inside, {}, ["nu"])(
        torch.zeros(2, 2).double(), jets, torch.ones(1, 2, 1)
    )
    torch.testing.assert_close(left, torch.full_like(left, 2 - 0.01 * math.e))


def test_a_system_has_its_functions_in_the_order_of_the_text():
    problem = FormulaProblem(
        ["dt(u) - u + u*v", "dt(v) + v - u*v"],
        [{"on": "t=0", "equation": ["u - 2", "v - 1"]}],
        inputs={"t": [0, 1]},
    )
    assert problem.outputs == ("u", "v")
    start = compile_relation(problem, problem.relations[1])
    assert start.equations == 2
    ranges = problem.ranges
    one = draw_points(problem, start.relation, 50, ranges, torch.Generator().manual_seed(0))
    assert one.tolist() == [[0.0]]


def test_points_lie_where_relations_hold():
    problem = FormulaProblem(
        "dxx(u) + dyy(u) + 1",
        [{"on": "border", "equation": "u"}],
        inputs={"x": [-1, 1], "y": [-1, 1]},
        inside="1 - x**2 - y**2",
    )
    draws = torch.Generator().manual_seed(0)
    inside, border = (
        draw_points(problem, one, 200, problem.ranges, draws) for one in problem.relations
    )
    assert inside.shape == border.shape == (200, 2)
    assert inside.square().sum(1).max() < 1
    torch.testing.assert_close(border.square().sum(1), torch.ones(200).double())
    rectangle = burgers()
    ranges = {**rectangle.ranges, "t": (0.0, 0.25)}
    x = draw_points(rectangle, rectangle.relations[1], 64, ranges, draws)
    assert not x[:, 1].any()
    assert x[:, 0].sort().values.diff().max() < 0.1  # spread evenly


def test_a_continuation_leads_to_the_problem():
    problem = burgers(continuation={"t": [0.1, 0.5, 1], "nu": [0.1, 0.03, 0.01]})
    assert problem.num_continuations == 3
    assert problem.continued(0) == ({"x": (-1, 1), "t": (0, 0.1)}, {"nu": 0.1})
    assert problem.continued(2) == ({"x": (-1, 1), "t": (0, 1)}, {"nu": 0.01})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"equation": "dt(u) + mu*dx(u)"}, "uses 'mu', which is no input"),
        ({"equation": "dt(u) + dz(u)"}, "'dz', which is no derivative by x, t"),
        ({"equation": "dx(u*u)"}, r"derives 'u\*u': only unknown functions"),
        ({"equation": "dx(v)", "outputs": ["u"]}, "derives 'v', but the unknown functions are u"),
        ({"equation": "u + x"}, "has no derivative of an unknown function"),
        ({"inputs": {"x": [-1, 1], "t": None}}, "pde.inputs.t needs a range"),
        ({"inputs": {"x": [1, -1], "t": [0, 1]}}, "pde.inputs.x needs a range from low to high"),
        ({"conditions": [{"on": "x=3", "equation": "u"}]}, "off the domain, where x is from -1"),
        ({"conditions": [{"on": "y=0", "equation": "u"}]}, "must be border or as x=-1"),
        ({"conditions": [{"on": "x=1"}]}, r"pde.conditions\[0\].equation is needed"),
        ({"conditions": [{"on": "x=1", "equation": "u", "wieght": 2}]}, "Did you mean 'weight'"),
        ({"unknown": ["mu"]}, "'mu', which is no coefficient"),
        ({"unknown": ["nu"], "coefficients": {"nu": 0}}, "keeps its sign"),
        ({"continuation": {"t": [0.1, 0.5]}}, "must end with 1"),
        ({"continuation": {"s": [1]}}, "there is no such input or coefficient"),
        ({"points": {"interior": 0}}, "must be a whole number above 0"),
        ({"points": {"inside": 5}}, "pde.points.inside: there is no such option"),
        ({"exact": "x + z"}, "uses 'z', but its inputs are x, t"),
        ({"weight": 0}, "pde.weight must be above 0"),
        ({"wieght": 1}, "pde.wieght: there is no such option. Did you mean 'weight'"),
        ({"equation": []}, "pde.equation must be a formula that is zero for a solution"),
        ({"equation": "dt(u) = -u"}, "write what is zero, the left side minus the right"),
        ({"equation": "dt(dt(u))"}, r"as in dt\(u\) and dxx\(u\)"),
        ({"inputs": {"x 1": [0, 1]}, "equation": "d_x(u)"}, "pde.inputs must be names of letters"),
        ({"inputs": {"x": ["a", 1], "t": [0, 1]}}, "pde.inputs.x must be a finite number, or a"),
        ({"outputs": 3}, "pde.outputs must be a list of names"),
        ({"coefficients": {"nu": 1, "ranges": 1}}, "ranges is a name of FormulaProblem's"),
        ({"unknown": ["nu", "nu"]}, "pde.unknown must be different names"),
        ({"unknown": "mu"}, "pde.unknown has 'mu', which is no coefficient"),
        ({"conditions": {"on": "t=0"}}, "pde.conditions must be a list"),
        ({"conditions": [{"on": "t=0,t=1", "equation": "u"}]}, "has two values of t: leave one"),
        ({"conditions": [{"on": "t=a", "equation": "u"}]}, "on='t=a' must be a finite number"),
        ({"conditions": [{"on": "t=0", "equation": []}]}, r"conditions\[0\].equation must be a"),
        ({"continuation": [1]}, "must have values by the names of inputs or coefficients"),
        ({"continuation": {"t": [2, 1]}}, "must ascend from above 0, where t begins"),
        ({"features": {"x": []}}, "pde.features.x must have a formula of x"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_input_is_one_line(changes, message):
    with pytest.raises(KanExpError, match=message) as raised:
        burgers(**changes)
    assert "\n" not in str(raised.value)


def test_an_equation_without_the_unknown_function_is_refused():
    problem = burgers(conditions=[{"on": "t=0", "equation": "x - x"}])
    with pytest.raises(KanExpError, match="on t=0 uses none of u"):
        compile_relation(problem, problem.relations[1])


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (lambda self, at, u: u.dz, "u.dz is no derivative by x, t"),
        (lambda self, at, u: u.sin(), "such as torch.sin(u)"),
        (lambda self, at, u: u.dx + at.y, "the inputs are x, t, of which at.y is none"),
        (lambda self, at, u: None, "must return a tensor, or several, got NoneType"),
        (lambda self, at, u: [], "must return a tensor, or several, got none"),
        (lambda self, at, u: u.dx.sum(), "one value for each of 3 points"),
        (lambda self, at, u: torch.stack([u.dx, u.dt]), "several equations are a list"),
        (lambda self, at, u: u.dx if u else u.dt, "is ambiguous"),
    ],
)
def test_a_wrong_residual_in_python_is_refused(residual, message):
    problem = type("Wrong", (Burgers,), {"interior": residual})()
    with pytest.raises(KanExpError, match=re.escape(message)):
        compile_relation(problem, problem.relations[0])


def test_a_field_takes_part_in_arithmetic_and_functions():
    value = torch.tensor([-2.0, 0.5, 3.0])
    u = Field(value, lambda name: value)
    for found, expected in (
        (abs(u) + (+u) - (-u), value.abs() + 2 * value),
        (2**u % 3, 2**value % 3),
        (torch.where(u > 0, u, 1 / u), value.where(value > 0, 1 / value)),
        (torch.maximum(u, other=u), value),
    ):
        torch.testing.assert_close(found, expected)


def test_options_complete_what_a_class_says():
    own = type("Own", (Burgers,), {"points": {"interior": 5, "edge": 7}})
    points = {"interior": None, "edge": 9, "drawn_anew": None}
    problem = own(points=points, inputs={"t": [0, 2]}, coefficients={"nu": "pi/2"})
    assert problem.points == {"interior": 5, "edge": 9, "drawn_anew": 0}
    assert problem.ranges == {"x": (-1, 1), "t": (0, 2)}
    assert problem.coefficients == {"nu": pytest.approx(math.pi / 2)}


def test_unknown_functions_come_in_the_order_of_the_text():
    problem = FormulaProblem(["dt(u) + dx(v) + dxx(u)", "dt(v)"], inputs={"x": [0, 1], "t": [0, 1]})
    assert problem.outputs == ("u", "v")


def test_an_exact_solution_has_the_functions_of_the_problem():
    exact = IntegratedSolution({"v": "-u", "u": "v"}, {"u": 0, "v": 1}, 1)
    with pytest.raises(KanExpError, match=r"pde\.exact has the functions v, u, the problem u, v"):
        FormulaProblem(["dt(u) - v", "dt(v) + u"], inputs={"t": [0, 1]}, exact=exact)
    with pytest.raises(KanExpError, match="must have a value of each of u, v, got u"):
        IntegratedSolution({"u": "v", "v": "-u"}, {"u": 0}, 1)


def noted(**changes):
    problem = burgers(**{"exact": "x*t", **changes})
    return notes_on(problem, [compile_relation(problem, one) for one in problem.relations])


def test_a_sound_problem_has_no_notes():
    assert noted() == []


@pytest.mark.parametrize(
    ("conditions", "note"),
    [
        (BURGERS["conditions"][1:], "first derivatives by t, but no conditions at an end of t"),
        (BURGERS["conditions"][:2], "second derivatives by x, but 1 condition at an end of x"),
        (
            [{"on": "t=0", "equation": "u - x*(1 - x)/2"}, *BURGERS["conditions"][1:]],
            "t=0 and x=-1 contradict each other at x=-1, t=0: u is -1 and 0",
        ),
        (
            [{"on": "t=0", "equation": "2*u - sign(x) + x"}, *BURGERS["conditions"][1:]],
            "on t=0 jumps at x=",
        ),
        (
            [*BURGERS["conditions"], {"on": "x=0.5", "equation": "dt(u)"}],
            "the condition on x=0.5 is off the border",
        ),
        (
            [
                {"on": "t=0", "equation": "u - 1e4"},
                *({"on": f"x={x}", "equation": "u - 1e4"} for x in (-1, 1)),
            ],
            "values of 1e+04, which networks, whose values begin near 1, hardly reach",
        ),
    ],
)
def test_what_is_doubtful_is_noted(conditions, note):
    (found,) = noted(conditions=conditions)
    assert note in found


@pytest.mark.parametrize("term", ["1/(x - 0.5)", "log(x - 0.5)"])
def test_a_singular_point_is_noted(term):
    (found,) = noted(equation=f"dt(u) + u*dx(u) - nu*dxx(u) - {term}")
    assert "the interior has no finite value at or near x=" in found


def test_conditions_of_a_system_that_contradict_each_other_are_noted():
    problem = FormulaProblem(
        ["dt(u) - v", "dt(v) + u"],
        [{"on": "t=0", "equation": ["u", "v - 1"]}, {"on": "t=0", "equation": ["dt(u)", "v - 2"]}],
        inputs={"t": [0, 1]},
        exact={"u": "sin(t)", "v": "cos(t)"},
    )
    (found,) = notes_on(problem, [compile_relation(problem, one) for one in problem.relations])
    assert "t=0 and t=0 contradict each other at t=0: v is 1 and 2" in found


def test_conditions_that_meet_outside_of_the_domain_do_not_contradict_each_other():
    ends = [{"on": "x=1", "equation": "u"}, {"on": "y=1", "equation": "u - 1"}]
    for inputs in ("xy", "xyz"):
        problem = FormulaProblem(
            "dxx(u) + dyy(u)",
            [*ends, *ends],
            inputs={name: [0, 1] for name in inputs},
            inside="1.5 - x - y",
            exact="x",
        )
        assert not notes_on(problem, [compile_relation(problem, one) for one in problem.relations])


def test_a_factor_without_a_finite_value_is_noted():
    found = noted(factor="1/t")
    assert "near x=" in found[0]
    assert "pde.factor or pde.offset" in found[0]


def test_an_unknown_function_in_no_equation_is_noted():
    (found,) = noted(outputs=["u", "v"], exact={"u": "x*t", "v": "0*x"})
    assert found == "no equation and no condition has v: only data can tell what it is"


def test_a_narrow_peak_is_no_singular_point():
    assert noted(equation="dt(u) + u*dx(u) - nu*dxx(u) - exp(-1e4*((x - 0.5)**2 + t**2))") == []


def test_a_frame_meets_conditions_exactly_and_is_derived():
    problem = FormulaProblem(
        "dxx(u) - v",
        inputs={"x": [0, 1], "y": [0, 1]},
        outputs=["u", "v"],
        factor="x*(1 - x)*y**2",
        offset={"u": "sin(y)"},
    )
    x = torch.rand(7, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    keys = [(), (0,), (1,), (0, 0), (0, 1)]

    def network(x):
        return torch.stack([(2 * x[:, 0] + x[:, 1]).exp(), (x[:, 0] * x[:, 1]).cos()], 1)

    def solution(x):
        factor = x[:, 0] * (1 - x[:, 0]) * x[:, 1] ** 2
        offset = torch.stack([x[:, 1].sin(), 0 * x[:, 1]], 1)
        return offset + factor[:, None] * network(x)

    def derived(function, key):
        made = function
        for place in key:
            made = lambda x, inner=made, place=place: jacrev(inner)(x)[..., place]  # noqa: E731
        return vmap(lambda x: made(x))(x)

    of_network, of_solution = (
        {key: derived(lambda point, f=f: f(point[None])[0], key) for key in keys}
        for f in (network, solution)
    )
    frame = problem.frame
    for key, values in frame.jets(x, of_network, keys).items():
        if key in of_solution:
            torch.testing.assert_close(values, of_solution[key])
    torch.testing.assert_close(frame.values(x, network(x)), solution(x))
    left = torch.tensor([[0.0, 0.3]], dtype=torch.float64)
    assert frame.values(left, network(left))[0].tolist() == pytest.approx([math.sin(0.3), 0])
    again = Frame(**frame.describe())
    torch.testing.assert_close(again.values(x, network(x)), solution(x))
