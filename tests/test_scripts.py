"""Scripts and benchmarks, which other tests do not run, import what exists."""

import ast
import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kan_exp.symbolic.expression import Call, Constant, Input

ROOT = Path(__file__).parents[1]
FILES = [*sorted(ROOT.glob("scripts/*.py")), *sorted(ROOT.glob("benchmarks/*.py"))]


def own_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kan_exp"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_that_is_imported_exists(path):
    for module, name in own_imports(path):
        package = importlib.import_module(module)
        if not hasattr(package, name):
            importlib.import_module(f"{module}.{name}")


@pytest.fixture(scope="module")
def formulas():
    spec = importlib.util.spec_from_file_location("formulas", ROOT / "benchmarks/formulas.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


X, Y = Input(0), Input(1)


@pytest.mark.parametrize(
    ("formula", "without", "with_noise"),
    [
        (X**2 * Call("exp", -Y), "solved", "solved"),
        (X**2 / Call("exp", Y), "solved", "solved"),
        (X**2 * Call("exp", -Y) + 7, "solved", "solved"),
        (3 * X**2 * Call("exp", -Y), "solved", "solved"),
        (Constant(1.001) * X**2 * Call("exp", -Y), "solved", "solved"),
        (X ** Constant(2.001) * Call("exp", -Y), "wrong", "solved"),
        (Constant(1.001) * X**2 * Call("exp", -Y) + Constant(1e-3), "wrong", "superfluous"),
        (X**2 * Call("exp", Constant(-1.001) * Y), "wrong", "superfluous"),
        (X**2 * Call("exp", Constant(1e-3) - Y), "solved", "solved"),
        (Constant(2.0) * Constant(0.5) * X**2 * Call("exp", -Y), "superfluous", "superfluous"),
        (X**2 * (1 - Y + 0.5 * Y**2 - 0.16 * Y**3), "wrong", "wrong"),
        (X**2 + Call("exp", -Y), "wrong", "wrong"),
        (X**2 * Call("log", -Y), "wrong", "wrong"),
        (Constant(1.0), "wrong", "wrong"),
    ],
)
def test_formulas_are_judged_by_their_form(formulas, formula, without, with_noise):
    x = np.random.default_rng(0).uniform(0.5, 2, (500, 2))
    truth = X**2 * Call("exp", -Y)
    assert formulas.judge(formula, truth, x, noisy=False) == without
    assert formulas.judge(formula, truth, x, noisy=True) == with_noise


def test_only_products_of_powers_are_monomials(formulas):
    for text, expected in (("2*x/y**2", True), ("sqrt(x*y)/pi", True), ("x/(1+y)", False)):
        assert formulas.is_monomial(formulas.target_of("one", text, "x:1:2 y:1:3")) is expected


def test_splits_of_the_equations_are_disjoint(formulas):
    develop, test = ({one.name for one in formulas.feynman(split)} for split in ("develop", "test"))
    assert (len(develop), len(test), len(develop & test)) == (30, 70, 0)
