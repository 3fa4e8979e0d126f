"""A table in another encoding than UTF-8 is read, and the encoding is said."""

from __future__ import annotations

import pytest

from kan_exp.data.encodings import readings, to_utf8
from kan_exp.data.reading import read_table
from kan_exp.errors import KanExpError

HEADERS = {
    "WINDOWS-1252": "größe,température,y",
    "GB18030": "产量,温度,y",
    "CP932": "温度,しつど,y",
    "CP949": "온도,습도,y",
    "BIG5": "溫度,濕度,y",
    "WINDOWS-1251": "цена,площадь,y",
    "KOI8-R": "цена,площадь,y",
    "WINDOWS-1250": "łąka,żółw,y",
    "WINDOWS-1253": "τιμή,βάρος,y",
}
ROWS = "".join(f"{k},{k * k % 7},{k % 5}\n" for k in range(30))


@pytest.mark.parametrize("encoding", HEADERS)
def test_the_right_reading_is_among_the_likely_ones(encoding):
    data = f"{HEADERS[encoding]}\n{ROWS}".encode(encoding)
    assert (encoding, HEADERS[encoding].partition(",")[0]) in readings(data)


@pytest.mark.parametrize("encoding", ["WINDOWS-1252", "GB18030", "BIG5", "WINDOWS-1251"])
def test_words_of_one_script_decide_the_encoding(encoding, tmp_path):
    (tmp_path / "t.csv").write_bytes(f"{HEADERS[encoding]}\n{ROWS}".encode(encoding))
    table = read_table(tmp_path / "t.csv", None, "y")
    assert table.features == tuple(HEADERS[encoding].split(",")[:2])
    assert table.notes[0] == f"read as {encoding} text."


@pytest.mark.parametrize("header", ["a,b,y", "größe,b,y"])
@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_an_encoding_that_the_bytes_show_is_read(code, header, tmp_path):
    (tmp_path / "t.csv").write_bytes(f"{header}\n{ROWS}".encode(code))
    table = read_table(tmp_path / "t.csv", None, "y")
    assert table.features == tuple(header.split(",")[:2])
    assert table.rows == 30
    assert [note.startswith("read as UTF-") for note in table.notes] == [True] * ("8" not in code)


@pytest.mark.parametrize("data", [bytes(range(256)) * 9, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9])
def test_bytes_that_are_no_text_are_refused(data, tmp_path):
    assert to_utf8(data)[1] == ""
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(KanExpError, match="is no text in a known encoding"):
        read_table(tmp_path / "t.csv", None, None)


def test_half_a_character_is_no_utf8():
    assert to_utf8("größe".encode()) == ("größe".encode(), "UTF-8")
    assert to_utf8("größe".encode()[:-2] + b",1")[1] == "WINDOWS-1252"
