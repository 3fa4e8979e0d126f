"""A table is written as text with one more column, and a file must be given for it."""

from __future__ import annotations

import csv
import io
from datetime import date

import polars as pl
import pytest

from kan_exp.data.readers import open_columns
from kan_exp.data.reading import read_table
from kan_exp.errors import KanExpError


def test_columns_that_text_cannot_hold_are_left_out_and_named(tmp_path):
    frame = pl.DataFrame(
        {
            "a": [1.5, 2.5],
            "many": [[1, 2], [3]],
            "day": [date(2020, 1, 2), None],
            "raw": [b"x", b"y"],
            "pair": [{"p": 1, "q": 2}, {"p": 3, "q": 4}],
            "word": ["left, right", 'a "b"'],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    text = io.StringIO()
    left_out = open_columns(tmp_path / "t.parquet").write(text, ";", {"f": ["10", "20"]})
    assert left_out == ["many", "raw", "pair"]
    rows = list(csv.reader(io.StringIO(text.getvalue()), delimiter=";"))
    assert rows[0] == ["a", "day", "word", "f"]
    assert rows[1] == ["1.5", "2020-01-02", "left, right", "10"]
    assert rows[2] == ["2.5", "", 'a "b"', "20"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_of_a_csv_file_are_written_with_more_cells(tmp_path, end):
    lines = ["a;name", '1,0;"x;y"', "", "2;z"]
    (tmp_path / "t.csv").write_text(end.join([*lines, ""]), newline="")
    reader = open_columns(tmp_path / "t.csv", ";")
    same, other = io.StringIO(newline=""), io.StringIO(newline="")
    assert reader.write(same, ";", {"f g": ["10", "20"]}) == []
    assert same.getvalue() == end.join(["a;name;f g", '1,0;"x;y";10', "2;z;20", ""])
    # With another separator, cells are quoted where they need it.
    reader.write(other, ",", {"f,g": ["10", "20"], "h": ["a,b", ""]})
    rows = list(csv.reader(io.StringIO(other.getvalue(), newline="")))
    assert rows == [["a", "name", "f,g", "h"], ["1,0", "x;y", "10", "a,b"], ["2", "z", "20", ""]]


def test_a_table_needs_its_file():
    with pytest.raises(KanExpError, match=r"needs its file: set data\.path=FILE"):
        open_columns(None)


def test_a_column_that_is_unlike_any_is_told_with_those_there_are(tmp_path):
    (tmp_path / "t.csv").write_text("alpha,beta\n1,2\n")
    with pytest.raises(KanExpError) as caught:
        read_table(tmp_path / "t.csv", ["zzz"], None)
    assert str(caught.value).endswith("columns: 'alpha', 'beta'.")
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    with pytest.raises(KanExpError, match=r"columns: '1', '2'\. Its first line holds numbers"):
        read_table(tmp_path / "t.csv", ["zzz"], None)
