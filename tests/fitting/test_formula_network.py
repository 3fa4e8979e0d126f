"""Formulas as networks: their values, gradients, pictures, files and exports."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.models.views import IDENTITY
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.symbolic.expression import (
    CALLS,
    Call,
    Constant,
    Expression,
    Input,
    Power,
    Product,
    Sum,
    exact,
)
from kan_exp.symbolic.functions import expression_of
from kan_exp.targets.formula import Formula

FEYNMAN = Path(__file__).parents[2] / "benchmarks" / "feynman.csv"
WAVE = "exp(sin(pi*x) + y**2)"
NAMES = ("x", "y", "z")
x, y, z = map(Input, range(3))


def network(expression: Expression, low: float = -1.0, high: float = 1.0):
    return kan_exp.formula_network(expression, dict.fromkeys(NAMES, (low, high)))


def points(rows: int = 20, low: float = 0.2, high: float = 1.5) -> np.ndarray:
    return np.random.default_rng(1).uniform(low, high, (rows, 3))


def test_every_feynman_formula_has_the_values_of_its_tree():
    with FEYNMAN.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    for row in rows[::2]:
        each = [one.split(":") for one in row["inputs"].split()]
        ranges = {name: (float(low), float(high)) for name, low, high in each}
        low, high = np.array([*ranges.values()]).T
        at = np.random.default_rng(0).uniform(low, high, (50, len(ranges)))
        expected = expression_of(Formula(row["formula"], list(ranges)))(at)
        found = kan_exp.formula_network(row["formula"], ranges).predict(at)[:, 0]
        known = np.isfinite(expected)
        assert (found.isfinite().numpy() == known).all()
        assert found.numpy()[known] == pytest.approx(expected[known], rel=1e-12), row["formula"]


LEAVES = st.sampled_from([x, y, z, exact(2), exact("-1/3"), exact(1, "pi"), Constant(0.7)])
EXPONENTS = st.sampled_from([*map(exact, (2, 3, -1, 0.5, -0.5, 1.5)), Constant(1.3)])


def larger(parts):
    return st.one_of(
        st.tuples(parts, parts).map(lambda pair: pair[0] + pair[1]),
        st.tuples(parts, parts).map(lambda pair: pair[0] * pair[1]),
        st.tuples(parts, parts).map(lambda pair: pair[0] - pair[1]),
        st.tuples(parts, EXPONENTS).map(lambda pair: pair[0] ** pair[1]),
        st.tuples(st.sampled_from([exact(2), Constant(0.6)]), parts).map(lambda p: p[0] ** p[1]),
        st.tuples(st.sampled_from(sorted(CALLS)), parts).map(lambda pair: Call(*pair)),
    )


def evaluated(node, columns):
    """The tree in torch; the parts' values, the whole last."""
    below = [evaluated(child, columns) for child in node.children()]
    parts = [part for one in below for part in one]
    last = [one[-1] for one in below]
    match node:
        case Constant(value):
            value = torch.full_like(columns[0], value)
        case Input(index):
            value = columns[index]
        case Sum():
            value = sum(last[1:], start=last[0])
        case Product():
            value = math.prod(last[1:], start=last[0])
        case Power(_, Constant(exponent)):
            value = last[0] ** exponent
        case Power():
            value = last[0] ** last[1]
        case Call(name):
            value = getattr(torch, name)(last[0])
    return [*parts, value]


@settings(max_examples=150)
@given(st.recursive(LEAVES, larger, max_leaves=12))
def test_any_formula_has_the_values_and_slopes_of_its_tree(expression):
    model = network(expression, 0.2, 1.5)

    def tree(at):
        inputs = torch.from_numpy(at).requires_grad_()
        parts = evaluated(expression, inputs.unbind(1))
        (slopes,) = torch.autograd.grad(parts[-1].sum() + 0 * inputs.sum(), inputs)
        return torch.cat([parts[-1][:, None], slopes], 1).detach(), torch.stack(parts).abs().amax(0)

    at = points()
    expected, size = tree(at)
    near = [tree(at * (1 + change))[0] for change in (-1e-9, 1e-9)]
    # Rounding in another order shows where parts cancel, and next to poles and ends of domains.
    steady = [((one - expected).abs() < 1e-6 * expected.abs().clamp(min=1)).all(1) for one in near]
    known = steady[0] & steady[1] & (size < 1e4)
    inputs = torch.from_numpy(at).requires_grad_()
    values = model(inputs)
    (slopes,) = torch.autograd.grad(values.sum() + 0 * inputs.sum(), inputs)
    found = torch.cat([values, slopes], 1).detach()
    assert torch.allclose(found[known], expected[known], rtol=1e-9, atol=1e-9)
    assert expression(at) == pytest.approx(expected[:, 0].numpy(), rel=1e-9, nan_ok=True)


HARD = {
    "a constant": exact(3) * Constant(0.25) ** exact(2),
    "an input": z,
    "an input that many edges need": x + x**2 + x**3 + Call("sin", x) + Call("exp", Call("sin", x)),
    "a function and a function of it": Call("sin", x) + Call("exp", Call("sin", x)) * y,
    "both at once": Call("sin", x) + Call("exp", Call("sin", x)),
    "equal terms": x * Call("sin", y) * x * Call("sin", y) + y + y + (x + y) * (x + y),
    "nested powers": ((x**2) ** exact(0.5) + (y ** exact(0.5)) ** 2 + (z**-1) ** exact(-0.5)) ** -1,
    "both vary": x**y + (x + z) ** (y * z) + Constant(2.5) ** (x - 1),
    "quotients of quotients": x / (1 + y / (1 + z / (1 + x))),
    "a scaled shift": Constant(3.0) * (x**2 - 1) * Constant(0.5) + Constant(2.0),
}


@pytest.mark.parametrize("expression", HARD.values(), ids=HARD)
def test_hard_formulas_have_their_values(expression):
    at, model = points(), network(expression, 0.2, 1.5)
    assert model.predict(at)[:, 0].numpy() == pytest.approx(expression(at), rel=1e-12)
    assert all(len({*map(tuple, layer.functions)}) for layer in model.edge_layers)
    below = network((x**2) ** exact(0.5) + y**3, -2, 2).predict(-at)[:, 0].numpy()
    assert below == pytest.approx(at[:, 0] - at[:, 1] ** 3)


def test_free_constants_are_the_only_parameters_and_stay_one_number_each():
    expression = Constant(3.0) * (x**2 - 1) + Call("exp", Constant(0.5) * y) + Constant(0.25)
    model = network(expression)
    values = sorted(number for part in model.parameters() for number in part.tolist())
    assert values == [0.25, 0.5, 3.0]
    assert sum(layer.num_parameters for layer in model.edge_layers) == 3


def test_layers_are_as_few_as_the_formula_needs():
    def functions(formula):
        model = kan_exp.formula_network(formula, dict.fromkeys(NAMES, (1.0, 2.0)))
        table = model.edges().unique(["layer", "input", "output"], maintain_order=True)
        return table.select("input", "function", "output").rows()

    assert functions(WAVE) == [
        ("x", "sin(pi*x)", "h1"),
        ("y", "y**2", "h1"),
        ("h1", "exp(h1)", "f"),
    ]
    assert functions("x/sqrt(1 - (y/z)**2/9)") == [
        ("x", "identity", "h1.1"),
        ("y", "identity", "h1.2"),
        ("z", "1/z", "h1.2"),
        ("h1.1", "identity", "h2.1"),
        ("h1.2", "1 - 0.1111*h1.2**2", "h2.2"),
        ("h2.1", "identity", "f"),
        ("h2.2", "1/sqrt(h2.2)", "f"),
    ]
    (layer,) = kan_exp.formula_network("x*y*z").edge_layers
    assert layer.node_operation == ("product",)


def test_constants_are_trained_by_gradients_and_by_least_squares():
    def expression(a, b):
        return Call("exp", Call("sin", exact(1, "pi") * x) + Constant(a) * y**2) + Constant(b) * z

    at = torch.from_numpy(points(40))
    wanted = torch.from_numpy(expression(0.5, 2.0)(at.numpy()))[:, None]
    for optimize in ("adam", "lm"):
        model = network(expression(0.7, 1.0)).requires_grad_()
        if optimize == "lm":
            optimizer = LevenbergMarquardt(model.network)
            for _ in range(10):
                optimizer.step(lambda: (at, wanted))
        else:
            optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60, tolerance_change=1e-14)

            def loss(optimizer=optimizer, model=model):
                optimizer.zero_grad()
                error = (model(at) - wanted).square().mean()
                error.backward()
                return error

            optimizer.step(loss)
        values = sorted(number for part in model.parameters() for number in part.tolist())
        assert values == pytest.approx([0.5, 2.0], rel=1e-5)


def test_it_is_saved_and_loaded_as_any_model(tmp_path):
    model = network(Constant(0.7) * x**2 * y + Call("log", z), 0.2, 1.5)
    model.save(tmp_path / "f")
    content = torch.load(tmp_path / "f" / "checkpoints" / "best.ckpt", weights_only=True)
    rows = content["kan_exp"]["layers"][0]["options"]["functions"]
    assert sorted(row[2] for row in rows) == ["identity", "log", "power"]
    again = kan_exp.load(tmp_path / "f")
    at = points()
    assert torch.equal(again.predict(at), model.predict(at))
    assert again.edges().equals(model.edges())
    rows[0][2] = "__import__"
    torch.save(content, tmp_path / "f" / "checkpoints" / "best.ckpt")
    with pytest.raises(KanExpError, match="needs functions to be one of"):
        kan_exp.load(tmp_path / "f")


def test_it_is_traced_and_computes_in_float32():
    model = network(Constant(0.7) * x**2 * y + Call("exp", Call("sin", z)))
    at = torch.from_numpy(points())
    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(model, (at[:2],), dynamic_shapes=({0: rows},)).module()
    values = model(at)
    assert torch.equal(program(at), values)
    assert torch.allclose(model.float()(at.float()).double(), values, rtol=1e-5)


def test_exports_have_its_values_and_poles_are_refused(tmp_path):
    lens = kan_exp.formula_network("x/sqrt(1 - y**2/z**2)", {"x": (1, 5), "y": (1, 2), "z": (3, 9)})
    for end in ("npz", "onnx", "pt2", "sql"):
        (line, *_) = lens.export(tmp_path / f"f.{end}")
        assert float(line.split()[5]) < 1e-5, line
    lens.export(tmp_path / "f.h")
    edge = kan_exp.formula_network("sqrt(x)*y", {"x": (0, 1), "y": (0, 1)})
    assert float(edge.export(tmp_path / "edge.npz")[0].split()[5]) < 1e-4
    pole = kan_exp.formula_network("exp(1/x)", {"x": (-1, 1)})
    with pytest.raises(KanExpError, match="1/x is too steep for a table where its input runs from"):
        pole.export(tmp_path / "pole.npz")
    assert pole.export(tmp_path / "pole.pt2")[0].startswith("differs from the model by 0 of")
    assert not (tmp_path / "pole.npz").exists()


def test_a_formula_that_is_not_defined_everywhere_is_looked_at_where_it_is():
    model = kan_exp.formula_network("sqrt(x) + y", {"x": (-1, 1), "y": (0, 1)})
    assert model.sample[:, 0].min() >= 0
    assert len(model.sample) > 100
    model.plot()
    # Without one of its edges the root is that of a negative number at some points.
    model = kan_exp.formula_network(
        "sqrt(x**2 + y**2 - 2*x*y*cos(z))", dict.fromkeys(NAMES, (1, 5))
    )
    assert model.importance(model.sample).method == "gradient"
    model.plot()


def test_the_picture_names_the_functions():
    figure = kan_exp.formula_network("0.31*sin(2*x)*log(temperature_of_the_oil + 3)").plot()
    texts = [text.get_text() for text in figure.texts]
    assert "0.31*sin(2*x)" in texts
    assert any(text.startswith("log(temp") and "…" in text for text in texts)
    assert not any("pass a value on" in text for text in texts)
    figure = kan_exp.formula_network(f"x*{WAVE}").plot()
    texts = [text.get_text() for text in figure.texts]
    assert {"sin(pi*x)", "y**2", "exp(h2)"} <= {*texts}
    assert IDENTITY not in texts
    assert any("without a diagram pass" in " ".join(text.split()) for text in texts)


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("2*`Temp (°C)` + größe", ("Temp (°C)", "größe")),
        ("2*`x` + `x²`", ("x", "x²")),
        ("2*`sin` + `pi`*sin(pi/2)", ("sin", "pi")),
        ("2*`lambda` + `nan`", ("lambda", "nan")),
        ("2*`a b` + a_b", ("a b", "a_b")),
    ],
)
def test_names_in_backticks_may_be_any_text(formula, names):
    model = kan_exp.formula_network(formula)
    assert model.features == names
    assert model.predict([[0.25, 3.0]]).item() == pytest.approx(3.5)
    ranges = dict.fromkeys(names[::-1], (0, 1))
    assert kan_exp.formula_network(formula, ranges).predict([[3.0, 0.25]]).item() == 3.5


def test_intervals_of_a_formula_are_those_of_its_network():
    with pytest.raises(KanExpError, match=r"no intervals: a formula .* take those of the network"):
        kan_exp.formula_network("x").predict_interval([[1.0]])


@pytest.mark.parametrize(
    ("formula", "ranges", "message"),
    [
        ("x", 5, r"ranges must be a mapping, such as \{'x': \(-1, 1\)\}, got 5"),
        ("`x", None, "has '`'"),
        ("sin(x", None, "balance them"),
        ("min(x, y)", None, "cannot have minimum"),
        ("x*y", {"x": (0, 1)}, "uses 'y', but its inputs are x"),
        ("x", {"x": (1, 0)}, r"ranges: x needs its smallest and largest value, got \(1, 0\)"),
        ("x", {"x": (0, float("inf"))}, "ranges: x needs"),
        ("x", {"x": (-1e308, 1e308)}, "ranges: x needs"),
        ("x", {"x": (0,)}, "ranges: x needs"),
        ("x", {"x": 2}, "ranges: x needs"),
        (x + z, {"x": (0, 1), "y": (0, 1)}, "every input of the formula, got x, y"),
        (x, None, "every input of the formula, got none"),
    ],
)
def test_wrong_formulas_and_ranges_are_refused(formula, ranges, message):
    with pytest.raises(KanExpError, match=message):
        kan_exp.formula_network(formula, ranges)
