"""What kan_exp.explain takes, what it compares, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import kan_exp
from kan_exp.data.points import Scaling
from kan_exp.data.schema import Column, Schema
from kan_exp.errors import KanExpError
from kan_exp.layers import KANInterpoLayer
from kan_exp.models.model import KANModel
from kan_exp.symbolic import explaining
from kan_exp.symbolic.edges import name_edges
from kan_exp.symbolic.expression import Call, Constant
from kan_exp.symbolic.observations import network_observations
from kan_exp.symbolic.search import Search
from tests.symbolic.made import candidate, points, searched, x, y


@pytest.fixture
def finds(monkeypatch):
    """Lets the search find a formula; gives what it was asked."""

    def find(*expressions, found=True):
        asked = {}
        search = searched(*expressions, found=found)

        def recorded(at, values, **options):
            asked.update(options, x=at, y=values)
            return search(at, values, **options)

        monkeypatch.setattr(explaining, "search", recorded)
        return asked

    return find


def test_one_row_in_ten_is_kept_from_the_search(finds):
    at = points(200, 2)
    asked = finds(x * y)
    explanation = kan_exp.explain(at, at.prod(1), seconds=3, seed=7)
    assert explanation.formula == "x0*x1"
    assert asked["x"].shape == (180, 2)
    assert (asked["seconds"], asked["seed"]) == (3, 7)
    assert explanation.fresh
    assert explanation.differences[0][:3] == ("formula - data", 20, 0)
    assert explanation.data_difference == 0
    assert explanation.network_difference is None
    seen = {tuple(row) for row in asked["x"]}
    assert len(seen & {tuple(row) for row in at}) == 180


def test_few_rows_are_all_searched(finds):
    asked = finds(x + y)
    explanation = kan_exp.explain(points(20, 2), points(20, 2).sum(1))
    assert len(asked["x"]) == 20
    assert not explanation.fresh
    assert "20 rows are few" in " ".join(explanation.notes)
    assert "(on 20 rows that the search saw)" in repr(explanation)
    assert explanation.pareto["test_rmse"].to_list() == [None]


FRAME = {"b c": [1.0, 2, 3, 4, 5, 6], "name": list("uvwxyz"), "a": [3, 1, 2, 5, 4, 6]}


@pytest.mark.parametrize(
    "kind",
    [
        pl.DataFrame,
        pl.LazyFrame,
        pd.DataFrame,
        dict,
        lambda frame: pl.DataFrame(frame).to_dicts(),
        lambda frame: pd.DataFrame(frame).to_records(index=False),
        lambda frame: pd.DataFrame(frame | {"name": list("123456")}),  # texts, all the same
    ],
    ids=["polars", "lazy", "pandas", "dict", "rows", "records", "digits"],
)
def test_columns_of_numbers_are_taken_by_name(finds, kind):
    finds(x - y)
    series = pl.Series("z", np.array(FRAME["b c"]) - FRAME["a"])
    explanation = kan_exp.explain(kind(FRAME), series)
    assert explanation.formula == "`b c` - a"
    assert explanation.target == "z"
    assert "columns without numbers are left out: name." in explanation.notes


def test_arrays_tensors_and_names(finds):
    finds(2 * x)
    at = torch.arange(1.0, 9.0)
    assert kan_exp.explain(at, 2 * at, names=["t"]).formula == "2*t"
    for kind in (torch.Tensor.bfloat16, torch.Tensor.to_sparse, torch.Tensor.requires_grad_):
        assert kan_exp.explain(kind(at[:, None].clone()), kind(2 * at)).data_difference == 0
    weights = np.arange(8.0)
    asked = finds(2 * x)
    kan_exp.explain(at.tolist(), (2 * at)[:, None], weight=weights)
    assert asked["weight"].tolist() == weights[1:].tolist()  # a row of weight 0 is none


def test_one_of_several_outputs(finds):
    at = points(20, 2)
    values = np.stack([at[:, 0], at[:, 1]], 1)
    finds(y)
    explanation = kan_exp.explain(at, values, output=1)
    assert (explanation.target, explanation.data_difference) == ("y1", 0)
    frame = pl.DataFrame({"u": at[:, 0], "v": at[:, 1]})
    assert kan_exp.explain(at, frame, output="v").target == "v"
    with pytest.raises(KanExpError, match=r"y has the outputs u, v: choose one by output=\.\.\.$"):
        kan_exp.explain(at, frame)
    with pytest.raises(KanExpError, match="output='w': y has the outputs u, v"):
        kan_exp.explain(at, frame, output="w")


GOOD = points(30, 2)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((GOOD,), {}, "explain takes X and y"),
        ((GOOD, GOOD[:, 0], GOOD[:, 0]), {}, "explain takes X and y, or a model"),
        ((GOOD, GOOD[:5, 0]), {}, "X has 30 rows, but y has 5"),
        ((GOOD[:4], GOOD[:4, 0]), {}, "at least 5 rows, got 4"),
        (
            (np.where(GOOD < 0.55, np.nan, GOOD), GOOD[:, 0]),
            {},
            "rows have gaps or infinite values: leave them out",
        ),
        ((np.ma.masked_less(GOOD, 0.55), GOOD[:, 0]), {}, "rows have gaps or infinite values"),
        ((GOOD, list("ab") * 15), {}, "y must be numbers, got list"),
        ((GOOD, None), {}, "explain takes X and y"),
        ((pl.DataFrame({"a": ["b"] * 30}), GOOD[:, 0]), {}, r"no column of numbers \(a\)"),
        ((GOOD[:, :0], GOOD[:, 0]), {}, r"shape \(n, in\)"),
        ((np.ones((30, 2)), GOOD[:, 0]), {}, "no input varies"),
        ((GOOD, GOOD[:, 0]), {"seconds": 0}, "seconds must be a number above 0, got 0"),
        ((GOOD, GOOD[:, 0]), {"seconds": float("inf")}, "seconds must be a number above 0"),
        ((GOOD, GOOD[:, 0]), {"names": ["a"]}, "2 different names"),
        ((GOOD, GOOD[:, 0]), {"names": ["a", "a"]}, "2 different names"),
        ((GOOD, GOOD[:, 0]), {"names": "ab"}, "a list of texts"),
        ((GOOD, GOOD[:, 0]), {"weight": [-1.0] * 30}, "weight must be 30 numbers of at least 0"),
        ((GOOD, GOOD[:, 0]), {"weight": [0.0] * 30}, "and not all 0"),
        ((GOOD, GOOD[:, 0]), {"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ((GOOD, GOOD[:, 0]), {"output": "w"}, "output='w': y has the outputs y"),
        ((pd.DataFrame(GOOD, columns=["a", "a"]), GOOD[:, 0]), {}, "columns of the same name"),
        ((GOOD, GOOD[:, 0]), {"weight": [1.0] * 3}, "weight must be 30 numbers"),
    ],
)
def test_what_cannot_be_explained_is_one_line(finds, arguments, options, said):
    finds(x)
    with pytest.raises(KanExpError, match=said) as caught:
        kan_exp.explain(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_odd_targets_are_named(finds, monkeypatch):
    finds(x)
    two = kan_exp.explain(GOOD, (GOOD[:, 0] > 1).astype(int))
    assert "two values" in " ".join(two.notes)
    flat = kan_exp.explain(np.column_stack([GOOD[:, 0], np.ones(30)]), GOOD[:, 0])
    assert "constant inputs can have no effect: x1." in flat.notes
    monkeypatch.setattr(explaining, "search", None)  # is not called
    constant = kan_exp.explain(GOOD, np.full(30, 2.5))
    assert constant.formula == "2.5"
    assert "the target is constant" in " ".join(constant.notes)


def test_numpy_warns_of_nothing_that_a_search_tries(monkeypatch):
    def search(*_, **__):
        np.log(np.zeros(1))
        return Search()

    monkeypatch.setattr(explaining, "search", search)
    assert not kan_exp.explain(GOOD, GOOD[:, 0], seconds=np.int64(1)).found


def test_a_search_without_an_answer_leaves_the_mean(monkeypatch):
    other = candidate(Constant(0.9), GOOD, GOOD[:, 0])  # a mean of fewer rows
    ended = Search([other], complete=False)
    monkeypatch.setattr(explaining, "search", lambda *_, **__: ended)
    values = np.linspace(-1, 3, 30)
    explanation = kan_exp.explain(GOOD, values)
    assert float(explanation.formula) == pytest.approx(1)
    assert not explanation.found
    assert explanation.pareto["origin"].to_list() == ["the mean"]
    assert explanation.verdict.startswith("no formula found before the search ended")


def model_of(outputs=1, schema=None, activation="identity", output_names=()):
    """A network that is `a + 2 b` in each output."""
    schema = schema or Schema.of_numbers("ab", "z")
    width = len(schema.features)
    layer = KANInterpoLayer(width, outputs, num_x=2, x_min=-1.0, x_max=1.0)
    with torch.no_grad():
        for k, slope in enumerate([1.0, 2.0, 5.0][:width]):
            layer.values[k] = slope * torch.tensor([[-1.0], [1.0]])
    ones, zeros = torch.ones(width), torch.zeros(width)
    scaling = Scaling(zeros, ones, torch.zeros(outputs), torch.ones(outputs))
    network = torch.nn.Sequential(layer)
    return KANModel(network, scaling, schema, activation, output_names).eval()


LINE = x + 2 * y


def test_a_network_is_compared_with_the_formula_and_the_data(finds):
    at = points(200, 2)
    finds(LINE)
    explanation = kan_exp.explain(model_of(), at, LINE(at) + 0.1)
    assert [one.between for one in explanation.differences] == [
        "formula - network",
        "formula - data",
        "network - data",
    ]
    assert explanation.network_difference == pytest.approx(0, abs=1e-5)
    assert explanation.data_difference == pytest.approx(0.1)
    assert explanation.names == ("a", "b")


def test_a_network_is_run_once_for_all_outputs():
    model, at = model_of(outputs=3), torch.from_numpy(points(30, 2))
    runs = []
    model.network.register_forward_hook(lambda *_: runs.append(1))
    names = [model.names[2], model.names[0]]
    found = network_observations(model, (at, None), None, None, names)
    assert [one.target for one in found] == names
    assert len(runs) == 1
    for one in found:
        assert one.y == pytest.approx(LINE(at.numpy()), abs=1e-5)
        assert one.network(at.numpy()) == pytest.approx(one.y)


def test_units_of_columns_are_given_to_the_search(finds):
    at = points(200, 2)
    asked = finds(LINE)
    units = {"a": "m", "b": "s", "z": "kg"}
    explanation = kan_exp.explain(model_of(), at, LINE(at), units=units)
    dimensions = asked["dimensions"]
    assert (*dimensions.inputs, dimensions.target) == ((0, 1, 0), (0, 0, 1), (1, 0, 0))
    assert explanation.units == units
    schema = Schema((Column("a"), Column("b")), (Column("z", scale="log"),))
    kan_exp.explain(model_of(schema=schema), at, np.exp(LINE(at)), units=units)
    assert asked["dimensions"].is_logarithm
    classes = Schema((Column("a"), Column("b")), (Column("z", "class", levels=("no", "yes")),))
    kan_exp.explain(model_of(schema=classes, activation="sigmoid"), at, units={"a": "m"})
    assert asked["dimensions"].target == (0,)
    with pytest.raises(KanExpError, match="units: there is no column 'c' among a, b, z"):
        kan_exp.explain(model_of(), at, LINE(at), units={"c": "m"})


def test_sizes_beyond_the_range_of_squares_are_refused():
    at = points(30, 2)
    with pytest.raises(KanExpError, match=r"x1 has values of size 2e\+200.*change its unit"):
        kan_exp.explain(at * [1, 1e200], at[:, 0])
    with pytest.raises(KanExpError, match="y has values of size 2e-200"):
        kan_exp.explain(at, at[:, 0] * 1e-200)


def test_without_y_the_network_itself_is_explained(finds):
    at = points(30, 2)
    asked = finds(LINE)
    explanation = kan_exp.explain(model_of(), at)
    assert asked["y"] == pytest.approx(LINE(at), abs=1e-5)
    assert explanation.target == "z"
    assert [one.between for one in explanation.differences] == ["formula - network"]


def test_a_network_that_has_not_learned_is_named(finds):
    at = points(200, 2)
    finds(Call("sin", 9 * x))
    explanation = kan_exp.explain(model_of(), at, np.sin(9 * at[:, 0]))
    assert any("the network has not learned" in note for note in explanation.notes)


def test_log_odds_of_two_classes(finds):
    schema = Schema((Column("a"), Column("b")), (Column("z", "class", levels=("no", "yes")),))
    asked = finds(LINE)
    explanation = kan_exp.explain(model_of(1, schema, "classes"), points(30, 2))
    assert asked["y"] == pytest.approx(LINE(points(30, 2)), abs=1e-5)
    assert explanation.target == "log-odds of yes"
    three = ("no", "yes", "maybe")
    schema = Schema(schema.inputs, (Column("z", "class", levels=three),))
    with pytest.raises(KanExpError, match="numbers and two classes, but the network has 3 classes"):
        kan_exp.explain(model_of(3, schema, "classes"), points(30, 2))


def test_scaled_columns_are_in_their_own_units_and_categories_are_left_out(finds):
    inputs = (
        Column("size", scale="log"),
        Column("color", "category", levels=("blue", "red")),
    )
    schema = Schema(inputs, (Column("price", scale="log"),))
    model = model_of(schema=schema)
    table = pl.DataFrame({"size": np.exp(points(40, 1)[:, 0]), "color": ["red", "blue"] * 20})
    asked = finds(Call("log", x))
    price = pl.Series("price", table["size"].to_numpy() ** 1.0)
    explanation = kan_exp.explain(model, table, price)
    assert asked["x"][:, 0] == pytest.approx(table["size"].to_numpy())
    assert explanation.target == "log(price)"
    assert explanation.data_difference == pytest.approx(0, abs=1e-9)
    # A network of log(size) and an indicator, which is 1 or 0.
    assert explanation.network_difference == pytest.approx(np.sqrt(2), abs=1e-5)
    assert "the formula has no columns but numbers: without color." in explanation.notes


def test_a_single_quantile_is_explained_from_the_network(finds):
    model = model_of(output_names=["z q0.9"])
    finds(LINE)
    explanation = kan_exp.explain(model, points(200, 2), points(200, 2)[:, 0])
    assert explanation.target == "z q0.9"
    assert explanation.data_difference is None
    assert "of the network's quantile" in " ".join(explanation.notes)


def test_many_rows_are_sampled(finds, monkeypatch):
    monkeypatch.setattr(explaining, "MAX_ROWS", 50)
    asked = finds(LINE)
    explanation = kan_exp.explain(points(100, 2), LINE(points(100, 2)))
    assert len(asked["x"]) == 50
    assert "the search saw 50 of 90 rows, drawn at random." in explanation.notes


def test_edges_are_named_where_no_formula_is_found(finds):
    finds(x, found=False)
    explanation = kan_exp.explain(model_of(), points(200, 2))
    (first, second) = explanation.edge_names
    assert (first.edge, second.edge) == ("a → z", "b → z")
    assert second.formula == "2*b"
    assert "b → z  2*b (error " in "\n".join(explanation.edge_lines())
    finds(LINE)
    assert not kan_exp.explain(model_of(), points(200, 2)).edge_names


def test_edges_without_a_name_are_marked():
    layer = KANInterpoLayer(3, 1, num_x=5, x_min=0.0, x_max=4.0)
    with torch.no_grad():
        layer.values.zero_()
        layer.values[1, :, 0] = torch.tensor([0.0, 5, -3, 2, 0])
        layer.values[2, :, 0] = torch.arange(5.0)
    scaling = Scaling(torch.zeros(3), torch.ones(3), torch.zeros(1), torch.ones(1))
    schema = Schema.of_numbers("abc", "z")
    model = KANModel(torch.nn.Sequential(layer), scaling, schema).eval()
    at = torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) * 4
    at[:, 2] = at[:, 2].round()
    names = name_edges(model.views(at), seconds=60)
    assert [(one.formula, one.remark) for one in names] == [
        ("0", "constant"),
        ("table", "like no function that is known"),
        ("table", "seen at too few values"),
    ]
    late = name_edges(model.views(at), seconds=-1.0)
    assert late[1].remark == "not tried: no time left"


def test_the_name_is_a_function_before_and_after_its_module_is_imported(finds):
    import importlib

    finds(x)
    command = importlib.import_module("kan_exp.explain")
    assert callable(kan_exp.explain)
    assert kan_exp.explain(GOOD, GOOD[:, 0]).formula == "x0"
    assert command.explain is not kan_exp.explain
