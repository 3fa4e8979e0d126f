"""What users have typed, as it is shown and as it is read back."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from kan_exp.quoting import unquoted
from kan_exp.runs.lenient_json import parse_overrides
from kan_exp.runs.printable import csv_text, plain, printable

ANY = st.text(st.characters(), max_size=40)
FEW = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 温度 😀 $x$", "Größe 温度 😀 $x$"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31m\0\x7f\x9b", "\\x1b[31m\\x00\\x7f\\x9b"),
        ("a\udcff\ud800", "a\\udcff\\ud800"),
        ("\u202egpj\u2066.\u2028", "\\u202egpj\\u2066.\\u2028"),
    ],
)
def test_what_would_act_is_shown_by_its_code(text, shown):
    assert printable(text) == shown


@FEW
@given(ANY)
def test_what_is_shown_is_one_line_that_can_be_encoded(text):
    shown = printable(text)
    assert shown.encode().decode() == printable(shown) == shown
    assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in shown)


@FEW
@given(st.text("'\"\\ ab,[]<&\u00e9", max_size=12), st.sampled_from("'\""))
@example('y<x & "z"', "'")
@example("it's", "'")
@example("a\\", "'")
def test_quotes_are_read_as_hydra_reads_them(text, quote):
    kind = Quote.single if quote == "'" else Quote.double
    typed = QuotedString(text, kind).with_quotes()
    (read,) = OverridesParser.create().parse_overrides([f"key={typed}"])
    assert unquoted(typed) == read.value() == text


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("'y<x & \"z\"'", 'y<x & "z"'),
        ('y<x & "z"', 'y<x & "z"'),
        ('"it\'s"', "it's"),
        ("'don\\'t'", "don't"),
        ("'", "'"),
        ("''", ""),
        ("'a\"", "'a\""),
    ],
)
def test_only_a_pair_of_quotes_is_taken_off(typed, value):
    assert parse_overrides([f"note={typed}"])["note"] == value


@FEW
@given(ANY)
@example("[bold]x[/]")
@example("[/]")
@example(":warning: [link=x]")
def test_the_terminal_shows_text_as_it_is(text):
    console = Console(file=io.StringIO(), width=1000)
    console.print(plain(text), soft_wrap=True)
    assert console.file.getvalue() == printable(text) + "\n"


@FEW
@given(ANY, ANY)
@example("a\rb", 'c\n"d",e')
def test_csv_can_be_read_again(name, value):
    written = csv_text([{name: value, f"{name}2": 1.5}])
    (read,) = csv.DictReader(io.StringIO(written.encode().decode(), newline=""))
    assert read == {printable(name): printable(value), printable(f"{name}2"): "1.5"}
