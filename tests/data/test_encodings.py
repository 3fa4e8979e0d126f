"""A table that is not UTF-8: the error says how to convert it, as far as that can be known."""

from __future__ import annotations

import pytest

from kan_exp.data.encodings import marked_encoding, readings
from kan_exp.data.options import Options
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.table import learning_table
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


def refusal(path) -> str:
    with pytest.raises(KanExpError) as caught:
        learning_table(str(path), "y", None, SplitOptions([0.7, 0.15, 0.15], 0), ",", Options())
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("encoding", HEADERS)
def test_the_right_reading_is_among_those_that_are_shown(encoding, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f"{HEADERS[encoding]}\n{ROWS}".encode(encoding))
    word = HEADERS[encoding].partition(",")[0]
    assert (encoding, word) in readings(path)
    message = refusal(path)
    assert "its encoding is not known" in message
    assert f"'{word}' if it is {encoding}" in message
    assert f"from the encoding that is right: iconv -f {readings(path)[0].encoding} " in message


@pytest.mark.parametrize("encoding", ["WINDOWS-1252", "GB18030", "BIG5", "WINDOWS-1251"])
def test_words_of_one_script_come_first(encoding, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f"{HEADERS[encoding]}\n{ROWS}".encode(encoding))
    assert readings(path)[0].encoding == encoding


@pytest.mark.parametrize("header", ["a,b,y", "größe,b,y"])
@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_an_encoding_that_the_bytes_show_is_named_alone(code, header, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f"{header}\n{ROWS}".encode(code))
    known = marked_encoding(path)
    assert path.read_bytes().decode(known).lstrip("\ufeff").startswith(header)
    message = refusal(path)
    assert "not known" not in message
    assert f"iconv -f {known} " in message


def test_utf8_has_no_other_encoding(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"größe,产量,y\n{ROWS}", encoding="utf-8")
    assert marked_encoding(path) is None
    assert (
        learning_table(
            str(path), "y", None, SplitOptions([0.7, 0.15, 0.15], 0), ",", Options()
        ).rows
        == 30
    )
