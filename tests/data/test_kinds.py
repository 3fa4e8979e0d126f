"""What columns hold is recognized, and new fields are read as the columns that were trained on."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.data import columns
from kan_exp.data.column_notes import has_long_tail, is_code
from kan_exp.data.fields import clean_fields, table_decimal
from kan_exp.data.kinds import read_as, recognize
from kan_exp.data.schema import Column
from kan_exp.data.treatment import Treatment


def found(fields, decimal=".", is_target=False, **options):
    """A column of these fields, twelve times, so that there are levels."""
    treatment = Treatment(**options)
    series = fields if isinstance(fields, pl.Series) else pl.Series(list(fields) * 12)
    fields = clean_fields(series, treatment.missing_values)
    return recognize("c", fields, treatment, decimal, is_target)


@pytest.mark.parametrize(
    ("fields", "values", "unit"),
    [
        (["1,234", "12,345,678", "5"], [1234, 12345678, 5], ""),
        (["1,234.5", "-2"], [1234.5, -2], ""),
        (["$1,234", "-$5", "$ 0.50"], [1234, -5, 0.5], "$"),
        (["12 km", "13.5 km", "0"], [12, 13.5, 0], "km"),
        (["5%", "12.5 %"], [5, 12.5], "%"),
        (["USD 5", "USD 1,000.25"], [5, 1000.25], "USD"),
        (["1'234.5", "12"], [1234.5, 12], ""),
        (["1 234", "12 345\u00a0678"], [1234, 12345678], ""),
        (["\N{MINUS SIGN}3", "4 °C"], [-3, 4], "°C"),
        (["7 sq ft", "8 sq ft"], [7, 8], "sq ft"),
        (["3e2 m", "1.5E-3 m"], [300, 0.0015], "m"),
        ([".5", "+1"], [0.5, 1], ""),
    ],
)
def test_numbers_are_read_however_they_are_written(fields, values, unit):
    one = found(fields)
    assert (one.column.kind, one.column.unit, one.fault) == ("number", unit, "")
    assert one.values.to_list() == values * 12


@pytest.mark.parametrize(
    ("fields", "values", "unit"),
    [
        (["1.234,50 €", "2,5 €"], [1234.5, 2.5], "€"),
        (["0,5", "12"], [0.5, 12], ""),
        (["1 234,5", "3"], [1234.5, 3], ""),
        (["1.234.567", "3,25"], [1234567, 3.25], ""),
    ],
)
def test_decimal_commas_are_recognized(fields, values, unit):
    one = found(fields, decimal=None)
    assert (one.column.format, one.column.unit, one.fault) == (",", unit, "")
    assert one.values.to_list() == values * 12
    assert table_decimal([pl.Series(["a"]), pl.Series([1.0]), pl.Series(fields)]) == ","


def test_what_may_be_thousands_or_decimals_is_decided_by_the_table_or_asked():
    fields = ["1,234", "5,678"]
    assert found(fields, decimal=None).fault == columns.COMMAS
    assert found(fields, decimal=".").values[0] == 1234
    assert found(fields, decimal=",").values[0] == 1.234
    assert found(["1.234", "5.678"], decimal=",").values[0] == 1234
    assert found(["1.234", "5.67"], decimal=",").values[0] == 1.234
    assert found(["1.234", "5.678"], decimal=None).values[0] == 1.234


@pytest.mark.parametrize(
    "fields",
    [
        ["3 km", "4 mi"],
        ["A12", "B7"],
        ["1,2,3", "4,5,6"],
        ["1.2.3", "1.2.4"],
        ["10-20", "20-30"],
        ["2024_01", "2024_02"],
        ["=cmd|' /C calc'!A0", "=1+1"],
        ["house", "flat"],
        ["3+", "1", "2"],
        ["12,34.5", "7"],
        ["a\nb", "c"],
    ],
)
def test_other_texts_are_levels(fields):
    one = found(fields)
    assert (one.column.kind, one.fault) == ("category", "")
    assert one.values.to_list() == fields * 12
    assert found(fields, is_target=True).column.kind == "class"


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (["yes", "no"], [1, 0]),
        (["Yes", "NO", "no"], [1, 0, 0]),
        (["TRUE", "false"], [1, 0]),
        (["t", "f"], [1, 0]),
        (["true", "0", "1"], [1, 0, 1]),
        ([True, False], [1, 0]),
    ],
)
def test_words_for_truth_are_booleans(fields, values):
    one = found(fields)
    assert one.column.kind == "boolean"
    assert one.values.to_list() == values * 12
    assert read_as(one.column, pl.Series(["1", "0"])).values.to_list() == [1, 0]
    assert found(["0", "1"]).column.kind == "number"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-31", datetime(2024, 1, 31)),
        ("2024/01/31", datetime(2024, 1, 31)),
        ("31.01.2024", datetime(2024, 1, 31)),
        ("31/01/2024", datetime(2024, 1, 31)),
        ("01/31/2024", datetime(2024, 1, 31)),
        ("31.1.24", datetime(2024, 1, 31)),
        ("31 Jan 2024", datetime(2024, 1, 31)),
        ("Jan 31, 2024", datetime(2024, 1, 31)),
        ("January 31, 2024", datetime(2024, 1, 31)),
        ("31-Jan-2024", datetime(2024, 1, 31)),
        ("2024-01", datetime(2024, 1, 1)),
        ("2024-01-31 17:05", datetime(2024, 1, 31, 17, 5)),
        ("2024-01-31T17:05:09Z", datetime(2024, 1, 31, 17, 5, 9)),
        ("2024-01-31T17:05:09.25+01:00", datetime(2024, 1, 31, 17, 5, 9, 250_000)),
        ("1/31/2024 5:05 PM", datetime(2024, 1, 31, 17, 5)),
        ("17:05", datetime(1970, 1, 1, 17, 5)),
        ("17:05:09", datetime(1970, 1, 1, 17, 5, 9)),
    ],
)
def test_dates_and_times_are_recognized(text, value):
    one = found([text])
    assert (one.column.kind, one.fault) == ("date", "")
    assert one.values.to_list() == [value] * 12


def test_types_of_dates_are_taken_as_they_are():
    for values in ([date(2024, 1, 31)], [time(17, 5)], [datetime(2024, 1, 31, 17)]):
        assert found(values).column.kind == "date"
    zoned = pl.Series(["2024-01-31T17:05"]).str.to_datetime().dt.replace_time_zone("Asia/Tokyo")
    assert found(zoned).values.to_list() == [datetime(2024, 1, 31, 17, 5)]
    assert found([timedelta(minutes=2)]).values[0] == 120


def test_days_and_months_that_may_be_swapped_are_asked_about():
    one = found(["01/02/2024", "03/04/2024"])
    assert (one.fault, one.remedies) == (columns.SWAPPED, ("%d/%m/%Y", "%m/%d/%Y"))
    one = found(["01/02/2024", "03/04/2024"], kinds={"c": "%m/%d/%Y"})
    assert one.values[0] == datetime(2024, 1, 2)
    assert found(["01/02/2024", "03/14/2024"]).values[0] == datetime(2024, 1, 2)
    assert found(["02/02/2024", "03/03/2024"]).fault == ""


def test_names_and_ids_are_refused_and_few_odd_fields_are_faults():
    one = found(pl.Series([f"Ann {k}" for k in range(50)]))
    assert one.fault == columns.NAMES
    many = [f"level {k % 10_000}" for k in range(100_000)]
    assert found(pl.Series(many)).fault == columns.NAMES
    one = found(pl.Series([*map(str, range(50)), "oops", "oops"]))
    assert (one.fault, one.remedies, one.rows.arg_true().to_list()) == (
        columns.TEXT,
        ("oops",),
        [50, 51],
    )
    assert found(pl.Series(["1", "2", "3", "4"] * 20 + ["kg"])).remedies == ("kg",)
    assert found(pl.Series(["1", "1e999", "2"])).remedies == ("inf",)


def test_a_kind_may_be_said():
    one = found([8001, 8002, 8001], kinds={"c": "category"})
    assert one.values.to_list()[:3] == ["8001", "8002", "8001"]
    assert read_as(one.column, pl.Series([8001.0, None])).values.to_list() == ["8001", None]
    assert read_as(one.column, pl.Series(["8001"])).values.to_list() == ["8001"]
    assert found(["1", "0"], kinds={"c": "boolean"}).column.kind == "boolean"
    assert found(["yes", "no"], kinds={"c": "category"}).column.kind == "category"
    assert found(["20240131"], kinds={"c": "%Y%m%d"}).values[0] == datetime(2024, 1, 31)
    assert found([20240131], kinds={"c": "%Y%m%d"}).values[0] == datetime(2024, 1, 31)
    assert found(["a", "b"], kinds={"c": "number"}).fault == columns.TEXT
    assert found(["a", "b"], kinds={"c": "date"}).fault == columns.TEXT


def test_gaps_and_what_stands_for_them_are_null():
    one = found(
        ["1", "", "NA", "-999", "-999.0", "x"], missing="impute", missing_values=[-999, "X"]
    )
    assert one.values.to_list()[:6] == [1, None, None, None, None, None]
    assert one.column.impute
    one = found(pl.Series([1.5, None, float("nan"), -999]), missing_values=[-999])
    assert one.values.to_list() == [1.5, None, None, None]
    # A word among blanks is one of two levels.
    one = found(["x", None, None])
    assert (one.column.kind, one.column.impute, one.is_constant) == ("category", True, False)
    assert one.column.fit(one.values).features == ("c=missing",)
    assert found(["x"]).is_constant
    assert found([None, 7, 7]).is_constant


def test_new_fields_are_read_as_the_column_however_they_are_written():
    column = Column("c", format=",", unit="km")
    for text in (["1.234,5 km", "7"], ["1,234.5", "7.0"], ["1234,5km", "7,0"]):
        assert read_as(column, pl.Series(text)).values.to_list() == [1234.5, 7]
    assert read_as(column, pl.Series(["1.234", "7"])).values.to_list() == [1234, 7]
    one = read_as(column, pl.Series(["3 mi", "4 mi"]))
    assert (one.fault, one.example) == (columns.UNITS, "'mi', trained on 'km'")
    assert read_as(column, pl.Series([3, 4])).values.to_list() == [3, 4]
    column = Column("c", kind="date", format="%d/%m/%Y")
    assert read_as(column, pl.Series(["01/02/2024"])).values[0] == datetime(2024, 2, 1)
    assert read_as(column, pl.Series(["2024-02-01 00:00:00"])).values[0] == datetime(2024, 2, 1)
    assert read_as(column, pl.Series(["soon"])).fault == columns.TEXT
    assert read_as(Column("c", scale="log"), pl.Series([1.0, 0.0])).fault == columns.SCALE


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 100), min_size=2, max_size=8),
    st.sampled_from([("", ""), ("$", ""), ("", " €"), ("CHF ", ""), ("", "%")]),
    st.booleans(),
)
def test_formatted_numbers_come_back(values, around, swapped):
    texts = [f"{around[0]}{value:,.2f}{around[1]}" for value in values]
    if swapped:
        texts = [text.translate(str.maketrans(",.", ".,")) for text in texts]
    one = found(pl.Series(texts), decimal=None)
    assert one.values.to_list() == values


def test_codes_and_long_tails_are_noticed():
    rng = np.random.default_rng(0)
    ages = rng.integers(18, 90, 200).astype(float)
    assert is_code(np.append(ages, -999), -999)
    assert is_code(np.append(ages, 9999), 9999)
    assert not is_code(np.append(ages, 99), 99)
    assert not is_code(np.append(ages, -1), -1)
    assert not is_code(np.append(ages, -998), -998)
    assert is_code(np.append(rng.uniform(0, 0.4, 50), -1), -1)
    assert has_long_tail(np.exp(rng.normal(size=500)))
    assert not has_long_tail(rng.normal(10, 1, size=500))
    assert not has_long_tail(np.append(np.exp(rng.normal(size=500)), 0))


@pytest.mark.parametrize("wrong", ["2024-02-31", "unknown", "31.1.2024"])
def test_a_few_fields_that_are_no_dates_are_faults_of_a_column_of_dates(wrong):
    days = [f"2024-{1 + k % 12:02d}-{1 + k % 28:02d}" for k in range(40)]
    for place in (0, 17, 39):
        fields = pl.Series([*days[:place], wrong, *days[place:]])
        found = recognize("day", clean_fields(fields), Treatment(), None)
        assert (found.column.kind, found.column.format) == ("date", "%Y-%m-%d")
        assert (found.fault, found.remedies) == (columns.TEXT, (wrong,))
        assert found.rows.arg_true().to_list() == [place]
