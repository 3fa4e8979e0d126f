"""Units of columns: what pint reads of them, and what a formula says about them."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.symbolic import units
from kan_exp.symbolic.explanation import Explanation
from kan_exp.symbolic.units import check_units, read_units

GIVEN = {"m": "kg", "v": "m/s", "E": "J"}


def test_units_become_exponents_of_base_dimensions():
    read = read_units({**GIVEN, "other": "K"}, ["v", "m", "n"], "E")
    assert read.given == {"v": "m/s", "m": "kg", "E": "J"}
    assert read.base == ("kg", "m", "s")
    assert read.dimensions.inputs == ((0, 1, -1), (1, 0, 0), None)
    assert read.dimensions.target == (1, 2, -2)
    assert read.text((1, 2, -2)) == "kg*m**2/s**2"
    assert read.text((Fraction(-1, 2), 0, 0)) == "1/kg**(1/2)"
    assert read.text((0, 0, 0)) == ""
    assert read_units(GIVEN, ["a", "b"], "c") is None


def test_units_of_a_target():
    assert read_units({"m": "kg"}, ["m"], "E").dimensions.target is None
    assert read_units({"m": "kg"}, ["m"], None).dimensions.target == (0,)  # log-odds
    logarithm = read_units(GIVEN, ["m"], "E", "log").dimensions
    assert logarithm.is_logarithm
    assert logarithm.target == (1, 2, -2)
    assert read_units(GIVEN, ["m"], "E", "log1p").dimensions.target is None
    # A name that an input has is the input's.
    assert read_units({"y": "kg"}, ["y"], "y").dimensions.target is None


def test_units_are_those_of_the_data():
    read = read_units({"d": "km", "t": "h", "v": "km/h"}, ["d", "t"], "v")
    assert (set(read.base), read.notes) == ({"km", "h"}, ())
    (note,) = read_units({"d": "km", "t": "h", "v": "m/s"}, ["d", "t"], "v").notes
    assert note.endswith("hold the factors between v [m / s] and products of km, h.")
    assert read_units({"x": "1", "y": "percent"}, ["x"], "y").dimensions.inputs == ((),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"m": "foo"}, r"'m' has the unit 'foo', which pint cannot read \('foo' is not defined"),
        ({"m": "$"}, r"'m' has the unit '\$', which pint cannot read"),
        ({"m": "2*m"}, "write it as m/s"),
        ({"M": "kg"}, r"no column 'M' among m, v, E. Did you mean 'm'\?"),
        (["m"], r"must be units by column, such as \{m: kg, v: m/s\}, got \['m'\]"),
        ("kg", r"must be units by column, such as \{m: kg, v: m/s\}, got 'kg'"),
    ],
)
def test_what_is_no_unit_is_refused(given, message):
    with pytest.raises(KanExpError, match=f"^data.units.*{message}"):
        check_units(given, GIVEN, "data.units")


def test_units_need_pint(monkeypatch):
    monkeypatch.setitem(sys.modules, "pint", None)
    units._registry.cache_clear()
    with pytest.raises(KanExpError, match=r"units needs pint: pip install 'kan_exp\[units\]'"):
        check_units({"m": "kg"}, ["m"])
    assert check_units(None, ["m"]) == {}
    assert check_units({"m": None}, ["m"]) == {}


def test_units_as_the_command_line_has_them():
    given = ["a b: m/s**2", "c:d: °C"]
    assert check_units(given, ["a b", "c:d"]) == {"a b": "m/s**2", "c:d": "°C"}


def test_a_formula_has_units(tmp_path, monkeypatch):
    x = pl.DataFrame({"t": np.linspace(1, 3, 200)})
    y = 4.905 * x["t"].to_numpy() ** 2
    found = kan_exp.explain(x, y, units={"t": "s", "y": "m"}, seconds=2)
    assert (found.formula, found.found) == ("4.905*t**2", True)
    assert found.constants["unit"].to_list() == ["m/s**2"]
    lines = [line.split(maxsplit=1) for line in found.lines()]
    assert ["constants", "4.905 m/s**2"] in lines
    assert ["units", "t [s], y [m]"] in lines
    monkeypatch.setenv("HOME", str(tmp_path))
    found.save("~/falls")
    assert (tmp_path / "falls" / "formula.json").is_file()
    loaded = Explanation.load("~/falls")
    assert loaded.lines() == found.lines()
    assert loaded.constants.equals(found.constants)


def test_what_fits_but_for_its_units_is_said():
    x = pl.DataFrame(np.random.default_rng(0).uniform(1, 3, (100, 2)), schema=["m", "v"])
    y = x.sum_horizontal().to_numpy()
    found = kan_exp.explain(x, y, units={"m": "kg", "v": "m/s"}, seconds=1)
    assert not found.found
    assert any(
        note.startswith("m + v fits better, but its units are wrong") for note in found.notes
    )
    with pytest.raises(KanExpError, match=r"units: there is no column 'E' among m, v, y"):
        kan_exp.explain(x, y, units={"E": "J"})
