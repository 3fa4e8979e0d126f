"""A model takes what users have, or says in one line what it takes."""

from __future__ import annotations

import datetime
import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kan_exp
from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError
from kan_exp.layers import LayerSpec, find_layer, make_network
from kan_exp.models.inputs import as_points
from kan_exp.models.model import KANModel
from tests.models.conftest import ArrowTable

CPU = torch.device("cpu")
KINDS = ("Interpo", "", "Spline", "Chebyshev", "Fourier", "RBF", "Rational", "Linear")
ROWS = [[1, -2, 3], [0, 5, 6]]


class Frame:
    """What pandas and polars have in common, as far as it matters here."""

    def __init__(self, **columns) -> None:
        self.data = columns

    def __repr__(self) -> str:
        return f"Frame({', '.join(self.data)})"

    @property
    def columns(self):
        return list(self.data)

    def __getitem__(self, names):
        return Frame(**{name: self.data[name] for name in names})

    def __array__(self, dtype=None, copy=None):
        return np.array(list(self.data.values()), dtype=dtype).T


def make_model(kind: str = "Interpo", width: int = 3, dtype=torch.float32) -> KANModel:
    spec = LayerSpec(find_layer(f"kan_exp.layers.KAN{kind}Layer"), {})
    network = make_network(spec, [width, 2, 1], torch.Generator().manual_seed(0)).to(dtype)
    ones = [torch.ones(n, dtype=torch.float64) for n in (width, width, 1, 1)]
    return KANModel(network, Scaling(*ones), Schema.of_numbers("abc"[:width], "y")).eval()


@pytest.mark.parametrize(
    "x",
    [
        ROWS,
        tuple(map(tuple, ROWS)),
        [np.array(row) for row in ROWS],
        [torch.tensor(row) for row in ROWS],
        [[torch.tensor(float(value)) for value in row] for row in ROWS],
        np.array(ROWS),
        np.array(ROWS, dtype=np.int8),
        np.array(ROWS, dtype=np.float16),
        np.array(ROWS, dtype=np.float32),
        np.array(ROWS, dtype=">f8"),
        np.array(ROWS, dtype=np.longdouble),
        np.array(ROWS, dtype=object),
        np.array(ROWS, order="F", dtype=float),
        np.array(ROWS, dtype=float)[::-1][::-1],
        torch.tensor(ROWS),
        torch.tensor(ROWS, dtype=torch.uint8).to(torch.int8),
        torch.tensor(ROWS, dtype=torch.float16),
        torch.tensor(ROWS, dtype=torch.float32),
        torch.tensor(ROWS, dtype=torch.float64),
        Frame(a=[1, 0], b=[-2, 5], c=[3, 6]),
        Frame(y=[9, 9], c=[3, 6], a=[1, 0], b=[-2, 5]),  # another order, and the target
        Frame(p=[1, 0], q=[-2, 5], r=[3, 6]),  # names of its own: by place
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}",
)
def test_anything_with_numbers_is_taken(x):
    model = make_model()
    expected = model(torch.tensor(ROWS, dtype=torch.float64))
    for found in (model(x), model.predict(x)):
        torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ones((5, 4)), r"takes x of shape (n, 3) (a, b, c), got (5, 4)."),
        (torch.ones(5, 4), r"takes x of shape (n, 3) (a, b, c), got (5, 4)."),
        (torch.ones(2, 5, 3), "got (2, 5, 3)."),
        ([1.0, 2.0], "got (2,)."),
        (3.0, "got ()."),
        ([], "got (0,)."),
        ([["1", "2", "3"]], "takes numbers for x"),
        ([[1, 2, 3], [4, 5]], "takes numbers for x"),
        ([[1, 2, "three"]], "takes numbers for x"),
        ({"a": 1.0}, "takes the columns a, b, c, but x lacks b, c."),
        (None, "takes"),
        (np.array([["2020-01-01"] * 3], dtype="datetime64[D]"), "takes numbers for x"),
        (np.ones((2, 3)) * 1j, "takes numbers for x"),
        (torch.ones(2, 3) * 1j, "takes real numbers"),
        (Frame(a=[1.0], b=[2.0]), "takes the columns a, b, c, but x lacks c."),
        (Frame(A=[1.0], b=[2.0], c=[3.0]), "takes the columns a, b, c, but x lacks a."),
    ],
    ids=str,
)
def test_anything_else_is_refused_in_a_line(x, said):
    model = make_model()
    for call in (model, model.predict):
        with pytest.raises(KanExpError) as caught:
            call(x)
        message = str(caught.value)
        assert message.startswith("model takes")
        assert said in message
        assert message.isprintable()


def test_one_dimension_is_one_point_or_the_points_of_one_input():
    one, three = make_model(width=1), make_model()
    values = [0.5, -1.0, 2.0]
    assert torch.equal(one(values), one(np.array(values)[:, None]))
    assert torch.equal(three(values), three([values]))
    assert one([0.5]).shape == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_no_number_spoils_only_itself(kind):
    model = make_model(kind)
    x = np.array(ROWS * 3, dtype=float)
    whole = model.predict(x)
    x[4, 1] = math.nan
    found = model.predict(x)
    assert found[4].isnan()
    rest = [0, 1, 2, 3, 5]
    assert torch.equal(found[rest], whole[rest])
    masked = np.ma.MaskedArray(np.array(ROWS * 3), mask=np.isnan(x))
    assert torch.equal(model.predict(masked)[rest], whole[rest])
    assert model.predict(masked)[4].isnan()
    assert model.predict([[None, 1, 2]]).isnan().all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_rows(kind):
    assert make_model(kind).predict(np.empty((0, 3))).shape == (0, 1)


@given(st.lists(st.lists(st.integers(-(2**53), 2**53), min_size=3, max_size=3), min_size=1))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_integers_keep_their_digits(rows):
    """Seconds since 1970 in float32 would lose the minutes."""
    for x in (rows, np.array(rows), torch.tensor(rows)):
        found = as_points(x, Schema.of_numbers("abc"), CPU)
        assert found.dtype == torch.float64
        assert found.tolist() == rows


def test_a_loaded_model_gives_results_without_a_gradient_unless_asked(
    make_data, make_trainer, tmp_path
):
    from kan_exp.train import prepare

    small = ["optimizer=adam", "steps=4", "evaluations=1", "points=50", "dims=[2,2,1]"]
    prepare([*small, "layer=interpo", "logger=none", "~callbacks.figures"], tmp_path).run()
    model = kan_exp.load(tmp_path)
    for x in (np.zeros((2, 2)), torch.zeros(2, 2), [[0.0, 0.0]]):
        assert not model(x).requires_grad
        assert not model.predict(x).requires_grad
    x = torch.zeros(2, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert slope.abs().sum() > 0
    assert not model.predict(x).requires_grad
    model.requires_grad_()
    model(torch.zeros(2, 2)).sum().backward()
    assert all(part.grad is not None for part in model.network.parameters())


COLUMNS = dict(zip("abc", np.array(ROWS, dtype=float).T, strict=True))


@pytest.mark.parametrize(
    "x",
    [
        {**COLUMNS, "other": ["p", "q"]},
        dict(reversed(COLUMNS.items())),
        np.array([*map(tuple, ROWS)], dtype=[(name, float) for name in "abc"]),
        torch.tensor(ROWS, dtype=torch.float64).to_sparse(),
    ],
    ids=["mapping", "reversed", "structured", "sparse"],
)
def test_columns_are_taken_by_name_and_sparse_tensors_as_dense(x):
    model = make_model()
    expected = model(torch.tensor(ROWS, dtype=torch.float64))
    for found in (model(x), model.predict(x)):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([[10**400, 1, 1]], "too large"),
        (memoryview(np.zeros((2, 3))), "takes numbers for x"),
        (Frame(a=np.array(["2020-01-01"], "M8[D]"), b=[1.0], c=[2.0]), "column 'a': datetime64[D]"),
        (Frame(a=[1.0], b=["n/a"], c=[2.0]), "column 'b'"),
        ({"a": [1.0], "b": [1.0]}, "takes the columns a, b, c, but x lacks c."),
    ],
    ids=["large", "memoryview", "dates", "text", "mapping"],
)
def test_what_is_no_number_is_told_by_its_column(x, said):
    model = make_model()
    for call in (model, model.predict):
        with pytest.raises(KanExpError) as caught:
            call(x)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()


def test_durations_are_seconds():
    hours = np.array([1, "NaT"], "m8[h]")
    found = as_points({"a": hours, "b": [1.0, 2.0]}, Schema.of_numbers("ab"), CPU)
    np.testing.assert_array_equal(found, [[3600.0, 1.0], [np.nan, 2.0]])


def test_a_date_among_numbers_is_no_number():
    polars = pytest.importorskip("polars")
    columns = {"a": [datetime.date(2020, 1, 1)], "b": [1.0], "c": [2.0]}
    with pytest.raises(KanExpError, match="column 'a'"):
        make_model()(polars.DataFrame(columns))


def test_rows_as_mappings_and_frames_that_are_not_computed_yet():
    rows = [dict(zip("abc", row, strict=True)) for row in ROWS]
    for x in (rows, pl.LazyFrame(rows), ArrowTable(pl.DataFrame(rows))):
        torch.testing.assert_close(
            as_points(x, Schema.of_numbers("cab"), CPU), torch.tensor(ROWS).double()[:, [2, 0, 1]]
        )
