"""Text is read alike by polars and by Python's parser, which reads what polars might not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.data import csv_file
from kan_exp.data.csv_file import CsvFile, is_plain
from kan_exp.data.options import Options
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
                patch.setattr(csv_file, "is_plain", lambda *_: False)
            columns = CsvFile(path, "t.csv", Options(), ",").columns
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
    "body",
    ["1,2\n3,4", "1,2\r\n3,4", "1,\n,2", '"1","2, 3"', '"a ""b""",""\n1,2', '"""a""",é'],
)
def test_plain_text_is_known(body):
    assert is_plain(body.encode(), ",", 2)


@pytest.mark.parametrize(
    "body",
    [
        *("1,2\n3", "1,2,3\n4", "1,2\n\n3,4", "", '1,"2', '1,a"2"', '1, "2"', '1,"2" ', '1,"2"3'),
        *('1,"2\n3"', f"1,{'2' * 200_000}", '1,2"'),
    ],
)
def test_other_text_is_left_to_the_parser_that_knows_lines(body):
    assert not is_plain(body.encode(), ",", 2)


def test_bytes_that_are_no_text_are_reported_by_either(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n\xe9\xe9,3\n")
    assert "is not UTF-8 text" in fields(tmp_path / "t.csv", plain=True)
