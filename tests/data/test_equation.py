"""Data of a differential equation: what is known of its solution, and what is wrong with it."""

from __future__ import annotations

import pytest
import torch

from kan_exp.data import EquationData
from kan_exp.equations import FormulaProblem
from kan_exp.errors import KanExpError

DECAY = {
    "equation": "dt(u) + k*u",
    "inputs": {"t": [0, 1]},
    "coefficients": {"k": 1},
    "conditions": [{"on": "t=0", "equation": "u - 1"}],
    "exact": "exp(-t)",
}


def decay(changes=(), **options):
    return EquationData(FormulaProblem(**{**DECAY, **dict(changes)}), 5, 6, 0, **options)


def test_values_of_test_points_are_exact():
    data = decay(observed=4, measured="u")
    torch.testing.assert_close(data.test.y, (-data.test.x).exp())
    torch.testing.assert_close(data.observations.y, (-data.observations.x).exp())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observed": 1}, "data.observed must be a whole number of at least 2"),
        ({"observed": 5, "noise": "a"}, "data.noise must be a finite number"),
        ({"observed": 5, "data_weight": 0}, "data.data_weight must be above 0"),
        ({"observed": 5, "measured": ["v"]}, "data.measured has 'v', which is none"),
        ({"observed": 5, "measured": ["u", "u"]}, "data.measured must be different names"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(KanExpError, match=message):
        decay(**options)


@pytest.mark.parametrize(
    ("exact", "message"),
    [
        (lambda x: torch.ones(3), r"values of shape \(5, 1\) for points \(5, 1\)"),
        (lambda x: None, "pde.exact must return values"),
        ("log(t - 2)", "pde.exact is not finite at t="),
    ],
)
def test_an_exact_solution_that_cannot_be_evaluated_is_refused(exact, message):
    with pytest.raises(KanExpError, match=message):
        decay({"exact": exact})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("t,v\n0,1", "has no column 'u', which data.path names"),
        ("t,u\n0,a\n1,b", "text in the target column 'u' .*: write numbers in their place"),
        ("t,u\n2020-01-01,1\n2020-01-02,2", "text in column 't'"),
        ("t,u\n0,1\n,2", r"missing cells in column 't' .*: fill in missing cells\.$"),
    ],
)
def test_a_table_that_has_no_numbers_is_refused(tmp_path, rows, message):
    (tmp_path / "known.csv").write_text(rows)
    with pytest.raises(KanExpError, match=message):
        decay(path=str(tmp_path / "known.csv"))


def test_an_unknown_coefficient_on_which_nothing_depends_is_refused():
    with pytest.raises(KanExpError, match="'k', on which no equation depends"):
        decay({"equation": "dt(u) + u", "unknown": ["k"]}, observed=5)


def test_a_problem_that_is_not_initialized_is_refused():
    class Own(FormulaProblem):
        def __init__(self):
            pass

    with pytest.raises(KanExpError, match=r"Own.__init__ must call super\(\).__init__"):
        EquationData(Own(), 5, 6, 0)


def test_a_formula_is_not_sought_where_there_are_no_data(tmp_path):
    from kan_exp.training.explaining import ExplainSink

    sink = ExplainSink(tmp_path, seconds=1, seed=0, functions={}, workers=1)
    with pytest.raises(KanExpError, match="a differential equation has no data: explain its"):
        sink.explain(None, decay())
