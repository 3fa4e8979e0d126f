"""What a table's message says to do leads to a training."""

from __future__ import annotations

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.commandline.spelling import spelled_option
from kan_exp.data.columns import by_column
from kan_exp.data.options import Options
from kan_exp.data.readers import open_columns
from kan_exp.data.reading import read_columns, read_table
from kan_exp.data.schema import Schema
from kan_exp.data.split_options import MIN_ROWS, split_rows
from kan_exp.errors import KanExpError, closest


def message(call, *arguments, **options) -> str:
    with pytest.raises(KanExpError) as caught:
        call(*arguments, **options)
    found = str(caught.value)
    assert found.isprintable()
    return found


def typed(text: str) -> dict[str, object]:
    """The options that a message ends with, as Hydra reads them."""
    words = [word for word in shlex.split(re.search(r"[sS]et (.*)$", text)[1]) if "=" in word]
    parsed = OverridesParser.create().parse_overrides(words)
    return {one.key_or_group: one.value() for one in parsed}


@given(
    rows=st.integers(0, 200),
    fractions=st.sampled_from([(0.7, 0.15, 0.15), (0.01, 0.01, 0.98), (0.98, 0.01, 0.01)]),
)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_the_fractions_that_are_named_suit_the_rows(rows, fractions):
    if rows < MIN_ROWS:
        found = message(split_rows, "t.csv", rows, fractions)
        assert f"training needs at least {MIN_ROWS}" in found
        assert "fractions" not in found
        return
    try:
        parts = split_rows("t.csv", rows, fractions)
    except KanExpError as error:
        parts = split_rows("t.csv", rows, typed(str(error))["data.fractions"])
    assert sum(parts) == rows
    assert parts[0] >= MIN_ROWS - 2
    assert min(parts) >= 1


def test_a_table_of_one_column_needs_another(tmp_path):
    (tmp_path / "t.csv").write_text("y\n1\n2\n")
    assert "has no column but 'y': add at least one" in message(
        read_table, tmp_path / "t.csv", None, "y"
    )


def test_an_input_of_the_network_is_no_output(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n2,3\n")
    reader = open_columns(tmp_path / "t.csv", options=Options(features=None))
    found = message(read_columns, reader, Schema.of_numbers(["a", "b"], ["a"]))
    assert "'a' is an input of the network" in found
    assert "None" not in found


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("y", "Y"), ("q", '"q"'), ("unit price", "Unit_Price"), ("cost", "cost $"), ("[x]", "x")],
)
def test_a_name_that_differs_in_case_and_signs_is_meant(tmp_path, wanted, name):
    header = ",".join('"' + one.replace('"', '""') + '"' for one in ("a", "other", name))
    (tmp_path / "t.csv").write_text(f"{header}\n1,2,3\n2,3,4\n")
    found = message(read_table, tmp_path / "t.csv", None, wanted)
    assert f"Did you mean {name!r}?" in found
    target = typed(found)["data.target"] if " Set " in found else name
    assert read_table(tmp_path / "t.csv", None, target).schema.target_name == name


def test_a_name_is_meant_only_if_it_is_near():
    assert closest("SEED", ["steps", "seed"]) == "seed"
    assert closest("stepz", ["steps", "seed"]) == "steps"
    assert closest("$", ["€", "%"]) is None


@pytest.mark.parametrize(("name", "target"), [("[x]", ["x"]), ("[a, b]", ["a", "b"])])
def test_a_target_that_was_read_as_a_list_is_quoted(tmp_path, name, target):
    (tmp_path / "t.csv").write_text(f'a,"{name}"\n1,2\n2,3\n')
    found = message(read_table, tmp_path / "t.csv", None, target)
    assert (
        read_table(tmp_path / "t.csv", None, typed(found)["data.target"]).schema.target_name == name
    )
    other = message(read_table, tmp_path / "t.csv", None, ["c", "d"])
    assert "has no columns 'c', 'd', which data.target names" in other


@pytest.mark.parametrize("value", ["[null,true,1]", "[null,b c,x(y)]", "null,true"])
def test_null_in_a_list_of_columns_is_a_name(value):
    spelled = spelled_option(f"data.features={value}", many=False)
    found = OverridesParser.create().parse_override(spelled).value()
    assert found[0] == "null"
    assert None not in found


def test_mappings_from_columns_are_swept():
    spelled = spelled_option("monotone={a b: 1, c: -1},{Städte: 0},null", many=True)
    found = OverridesParser.create().parse_override(spelled).sweep_string_iterator()
    assert list(found) == ['["a b: 1","c: -1"]', '["Städte: 0"]', "null"]


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("monotone={a: -1, a: 1}", "'a'"),
        ("monotone={a b: -1, 'a b': 1}", "'a b'"),
        ("data.kinds={x:y: number, b: date, x:y: number}", "'x:y'"),
        ("explain.functions={f: sin(x), f: cos(x)}", "'f'"),
        ("penalty={l1: 1e-3,l1: 1e-4}", "'l1'"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(typed, key):
    with pytest.raises(KanExpError, match=f"^{typed.partition('=')[0]} has {key} twice"):
        spelled_option(typed, many=False)
    with pytest.raises(KanExpError, match="twice"):
        spelled_option(typed + ",null", many=True)
    spelled_option("monotone={a: 1},{a: -1}", many=True)  # of two jobs


def test_columns_whose_names_differ_by_blanks_are_one():
    for parts in ({"a b": 1, "a  b": -1}, ["a b: 1", " a b: -1"]):
        with pytest.raises(KanExpError, match="monotone has 'a b' twice"):
            by_column(parts, "monotone")
    assert by_column(["a: 1"], "monotone") == {"a": "1"}


@pytest.mark.parametrize("option", ["data.features", "keep"])
def test_names_of_columns_need_no_quotes(option):
    spelled = spelled_option(f"{option}=[id,Städte,size (m)]", many=False)
    found = OverridesParser.create().parse_override(spelled).value()
    assert list(map(str, found)) == ["id", "Städte", "size (m)"]


@pytest.mark.parametrize("option", ["data.units", "data.kinds", "data.scale"])
def test_columns_and_words_may_be_quoted(option):
    typed = f"""{option}={{"a b": "m/s**2", 'c d': °C, e: kg*m}}"""
    spelled = spelled_option(typed, many=False)
    found = OverridesParser.create().parse_override(spelled).value()
    assert list(map(str, found)) == ["a b: m/s**2", "c d: °C", "e: kg*m"]
