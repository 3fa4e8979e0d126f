"""Text files as other programs write them: encodings, notes above the header, rows of words."""

import shlex

import pytest

from kan_exp.data.split_options import SplitOptions
from kan_exp.data.training_table import learning_table
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError

HEADER = "a,b,y\n"
ROWS = "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(40))
SPLIT = SplitOptions([0.7, 0.15, 0.15], seed=0)


def read(path, target="y", **options):
    return learning_table(str(path), target, None, SPLIT, None, **options)


def refused(path, content, target="y"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(KanExpError) as caught:
        read(path, target)
    return str(caught.value)


def test_a_zero_byte_in_a_cell_is_text(tmp_path):
    line = refused(tmp_path / "t.csv", HEADER + ROWS[:-1] + "\0\n")
    assert "text in the target column 'y'" in line
    assert "data.missing_values" not in line  # which cannot be typed


@pytest.mark.parametrize("note", ["sep=,", "SEP=,", "sep=;", "sep=\t"])
def test_a_note_on_the_separator_is_followed(tmp_path, note):
    text = (HEADER + ROWS).replace(",", note[-1])
    (tmp_path / "t.csv").write_text(f"{note}\n{text}")
    assert read(tmp_path / "t.csv").features == ("a", "b")


@pytest.mark.parametrize(
    ("words", "dropped"), [("m,kg,s", 1), ("m,2,s", 1), ("unknown,3,4", 0), ("x,,y", 1)]
)
def test_a_row_of_words_stands_for_gaps_if_that_is_pasted(tmp_path, words, dropped):
    line = refused(tmp_path / "t.csv", f"{HEADER}{words}\n{ROWS}")
    options = dict(word.split("=") for word in shlex.split(line.partition(": set ")[2]))
    missing = options["data.missing_values"].strip("[]").replace('"', "").split(",")
    assert missing == [word for word in words.split(",") if word.isalpha()]
    treatment = Treatment(missing=options["data.missing"], missing_values=missing)
    table = read(tmp_path / "t.csv", treatment=treatment)
    assert table.rows == 41 - dropped
    assert [column.impute for column in table.schema.inputs] == [True, True]


def test_open_quotes_and_missing_headers_are_named(tmp_path):
    line = refused(tmp_path / "t.csv", f'{HEADER}{ROWS}"1,2,3\n4,5,6\n')
    assert "line 42" in line
    assert "close the quote" in line
    assert "close the quote" in refused(tmp_path / "t.csv", f"{HEADER}1,2,{'9' * 200_000}\n{ROWS}")
    line = refused(tmp_path / "t.csv", ROWS, target=None)
    assert "put a line with the names of columns above it" in line
