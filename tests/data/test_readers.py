"""The same table in files of many kinds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from datetime import date

import polars as pl
import pytest

from kan_exp.data import readers
from kan_exp.data.readers import open_columns
from kan_exp.data.reading import read_table
from kan_exp.errors import KanExpError

FRAME = pl.DataFrame(
    {
        "size": [1.5, 20.25, 300.125] * 4,
        "town": ["Oslo", "Bergen", "Oslo"] * 4,
        "day": [date(2024, 1, 31), date(2024, 2, 1), date(2024, 3, 1)] * 4,
        "y": [1, 2, 3] * 4,
    }
)
TEXT = FRAME.write_csv().encode()


def zst(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


def sheet(frame, above=()):
    """A spreadsheet as small as can be, with lines above the header."""
    rows = [*above, frame.columns, *frame.rows()]
    cells = "".join("<row>" + "".join(map(cell, row)) + "</row>" for row in rows)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "[Content_Types].xml": (
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/xml"/></Types>'
        ),
        "_rels/.rels": (
            f'<Relationships xmlns="{package}"><Relationship Id="a" Target="xl/workbook.xml" '
            f'Type="{rel}/officeDocument"/></Relationships>'
        ),
        "xl/workbook.xml": (
            f'<workbook xmlns="{main}" xmlns:r="{rel}"><sheets>'
            '<sheet name="One" sheetId="1" r:id="s1"/></sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": (
            f'<Relationships xmlns="{package}"><Relationship Id="s1" '
            f'Target="worksheets/sheet1.xml" Type="{rel}/worksheet"/></Relationships>'
        ),
        "xl/worksheets/sheet1.xml": (
            f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
        ),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{part}')
    return stream.getvalue()


def cell(value):
    if isinstance(value, int | float):
        return f"<c><v>{value!r}</v></c>"
    return f'<c t="inlineStr"><is><t>{value}</t></is></c>'


def written(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


FILES = {
    "t.csv": lambda: TEXT,
    "t.csv.gz": lambda: gzip.compress(TEXT),
    "t.tsv.bz2": lambda: bz2.compress(TEXT.replace(b",", b"\t")),
    "t.txt.xz": lambda: lzma.compress(TEXT.replace(b",", b"|")),
    "t.csv.zst": lambda: zst(TEXT),
    "packed.csv": lambda: gzip.compress(TEXT),
    "no extension": lambda: TEXT.replace(b",", b";"),
    "t.dat": lambda: TEXT.replace(b",", b" "),
    "t.parquet": lambda: written(FRAME.write_parquet),
    "parquet.csv": lambda: written(FRAME.write_parquet),
    "t.feather": lambda: written(FRAME.write_ipc),
    "t.jsonl": lambda: FRAME.write_ndjson().encode(),
    "t.jsonl.gz": lambda: gzip.compress(FRAME.write_ndjson().encode()),
    "t.json": lambda: FRAME.write_json().encode(),
    "t.xlsx": lambda: sheet(FRAME),
    "titled.xlsx": lambda: sheet(FRAME, above=[["Report"], [""]]),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_all_kinds_hold_the_same_table(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name]())
    if name.endswith("xlsx"):
        pytest.importorskip("fastexcel")
    table = read_table(tmp_path / name, None, "y")
    kinds = {column.name: column.kind for column in table.schema.inputs}
    assert kinds == {"size": "number", "town": "category", "day": "date"}
    expected = FRAME.with_columns(pl.col("day").cast(pl.Datetime("us")), pl.col("y").cast(float))
    assert table.frame.to_dict(as_series=False) == expected.to_dict(as_series=False)


def test_rows_of_a_sheet_are_named_as_it_numbers_them(tmp_path):
    pytest.importorskip("fastexcel")
    frame = FRAME.with_columns(pl.Series("size", [1.5] * 11 + ["oops"], dtype=pl.Object))
    (tmp_path / "t.xlsx").write_bytes(sheet(frame, above=[["Report"]]))
    with pytest.raises(KanExpError, match=r"'oops' in row 12, row 14 of the sheet"):
        read_table(tmp_path / "t.xlsx", ["size"], "y")


def test_a_sheet_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.xlsx").write_bytes(sheet(FRAME))
    monkeypatch.setitem(__import__("sys").modules, "fastexcel", None)
    with pytest.raises(KanExpError, match=r"pip install 'kan_exp\[excel\]'"):
        open_columns(tmp_path / "t.xlsx")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.npz", "t.xlsx"])
def test_files_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(readers, "MAX_UNPACKED", 2**20)
    if name.endswith("gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"a,y\n" + b"1,2\n" * 2**19))
    else:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", bytes(2**21))
    with pytest.raises(KanExpError, match="unpacks to more than"):
        open_columns(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("# made by hand\n\nsize,town\n1,a\n2,b\n", ["2 lines above the header"]),
        ("Report 2024\n\nsize;town\n1;a\n2;b\n", ["';'", "2 lines above the header"]),
        ("Report;;\nsize;town;y\n1;a;3\n2;b;4\n", ["';'", "1 line above the header"]),
        ("# size town\n1 2\n3 4\n", ["' '"]),
        ('"size",town\n"1",a\n"2",b\n', []),
        ("size|town\n1|a, b\n2|c, d\n", ["'|'"]),
        ("size\ttown\n1,5\ta\n2,5\tb\n", [r"'\\t'"]),
    ],
)
def test_the_layout_of_a_text_is_recognized_and_said(tmp_path, text, notes):
    (tmp_path / "t.csv").write_text(text)
    file = open_columns(tmp_path / "t.csv")
    assert file.names[:2] == ("size", "town")
    assert len(file.columns[0]) == 2
    for note in notes:
        assert note.replace("\\\\", "\\") in file.notes[0]
    assert len(file.notes) == bool(notes)


def test_an_index_without_a_name_is_left_out(tmp_path):
    (tmp_path / "t.csv").write_text(",a,Unnamed: 2,y\n0,1,2,3\n1,4,5,6\n")
    table = read_table(tmp_path / "t.csv", None, "y")
    assert table.features == ("a",)
    assert table.notes == ("2 columns without a name are left out.",)
    assert read_table(tmp_path / "t.csv", ["Unnamed: 2"], "y").features == ("Unnamed: 2",)


def test_lines_of_faults_count_what_is_above_the_header(tmp_path):
    rows = "".join(f"{k};{k}\n" for k in range(20))
    (tmp_path / "t.csv").write_text(f"# one\ntwo\n\na;y\n{rows}oops;5\n")
    with pytest.raises(KanExpError, match=r"'oops' in row 21, line 25"):
        read_table(tmp_path / "t.csv", None, "y")


def test_writing_keeps_what_was_read(tmp_path):
    (tmp_path / "t.csv").write_bytes("# note\nb;größe\n1,5;x\n".encode("latin1"))
    text = io.StringIO()
    assert open_columns(tmp_path / "t.csv").write(text, ";", {"f": ["7"]}) == []
    assert text.getvalue() == "b;größe;f\n1,5;x;7\n"
