"""The schema that is stored with a model comes back as it was."""

from __future__ import annotations

import json
import math
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from kan_exp.data import Column, SampledData, Schema
from kan_exp.data.new_levels import NewLevels
from kan_exp.targets import Target


def test_a_schema_comes_back_from_plain_containers():
    schema = Schema.of_numbers(["rooms", "${age}"], ["price", "rent"])
    stored = json.loads(json.dumps(schema.describe()))
    assert Schema.restore({"schema": stored}) == schema
    assert (schema.features, schema.targets) == (("rooms", "${age}"), ("price", "rent"))
    assert schema.names == ("rooms", "${age}", "price", "rent")
    assert schema.target_name == "price, rent"


def test_a_checkpoint_of_an_earlier_version_has_columns_of_numbers():
    old = {"features": ["a", "b"], "target": "y"}
    assert Schema.restore(old) == Schema((Column("a"), Column("b")), (Column("y"),))


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"inputs": [{"name": "a"}]},
        {"inputs": ["a"], "outputs": []},
        {"inputs": [{"name": "a", "kind": "image"}], "outputs": []},
        {"inputs": [{"name": "a", "width": 3}], "outputs": []},
        {"inputs": [{"name": 5}], "outputs": []},
    ],
)
def test_other_content_is_refused(stored):
    with pytest.raises((LookupError, TypeError, ValueError)):
        Schema.restore({"schema": stored})


def test_names_of_data_are_those_of_the_schema():
    data = SampledData(Target("a*b"), 10, 5, 5, seed=0)
    assert data.schema == Schema.of_numbers(["a", "b"], ["f"])
    assert (data.features, data.target_name) == (("a", "b"), "f")


def frame(**columns):
    return pl.DataFrame(columns)


def test_categories_are_one_hot_and_rare_levels_share_a_feature():
    levels = ["b"] * 40 + ["a"] * 30 + ["c"] * 24 + ["r", "s", "t", "u", "v", "v"]
    schema = Schema((Column("k", "category"), Column("s", "category")))
    fitted = schema.fit(frame(k=levels, s=["m", "f"] * 50))
    assert fitted.features == ("k=a", "k=b", "k=c", "k=other", "s=m")
    found = fitted.encode(frame(k=["a", "v", "new", "c"], s=["f", "m", "f", "x"]))
    assert found.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0.5]]
    assert Schema.restore({"schema": json.loads(json.dumps(fitted.describe()))}) == fitted


def test_levels_that_are_new_are_counted_and_a_few_are_kept():
    schema = Schema((Column("k", "category"), Column("s", "category"), Column("x")))
    fitted = schema.fit(frame(k=["a", "b", "b"] * 9 + ["v"], s=["m", "f"] * 14, x=range(28)))
    found = NewLevels(fitted)
    assert found.lines() == []
    known = {"s": ["m", "f", "m", None, "m"], "x": [0.0] * 5}
    found.add(frame(k=["a", "v", "new", None, "new"], **known))
    assert found.lines() == [
        "column 'k' has levels in 2 rows that are not in the training rows ('new'): their "
        "predictions are guesses."
    ]
    for part in range(1000):
        found.add(frame(k=["new", f"n{part}", f"m{part}", "a", "b"], **known))
    (line,) = found.lines()
    assert "in 3,002 rows that" in line
    assert "('new', 'n0', 'm0', ...)" in line
    assert found.examples["k"] == ["new", "n0", "m0", "n1"]  # not more


def test_gaps_are_filled_with_what_the_training_rows_have():
    columns = (Column("a", impute=True), Column("k", "category", impute=True))
    values = [None, 1.0, 2.0, 30.0] * 10
    fitted = Schema(columns).fit(frame(a=values, k=["u", None, "v", "v"] * 10))
    assert fitted.features == ("a", "a=missing", "k=u", "k=v", "k=missing")
    found = fitted.encode(frame(a=[None, 7.0], k=["v", None]))
    assert found.tolist() == [[2, 1, 0, 1, 0], [7, 0, 0, 0, 1]]
    # Without gaps in training there is no feature for them.
    fitted = Schema(columns).fit(frame(a=[1.0, 2.0, 6.0], k=["u", "v", "w"]))
    assert fitted.features == ("a", "k=u", "k=v", "k=w")
    gaps = pl.DataFrame({"a": [None], "k": [None]}, {"a": pl.Float64, "k": pl.String})
    assert fitted.encode(gaps).tolist() == [[2, 0, 0, 0]]


def test_dates_become_the_parts_that_vary():
    days = pl.date_range(date(2023, 1, 1), date(2024, 12, 31), eager=True).cast(pl.Datetime("us"))
    fitted = Schema((Column("d", "date"),)).fit(frame(d=days))
    assert fitted.features == (
        *("d.year", "d.dayofyear_sin", "d.dayofyear_cos", "d.weekday_sin", "d.weekday_cos"),
    )
    monday, march = pl.Series([datetime(2024, 1, 1), datetime(2024, 3, 1)]), 60 / 366 * 2 * math.pi
    found = fitted.encode(frame(d=monday))
    np.testing.assert_allclose(found[0], [2024, 0, 1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(found[1, 1:3], [math.sin(march), math.cos(march)])
    assert found[1, 1] == fitted.encode(frame(d=[datetime(2023, 3, 1)]))[0, 1]
    new_years = pl.Series([datetime(year, 1, 1) for year in range(1970, 1983)])
    assert Schema((Column("d", "date"),)).fit(frame(d=new_years)).features == ("d.year",)
    hours = pl.Series([datetime(2024, 5, 6, hour) for hour in range(24)])
    fitted = Schema((Column("d", "date"),)).fit(frame(d=hours))
    assert fitted.features == ("d.time_sin", "d.time_cos")
    np.testing.assert_allclose(fitted.encode(frame(d=hours))[6], [1, 0], atol=1e-12)


def test_what_does_not_vary_is_left_out_and_names_are_unique():
    schema = Schema((Column("k"), Column("a"), Column("b", "category"), Column("b=v")))
    values = frame(k=[1.0] * 4, a=[0.0, 1, 2, 3], b=["u", "v"] * 2, **{"b=v": [1.0, 2, 3, 4]})
    fitted = schema.fit(values)
    assert fitted.features == ("a", "b=v", "b=v (2)")
    assert fitted.encode(values)[:, 1:].tolist() == [[0, 1], [1, 2], [0, 3], [1, 4]]
    assert not fitted.is_plain
    assert fitted.columns == ("a", "b", "b=v")


def test_classes_are_indices_of_their_levels():
    fitted = Schema((), (Column("y", "class"), Column("z"))).fit(
        frame(y=["b", "a", "b"], z=[1.0, 2.0, 3.0])
    )
    assert fitted.outputs[0].levels == ("a", "b")
    assert fitted.encode_outputs(frame(y=["a", "b"], z=[5.0, 6.0])).tolist() == [[0, 5], [1, 6]]
