"""Text files as other programs write them: encodings, notes above the header, rows of words."""

import shlex
import shutil
import subprocess

import pytest

from kan_exp.data.columns import TEXT, kind_of
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.table import learning_table
from kan_exp.errors import KanExpError

HEADER = "a,b,y\n"
ROWS = "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(40))
SPLIT = SplitOptions([0.7, 0.15, 0.15], seed=0)


def read(path, target="y"):
    return learning_table(str(path), target, None, SPLIT, ",")


def refused(path, content, target="y"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(KanExpError) as caught:
        read(path, target)
    return str(caught.value)


def paste(command, folder):
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
def test_the_pasted_command_converts_wide_text(tmp_path, monkeypatch, encoding):
    monkeypatch.chdir(tmp_path)
    line = refused(tmp_path / "t.csv", (HEADER + ROWS).encode(encoding))
    assert "is not UTF-8 text" in line
    paste(line[line.index("iconv") :], tmp_path)
    assert read(tmp_path / "t_utf8.csv").rows == 40


def test_a_zero_byte_in_a_cell_is_text(tmp_path):
    assert kind_of("5\0") == kind_of("5\x1a") == TEXT
    line = refused(tmp_path / "t.csv", HEADER + ROWS[:-1] + "\0\n")
    assert "text in the target column 'y'" in line


@pytest.mark.parametrize("note", ["sep=,", "SEP=;", "sep=\t"])
def test_a_note_on_the_separator_is_taken_away(tmp_path, monkeypatch, note):
    monkeypatch.chdir(tmp_path)
    line = refused(tmp_path / "t.csv", f"{note}\n{HEADER}{ROWS}")
    assert "line 1 is no header but a note for spreadsheets" in line
    paste(line[line.index("tail") :], tmp_path)
    assert read(tmp_path / "t_table.csv").rows == 40


@pytest.mark.parametrize("words", ["m,kg,s", "m,2,s", "unknown,3,4", "x,,y"])
def test_a_row_of_words_is_left_out_by_the_pasted_command(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    line = refused(tmp_path / "t.csv", f"{HEADER}{words}\n{ROWS}")
    assert "leave out 1 row: " in line
    command, _, rest = line.partition("leave out 1 row: ")[2].partition(" and set ")
    paste(command, tmp_path)
    (name,) = shlex.split(rest.partition(";")[0])
    assert read(tmp_path / name.removeprefix("data.path=")).rows == 40


def test_a_column_of_words_is_not_left_out_by_rows(tmp_path):
    text = HEADER + "".join(f"{'xy'[i % 2]},{i if i != 7 else ''},{i % 5}\n" for i in range(40))
    line = refused(tmp_path / "t.csv", text)
    assert "leave out 1 row: " in line
    assert "'data.features=[b]'" in line
    line = refused(tmp_path / "t.csv", HEADER + "".join(f"{i},{i},x\n" for i in range(40)))
    assert "leave out" not in line
    assert "choose another data.target" in line


def test_open_quotes_and_missing_headers_are_named(tmp_path):
    line = refused(tmp_path / "t.csv", f'{HEADER}{ROWS}"1,2,3\n4,5,6\n')
    assert "line 42" in line
    assert "close the quote" in line
    assert "close the quote" in refused(tmp_path / "t.csv", f"{HEADER}1,2,{'9' * 200_000}\n{ROWS}")
    line = refused(tmp_path / "t.csv", ROWS, target=None)
    assert "put a line with the names of columns above it" in line
