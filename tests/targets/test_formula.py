"""A formula means what it means in mathematics, and nothing else can be smuggled in."""

import math
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from kan_exp.errors import KanExpError
from kan_exp.targets import Formula
from kan_exp.targets.formula import FUNCTIONS

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(0.2, 0.9, size=(50, 3))
X, Y, Z = POINTS.T

FORMULAS = {
    "exp(sin(pi*x) + y**2)*z": np.exp(np.sin(np.pi * X) + Y**2) * Z,
    "x - y - z": (X - Y) - Z,
    "x / y / z": (X / Y) / Z,
    "x**y**z": X ** (Y**Z),
    "-x**2 + y*z": -(X**2) + Y * Z,
    "2**-x*y*z": 2.0**-X * Y * Z,
    "+x - -y*z": X + Y * Z,
    "(x + y)*(x - 2*z)": (X + Y) * (X - 2 * Z),
    "1e-2*x + .5*y + 3.*z + 0*e": 0.01 * X + 0.5 * Y + 3 * Z,
    "e**x + y*0 + z*0": math.e**X,
    "min(x, y) + 2*max(y, z)": np.minimum(X, Y) + 2 * np.maximum(Y, Z),
    "atan2(x, y) - z": np.arctan2(X, Y) - Z,
    "log(x)/log2(y) + log10(z)": np.log(X) / np.log2(Y) + np.log10(Z),
    "asin(x) + acos(y) + atan(z)": np.arcsin(X) + np.arccos(Y) + np.arctan(Z),
    "sinh(x) + cosh(y) + tanh(z) + tan(x)": np.sinh(X) + np.cosh(Y) + np.tanh(Z) + np.tan(X),
    "asinh(x) + acosh(1 + y) + atanh(z)": np.arcsinh(X) + np.arccosh(1 + Y) + np.arctanh(Z),
    "sqrt(x) + square(y) + cos(z)": np.sqrt(X) + Y**2 + np.cos(Z),
    "abs(x - 0.5) + sign(y - 0.5) + relu(z - 0.5)": (
        abs(X - 0.5) + np.sign(Y - 0.5) + np.maximum(Z - 0.5, 0)
    ),
    "sigmoid(x) + y*z": 1 / (1 + np.exp(-X)) + Y * Z,
    "erf(x) + 0*y*z": np.array([math.erf(x) for x in X]),
}


def series_j(order: int, x: float) -> float:
    """The Bessel function of integer order, by its power series."""
    return sum(
        (-1) ** k / (math.factorial(k) * math.factorial(k + order)) * (x / 2) ** (2 * k + order)
        for k in range(30)
    )


@pytest.mark.parametrize("text", FORMULAS)
def test_values_agree_with_numpy(text):
    got = Formula(text, ["x", "y", "z"])(torch.tensor(POINTS))
    np.testing.assert_allclose(got.numpy(), FORMULAS[text], rtol=1e-12)


@pytest.mark.parametrize("order", [0, 1])
def test_bessel_functions_agree_with_their_series(order):
    got = Formula(f"j{order}(5*x)")(torch.tensor(POINTS[:, :1]))
    np.testing.assert_allclose(got.numpy(), [series_j(order, 5 * x) for x in X], atol=1e-12)


def test_every_function_is_compared_with_an_independent_answer():
    tested = set(re.findall(r"[a-z]\w*(?=\()", " ".join(FORMULAS))) | {"j0", "j1"}
    assert set(FUNCTIONS) == tested


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("y*x + y", ("y", "x")),
        ("b**(a - c)", ("b", "a", "c")),
        ("sin(z) + max(q, a)*z", ("z", "q", "a")),
        ("-(beta + alpha_2)", ("beta", "alpha_2")),
        ("pi*x*e", ("x",)),
    ],
)
def test_inputs_follow_the_text(text, inputs):
    assert Formula(text).inputs == inputs


def test_given_inputs_decide_the_columns():
    x = torch.tensor([[2.0, 7.0, 5.0]])
    assert Formula("a - b", ["b", "unused", "a"])(x).item() == 3.0
    assert Formula("4", ["a", "b", "c"])(x).tolist() == [4.0]


@pytest.mark.parametrize("text", ["x", "3 + 0*x", "sin(2*x)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_shape_and_dtype_follow_x(text, dtype, n):
    x = torch.ones(n, 1, dtype=dtype)
    y = Formula(text)(x)
    assert y.shape == (n,)
    assert y.dtype == dtype
    y += 1
    assert torch.equal(x, torch.ones_like(x))


@pytest.mark.parametrize("x", [torch.ones(3), torch.ones(3, 1), torch.ones(3, 2).long()])
def test_wrong_x_is_refused(x):
    with pytest.raises(ValueError, match=r"floating-point x of shape \(n, 2\), got "):
        Formula("x*y")(x)


def test_gradients_pass_through():
    x = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Formula("exp(sin(pi*x) + y**2)/(2 + y)"), x)


def test_a_formula_can_be_sent_to_another_process():
    formula = pickle.loads(pickle.dumps(Formula("x*y", ["y", "x"])))
    assert repr(formula) == "Formula('x*y', inputs=('y', 'x'))"
    assert formula(torch.tensor([[2.0, 3.0]])).item() == 6.0


@pytest.mark.parametrize("text", ["x*0 + 9**9**9**9", "x + 1e300*1e300", "x + 1/0"])
def test_overflow_is_infinity_at_once(text):
    assert Formula(text)(torch.zeros(1, 1)).tolist() == [math.inf]


def test_a_number_beyond_the_range_of_x_is_infinity():
    assert Formula("x + 1e300")(torch.zeros(1, 1)).tolist() == [math.inf]


def test_a_long_sum_is_not_deep():
    assert Formula("+".join(["x"] * 500))(torch.ones(1, 1)).item() == 500.0


HOSTILE = [
    ("__import__('os').system('x')", 'has "\'" (apostrophe) at position 12'),
    ("__import__(os)", "calls '__import__', which is not a known function"),
    ("eval(x)", "calls 'eval', which is not a known function"),
    ("lambda x: x", "reserved word 'lambda'"),
    ("sin(lambda*x)", "rename an input"),
    ("[x for x in y]", "reserved word 'for'"),
    ("x if y else z", "reserved word 'if'"),
    ("0or x", "reserved word 'or'"),
    ("True*x", "reserved word 'True'"),
    ("x.__class__", "has 'x.__class__', which is not arithmetic"),
    ("x.real(y)", "has 'x.real(y)', which is not arithmetic"),
    ("1 .real + x", "has '1 .real', which is not arithmetic"),
    ("x[0]", "'[' (left square bracket) at position 2"),
    ("{x}", "'{' (left curly bracket) at position 1"),
    ("(x := 1)", "':' (colon) at position 4"),
    ("f'{x}'", '"\'" (apostrophe) at position 2'),
    ("x, y", "has 'x, y', which is not arithmetic"),
    ("()", "which is not arithmetic"),
    ("sin(*x)", "has '*x', which is not arithmetic"),
    ("sin(**x)", "has 'sin(**x)', which is not arithmetic"),
    ("sin(x=1)", "'=' (equals sign) at position 6"),
    ("sin(x)(y)", "has 'sin(x)(y)', which is not arithmetic"),
    ("1(2)", "has '1(2)', which is not arithmetic"),
    ("x // y", "has 'x // y', which is not arithmetic"),
    ("x % y", "'%' (percent sign) at position 3"),
    ("0xfor x", "has '0xfor x', which is not arithmetic"),
    ("x + 1j", "has '1j', which is not arithmetic"),
    ("x + ...", "has '...', which is not arithmetic"),
    ("x^2", "write ** for powers"),
    ("x == 1", "a formula is one expression"),
    ("y = x", "the right-hand side alone"),
    ("sin x", "every call with parentheses, as in 2*sin(x)"),
    ("2x", "write every product with *"),
    ("x +", "cannot be read"),
    ("sin(x", "has 1 '(' but 0 ')': balance them"),
    ("sin(x, y)", "calls 'sin' with 2 arguments, not 1: write sin(x)"),
    ("sin()", "calls 'sin' with 0 arguments, not 1"),
    ("min(x)", "calls 'min' with 1 argument, not 2: write min(x, y)"),
    ("sinn(x)", "Did you mean 'sin'?"),
    ("x(y + 1)", "(to multiply, write *)"),
    ("sin*x", "uses the function 'sin' without arguments: write sin(x)"),
    ("pi*e", "has no input"),
    ("3", "has no input"),
    ("", "is empty"),
    (" \n ", "is empty"),
    ("x\n+ y", r"'\n' (a special character) at position 2"),
    ("x\x00", r"'\x00' (a special character) at position 2"),
    ("\x1b[2Jx", r"'\x1b' (a special character) at position 1"),
    ("x # y", "'#' (number sign) at position 3"),
    ("\N{FULLWIDTH LATIN SMALL LETTER S}in(x)", "fullwidth latin small letter s"),
    ("\N{CYRILLIC SMALL LETTER DZE}in(x)", r"'\u0455' (cyrillic small letter dze) at position 1"),
    ("π*x", "write pi"),
    ("x²", "write **2"),
    ("x*1e999", "a number too large"),
    ("x*" + "9" * 400, "a number too large"),
    ("sin(" * 60 + "x" + ")" * 60, "nests more than 50 deep"),
    ("-" * 900 + "x", "simplify it"),
    ("(" * 400 + "x" + ")" * 400, "formula '(((("),
    ("(" * 100_000 + "x" + ")" * 100_000, "has 200001 characters, more than 4000"),
    ("-" * 5000 + "x", "has 5001 characters"),
    ("x+" * 500_000 + "x", "has 1000001 characters"),
]


@pytest.mark.parametrize(
    ("text", "fragment"), HOSTILE, ids=[ascii(text)[:30] for text, _ in HOSTILE]
)
def test_hostile_text_is_refused_in_one_short_line(text, fragment):
    with pytest.raises(KanExpError) as caught, warnings.catch_warnings(action="error"):
        Formula(text)
    message = str(caught.value)
    assert fragment in message
    assert message.startswith("formula ")
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("text", [None, 3, 2.5, True, b"x", ["x"], {"x": 1}])
def test_only_text_is_a_formula(text):
    with pytest.raises(KanExpError, match="formula must be text"):
        Formula(text)


@pytest.mark.parametrize(
    ("inputs", "fragment"),
    [
        (["x"], "uses 'y', but its inputs are x: use only these."),
        (["x", "yy"], "Did you mean 'yy'?"),
        (["x", "y", "x"], "inputs must be different names. Got 'x'"),
        (["x", "y", "sin"], "inputs must be names that no function or constant has. Got 'sin'"),
        (["x", "y", "pi"], "inputs must be names that no function or constant has. Got 'pi'"),
        (["x", "y", "2z"], "Got '2z'"),
        (["x", "y", "lambda"], "Got 'lambda'"),
        (["x", "y", "é"], r"Got '\xe9'"),
        (["x", "y", 3], "Got 3"),
        ([], "has no input"),
        ("xy", "inputs must be a list of names. Got 'xy'"),
        (3, "inputs must be a list of names. Got 3"),
    ],
)
def test_wrong_inputs_are_refused(inputs, fragment):
    with pytest.raises(KanExpError, match=re.escape(fragment)):
        Formula("x*y", inputs)


def test_reading_formulas_and_targets_leaves_torch_alone():
    code = (
        "import sys; from kan_exp.targets import Target; "
        "Target('exp(h*x)', domain=[0, 1], components=None); "
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
