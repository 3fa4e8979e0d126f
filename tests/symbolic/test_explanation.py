"""A formula in all its notations, evaluated, stored and compared."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
import sympy
import torch
from matplotlib.mathtext import MathTextParser

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.symbolic.edges import EdgeName
from kan_exp.symbolic.explanation import Explanation
from kan_exp.symbolic.expression import CALLS, Call, Constant, exact
from kan_exp.symbolic.notation import identifiers, latex_name, rounded, simplified, with_error
from kan_exp.symbolic.records import from_plain, to_plain
from tests.symbolic.made import NAMES, WAVE, explained, points, x, y, z

EVERY_CALL = sum((Call(name, x * exact(0.3)) for name in CALLS if name != "acosh"), start=1 / y)
EVERY_CALL = EVERY_CALL + Call("acosh", z + 1) + Constant(0.25) ** x


def python_function(explanation):
    space: dict = {}
    exec(explanation.python(), space)  # noqa: S102 - our own source
    return space["formula"]


def test_the_text_has_rounded_constants_and_marks_names_that_could_be_mistaken():
    text = explained().formula
    assert text == "-1.25*sqrt(`Temp (°C)`)*sqrt(`x-y`) + exp(0.6431*`E`**2 + sin(pi*`Temp (°C)`))"


def test_exact_fractions_of_large_numbers_are_decimals():
    expression = exact("9.81") * x + exact("1/16") * y + exact("3/2") * z + exact("22/7")
    explanation = explained(expression, "abc")
    assert explanation.formula == "9.81*a + b/16 + 3*c/2 + 22/7"
    assert explanation.latex().startswith(r"f = 9.81 \, a + \frac{b}{16}")
    assert explanation.sympy().coeff(sympy.Symbol("a")) == sympy.Rational(981, 100)


def test_names_that_look_the_same_stay_two_inputs():
    explanation = explained(x - y, ("a\n", "a\\n", "c"))
    assert explanation.formula == "`a\\n` - `a\\n`"
    assert r"\mathrm{a\backslash n} - \mathrm{a\backslash n}" in explanation.latex()


def test_a_constant_is_shown_with_its_error():
    assert with_error(2.3104, 0.012) == "2.310 ± 0.012"
    assert with_error(-1.25, 1e-6) == "-1.2500000 ± 1.0e-06"
    assert with_error(1e-7, 0.1) == "1e-07 ± 0.10"
    assert with_error(2 / 3, 0.0) == "0.6666666667"
    assert with_error(4.905, 1.5e-19) == "4.905"
    assert with_error(-1e-9, 1e-22) == "-1e-09"
    assert with_error(-1e-9, 1e-20) == "-1.000000000e-09 ± 1.0e-20"
    assert rounded(123.456, 2.0) == "123.5"
    assert explained().constants["constant"].to_list() == ["0.6431 ± 0.0012", "-1.2500 ± 0.0012"]


@pytest.mark.parametrize(
    "expression", [WAVE, EVERY_CALL, 2 * y], ids=["wave", "every call", "one input"]
)
def test_python_c_and_torch_give_the_formulas_values(expression, tmp_path):
    explanation = explained(expression)
    at = points(20, seed=1)
    values = expression(at)
    assert np.isfinite(values).all()
    assert python_function(explanation)(*at.T) == pytest.approx(values, rel=1e-13)
    module = explanation.torch()
    assert module(torch.from_numpy(at))[:, 0].tolist() == pytest.approx(values, rel=1e-13)
    symbols = [sympy.Symbol(name) for name in NAMES]
    lambdified = sympy.lambdify(symbols, explanation.sympy(), ["scipy", "numpy"])
    assert lambdified(*at.T) == pytest.approx(values, rel=1e-12)
    if shutil.which("cc") is None:
        pytest.skip("no compiler of C")
    (tmp_path / "formula.c").write_text(explanation.c())
    command = [
        "cc",
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "formula.c",
        "-o",
        "f.so",
        "-lm",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    function = ctypes.CDLL(str(tmp_path / "f.so")).formula
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    assert [function(*row) for row in at] == pytest.approx(values, rel=1e-13)


def test_python_is_real_outside_the_domain():
    with np.errstate(invalid="ignore"):
        assert np.isnan(python_function(explained())(-1.0, 1.0, 1.0))


HOSTILE = ('"""\nimport os', "*/ int x;\\", "lambda", "lambda_", "exp", "温度", "2nd", "", "x", "X")


def test_names_become_identifiers_and_cannot_leave_their_comments():
    names = identifiers(HOSTILE)
    assert len({*names}) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert names[2:5] == ["lambda_", "lambda_2", "exp_"]
    expression = sum((type(x)(k) for k in range(1, len(HOSTILE))), start=x)
    explanation = explained(expression, HOSTILE, target="a\n#b")
    at = points(5, len(HOSTILE))
    assert python_function(explanation)(*at.T) == pytest.approx(at.sum(1))
    code = [line for line in explanation.c().splitlines() if not line.startswith("//")]
    assert code[1:3] == ["", f"double formula({', '.join(f'double {name}' for name in names)})"]


def test_the_formula_is_a_network_with_its_names_and_ranges(tmp_path):
    explanation = explained()
    model = explanation.torch()
    assert (model.features, model.names) == (NAMES, ["f"])
    assert model.description["bounds"] == explanation.ranges.tolist()
    constants = sorted(value for part in model.parameters() for value in part.tolist())
    assert constants == sorted(WAVE.constants)
    assert all(part.requires_grad for part in model.parameters())
    functions = model.edges()["function"].unique().to_list()
    assert {"sin(pi*Temp (°C))", "0.6431*E**2", "-1.25*sqrt(x-y)"} <= {*functions}
    table = {name: points()[:, k] for k, name in enumerate(NAMES)}
    again = kan_exp.load(model.save(tmp_path / "f"))
    assert again.predict(table)[:, 0].tolist() == pytest.approx(WAVE(points()))


def test_the_text_is_read_again_and_the_network_may_have_the_used_inputs_alone():
    explanation, at = explained(), points(20)
    ranges = dict(zip(NAMES, explanation.ranges.tolist(), strict=True))
    again = kan_exp.formula_network(explanation.formula, ranges).predict(at)[:, 0]
    assert again.tolist() == pytest.approx(WAVE(at), rel=1e-3)  # of rounded constants
    one = explained(2 * y).torch(only_used=True)
    assert one.features == (NAMES[1],)
    assert one({NAMES[1]: at[:, 1]})[:, 0].tolist() == pytest.approx(2 * at[:, 1])
    constant = explained(type(x)(0) * 0 + 3.0).torch(only_used=True)
    assert constant.predict([[0.5]]).tolist() == [[3.0]]
    assert constant.features == NAMES[:1]


def test_it_is_called_with_arrays_tables_and_tensors():
    explanation, at = explained(), points(4)
    values = WAVE(at)
    assert explanation(at) == pytest.approx(values)
    shuffled = pl.DataFrame({name: at[:, k] for k, name in enumerate(NAMES)}).select(NAMES[::-1])
    assert explanation(shuffled) == pytest.approx(values)
    tensor = torch.from_numpy(at).requires_grad_()
    explanation(tensor).sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.isfinite().all()
    assert explanation(tensor.float()).dtype == torch.float32
    assert not explanation(tensor.detach()).requires_grad
    with pytest.raises(KanExpError, match=r"\(n, 3\)"):
        explanation(at[:, :2])


def test_sympy_has_plain_symbols_with_the_users_names():
    formula = explained(x * y / x + Constant(0.1) * z).sympy()
    assert formula == sympy.Symbol("E") + 0.1 * sympy.Symbol("x-y")
    assert formula.subs({"E": 2, sympy.Symbol("x-y"): 0}) == 2


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("x", "x"),
        ("x12", "x_{12}"),
        ("lambda", r"\lambda"),
        ("theta_2", r"\theta_{2}"),
        ("mass", r"\mathrm{mass}"),
        ("a_b %\n", r"\mathrm{a\_b\ \%\backslash n}"),
        ('"#`&', r'\mathrm{\text{"}\text{\#}\text{`}\text{\&}}'),
    ],
)
def test_names_in_latex(name, latex):
    assert latex_name(name) == latex
    MathTextParser("path").parse(f"${latex}$")  # draws it


def test_latex_has_both_sides():
    explanation = explained(Constant(2.5) * x**2 / y + 1e-7 * z, ("m", "v_1", "z"), "E")
    assert explanation.latex() == r"E = \frac{2.5 \, m^{2}}{v_{1}} + 1 \cdot 10^{-7} \, z"
    assert explanation._repr_latex_() == f"$\\displaystyle {explanation.latex()}$"


def test_simplification_of_a_large_formula_ends():
    a, b = sympy.symbols("a b")
    large = sum(sympy.sin(k * a + b) ** k / (a + k) for k in range(1, 40))
    assert simplified(large) == large
    power = (a + b) ** 200 + a
    assert simplified(power) == power
    assert simplified(a * b + a * b**2) == a * b * (b + 1)


def test_equal_formulas_are_equal():
    first = explained((x + y) * z, "abc")
    assert first.equals(explained(x * z + y * z, "abc"))
    assert first.equals(sympy.sympify("a*c + b*c"))
    two = explained(Call("sin", x) ** 2 + exact(0.5) * y, "abc")
    assert two.equals(sympy.sympify("1/2 - cos(2*a)/2 + b/2"))
    assert not first.equals(explained(x * z + y * z * exact("1.0001"), "abc"))
    assert not first.equals(sympy.sympify("a*c + d*c"))
    with pytest.raises(KanExpError, match="equals takes an Explanation"):
        first.equals("__import__('os')")


def test_the_pareto_table_has_all_errors_and_marks_the_choice():
    explanation = explained(x * y, "abc", simpler=[x])
    table = explanation.pareto
    assert table["formula"].to_list() == ["a", "a*b"]
    assert table["complexity"].to_list() == [1, 3]
    assert table["chosen"].to_list() == [False, True]
    at = points()
    wanted = np.sqrt(np.mean((at[40:, 0] * (at[40:, 1] - 1)) ** 2))
    assert table["test_rmse"].to_list() == pytest.approx([wanted, 0])
    lines = explanation.table()
    assert lines[0].split() == ["complexity", "training", "validation", "test", "formula"]
    assert lines[2].startswith("* ")


def test_the_notebook_and_the_terminal_say_whether_it_holds():
    assert "found: what it leaves is no more than rounding" in repr(explained())
    text = repr(explained(found=False, fits=True))
    assert "not certain: it leaves no more than rounding, but other formulas may, too" in text
    text = repr(explained(found=False))
    assert "no formula found: this is the best of those tried" in text
    assert re.search(r"formula - data +RMSE 0, largest 0 \(on 20 fresh rows\)", text)


def test_it_says_where_the_formula_leaves_its_domain():
    def note(expression):
        return " ".join(explained(expression).notes)

    assert note(WAVE) == ""
    beyond = note(Call("log", x - exact("0.45")))
    assert re.search(
        r"not defined beyond the ranges of the data, as at Temp \(°C\)=0\.4\d*\.", beyond
    )
    within = note((x - 1) ** exact(0.5))
    assert "not defined within the ranges of the data" in within


def test_a_file_gives_it_back(tmp_path):
    explanation = explained(simpler=[x, Constant(1.5) * x])
    explanation.save(tmp_path)
    again = Explanation.load(tmp_path)
    assert again.formula == explanation.formula
    assert again.chosen.expression == WAVE
    assert again.pareto.equals(explanation.pareto)
    assert repr(again) == repr(explanation)
    assert (tmp_path / "formula.txt").read_text().count("exp(0.6431*`E`**2") == 2
    assert explanation.latex() in (tmp_path / "formula.tex").read_text()


@pytest.mark.parametrize(
    "part",
    [
        ["call", "system", ["input", 0]],
        ["input", 3],
        ["input", -1],
        ["exact", "1", "__import__"],
        ["exact", "1/0", "1"],
        ["exact", "1e999999999", "1"],
        ["constant", float("inf")],
        ["sum", ["input", 0]],
        "x",
        None,
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, part):
    explained().save(tmp_path)
    content = json.loads((tmp_path / "formula.json").read_text())
    content["outputs"][0]["candidates"][0]["expression"] = part
    (tmp_path / "formula.json").write_text(json.dumps(content))
    with pytest.raises(KanExpError, match=r"no formulas of kan_exp \(.+\)\.$"):
        Explanation.load(tmp_path)


def test_exact_constants_of_any_length_are_read_as_they_were():
    number = Constant(0.123456789, Fraction("0.123456789"))
    assert from_plain(to_plain(number), 0) == number


@pytest.mark.parametrize("edge", [{"error": "x"}, {"error": None}, ["a"], "edge"])
def test_damaged_edges_are_one_line(tmp_path, edge):
    explained().save(tmp_path)
    content = json.loads((tmp_path / "formula.json").read_text())
    content["outputs"][0]["edges"] = [edge]
    (tmp_path / "formula.json").write_text(json.dumps(content))
    with pytest.raises(KanExpError, match=r"no formulas of kan_exp \(.+\)\.$"):
        Explanation.load(tmp_path)


def test_long_names_of_edges_are_cut_in_their_middle():
    edges = (EdgeName(f"{'L' * 200} → h1", "2*x", 1e-3), EdgeName("a → h1", "a", 1e-3))
    first, second = replace(explained(), edge_names=edges).edge_lines()
    assert "L…L" in first
    assert " → h1  2*x" in first
    assert len(first) < 100
    assert first.index("2*x") == second.index("a (")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(KanExpError, match="there is no formula: run"):
        Explanation.load(tmp_path)
    (tmp_path / "formula.json").write_text("[" * 100_000)
    with pytest.raises(KanExpError, match="no formulas of kan_exp"):
        Explanation.load(tmp_path)
