"""Text is read alike by polars and by Python's parser, which reads what polars might not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.data import csv_file
from kan_exp.data.csv_file import CsvFile, count_plain_rows
from kan_exp.data.options import Options
from kan_exp.data.readers import open_columns
from kan_exp.errors import KanExpError

PIECES = [
    ",",
    ",",
    "\n",
    "\n",
    '"',
    '"',
    '""',
    "\r\n",
    "\r",
    " ",
    "a",
    "1",
    "2.5",
    "é",
    "\0",
    "\n\n",
]


def fields(path, plain: bool) -> list[list[str]] | str:
    """Fields of all columns without the blanks around them, or the error."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            if not plain:
                patch.setattr(csv_file, "count_plain_rows", lambda *_: 0)
            columns = CsvFile(path, "t.csv", Options(), path.read_bytes(), ",").columns
    except KanExpError as error:
        return str(error)
    return [[field.strip() for field in column.fill_null("")] for column in columns]


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.integers(1, 3), st.lists(st.sampled_from(PIECES), max_size=24))
def test_both_parsers_agree(tmp_path_factory, width, pieces):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(f"{','.join('abc'[:width])}\n{''.join(pieces)}".encode())
    assert fields(path, plain=True) == fields(path, plain=False)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        *(("1,2\n3,4", 2), ("1,2\r\n3,4", 2), ("1,\n,2\n,", 3), ('"1","2, 3"', 1)),
        *(('"a ""b""",""\n1,2', 2), ('"""a""",é', 1), ('1,"2\n3"\n"4\r\n5",', 2)),
    ],
)
def test_rows_of_plain_text_are_counted(body, rows):
    assert count_plain_rows(f"{body}\n".encode(), ",", 2) == rows


@pytest.mark.parametrize(
    "body",
    [
        *("1,2\n3", "1,2,3\n4", "1,2\n\n3,4", "", '1,"2', '1,a"2"', '1, "2"', '1,"2" ', '1,"2"3'),
        *(f"1,{'2' * 200_000}", '1,2"', '1,"2""'),
    ],
)
def test_other_text_is_left_to_the_parser_that_knows_lines(body):
    assert not count_plain_rows(f"{body}\n".encode(), ",", 2)


@pytest.mark.parametrize("body", ["1\n\n2", "\n1", "1\r\n\r\n2", ""])
def test_blank_lines_are_no_rows_of_one_column(body):
    assert not count_plain_rows(f"{body}\n".encode(), ",", 1)


def test_many_quoted_line_breaks_do_not_split_rows(tmp_path):
    """Polars splits large files among threads."""
    rows = "".join(f'{k},"a\nb, ""{k}""\n",{k / 7!r}\n' for k in range(60_000))
    (tmp_path / "t.csv").write_text(f"k,note,y\n{rows}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CsvFile, "_rows", None)  # Python's parser is not needed
        k, note, y = open_columns(tmp_path / "t.csv").columns
    assert k.to_list() == [str(k) for k in range(60_000)]
    assert note[41_234] == 'a\nb, "41234"\n'
    assert y[59_999] == repr(59_999 / 7)
