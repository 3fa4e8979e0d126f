"""Fields as numbers: words for missing values, and whole numbers that float64 rounds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kan_exp.data import TableData, read_table
from kan_exp.errors import KanExpError

EXACT, ODD = 2**53, 2**53 + 1


@pytest.mark.parametrize(
    "word",
    [
        *("-1.#IND", "1.#QNAN", "-1.#IND00", "1.#SNAN", "-nan(ind)", "nan(snan)", "-NaN", "+nan"),
        *("", " ", "?", "N/A", "#DIV/0!", "NaT", "None"),
    ],
)
def test_words_for_no_number_are_missing_values(tmp_path, word):
    (tmp_path / "t.csv").write_text(f"a,y\n1,2\n{word},3\n")
    with pytest.raises(KanExpError, match=r"missing cells in column 'a' \(row 2, line 3\)"):
        read_table(tmp_path / "t.csv", None, "y")


@pytest.mark.parametrize("word", ["1.#INF", "-1.#INF00", "Infinity", "-inf"])
def test_words_for_infinity_are_infinite_values(tmp_path, word):
    (tmp_path / "t.csv").write_text(f"a,y\n1,2\n{word},3\n")
    with pytest.raises(KanExpError, match="infinite values in column 'a'"):
        read_table(tmp_path / "t.csv", None, "y")


@pytest.mark.parametrize("word", ["1.#X", "nano", "nan(", "1#IND", "#IND"])
def test_other_words_are_text(tmp_path, word):
    (tmp_path / "t.csv").write_text(f"a,y\n1,2\n{word},3\n")
    with pytest.raises(KanExpError, match=r"in column 'a' \(.*row 2, line 3"):
        read_table(tmp_path / "t.csv", None, "y")


def written(folder, kind, column):
    """A file of this kind with the column `a`."""
    rows = len(column)
    path = folder / f"t.{kind}"
    if kind == "csv":
        path.write_text("".join(["a,y\n", *(f" {a} ,{k % 7}\n" for k, a in enumerate(column))]))
    elif kind == "npz":
        np.savez(path, a=np.array(column), y=np.arange(rows) % 7)
    else:
        pl.DataFrame({"a": column, "y": [k % 7 for k in range(rows)]}).write_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_whole_numbers_that_lose_digits_are_noted(tmp_path, kind):
    path = written(tmp_path, kind, [EXACT, -EXACT, 2 * EXACT, *range(30), ODD, -ODD])
    table = read_table(path, None, "y")
    assert table.x[-2:, 0].tolist() == [float(EXACT), float(-EXACT)]
    (note,) = table.notes
    assert "column 'a' has whole numbers with more digits than float64 holds" in note
    assert f"'{ODD}' in row 34 is read as {EXACT}." in note
    assert TableData(path, "y", None, [0.7, 0.15, 0.15], 0, ",").data_warnings[0] == note


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_numbers_that_float64_holds_are_not_noted(tmp_path, kind):
    assert not read_table(written(tmp_path, kind, [EXACT, 2**62, 3, 4]), None, "y").notes
    assert not read_table(written(tmp_path, kind, [1e300, 0.1, 1e17]), None, "y").notes


def test_a_long_number_is_noted_in_few_words(tmp_path):
    path = written(tmp_path, "csv", ["0" * 5000 + "9" * 300, 1])
    (note,) = read_table(path, None, "y").notes
    assert len(note) < 200


@pytest.mark.parametrize("header", [",", " , ", "  ,\t"])
def test_a_header_of_blanks_names_no_columns(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n1,2\n3,4\n")
    with pytest.raises(KanExpError, match="has no names of columns in its first line"):
        read_table(tmp_path / "t.csv", None, None)
