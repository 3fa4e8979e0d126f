"""A table with many faults: one line lists them, and the options and commands in it work."""

import csv
import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kan_exp.data import table as table_module
from kan_exp.data.columns import tidy
from kan_exp.data.options import Options, assign
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.table import Table, learning_table, read_table
from kan_exp.errors import KanExpError

SPLIT = SplitOptions([0.7, 0.15, 0.15], seed=0)


def learn(path, target="y", features=None, separator=",", dims=(2, 5, 1)) -> Table:
    options = Options(dims=tuple(dims))
    return learning_table(path, target, features, SPLIT, separator, options)


def refused(*arguments, **options) -> str:
    with pytest.raises(KanExpError) as caught:
        learn(*arguments, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


def write(folder: Path, header, rows, name="t.csv", separator=",") -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([header, *rows])
    return folder / name


def follow(message: str, folder: Path) -> dict[str, object]:
    """Types what a message says: runs its command, and reads its options as Hydra does."""
    if command := re.search(r"\b((sed|tr|tail|iconv|gunzip|cp) .*?)(?: and set |; or |$)", message):
        subprocess.run(command[1], shell=True, cwd=folder, check=True)
    options: dict[str, object] = {}
    found = re.findall(r"'(?:[^']|'\"'\"')*'|[\w.]+=[\w.\[\],/-]+", message)
    for text in found:
        for word in shlex.split(text):
            if re.match(r"(data\.\w+|dims)=", word) and "..." not in word:
                override = OverridesParser.create().parse_override(word)
                value = OmegaConf.create({"v": override.value()})
                options[override.key_or_group] = OmegaConf.to_container(value)["v"]
    return options


def again(path: Path, message: str, folder: Path, monkeypatch, **options) -> Table:
    """What comes of following a message."""
    monkeypatch.chdir(folder)
    typed = follow(message, folder)
    options |= {
        name.removeprefix("data."): value for name, value in typed.items() if name != "data.path"
    }
    table = learn(typed.get("data.path", path), **options)
    assert len(table.features) == options.get("dims", (2,))[0]
    return table


def numbers(rows=40):
    rng = np.random.default_rng(0)
    return [[f"{value:.4g}" for value in row] for row in rng.normal(size=(rows, 3))]


def gaps(k):
    return "" if k % 2 else k, "inf" if k == 5 else k


def test_all_faults_are_listed_at_once_with_options_that_work(tmp_path, monkeypatch):
    header = [
        "",
        "name",
        "day",
        "price",
        "size",
        "twice",
        "twice",
        "const",
        "gap",
        "inf",
        "a b",
        "y",
    ]
    rows = [
        [k, "Oslo", f"2024-01-{k % 28 + 1:02}", f"${k}", f"{k},5", 1, 2, 7, *gaps(k), a, y]
        for k, (a, _, y) in enumerate(numbers())
    ]
    message = refused(path := write(tmp_path, header, rows))
    for fragment in (
        "no name for column 1",
        "a repeated name in column 'twice' (2 columns)",
        "text in column 'name' ('Oslo' in row 1, line 2, one of 40)",
        "dates or times in column 'day' ('2024-01-01'",
        "numbers with units in column 'price' ('$0'",
        "numbers with commas in column 'size' ('0,5'",
        "missing cells in column 'gap' (20, first in row 2, line 3)",
        "infinite values in column 'inf' (row 6, line 7)",
        "one value throughout in column 'const' (7)",
        "'data.features=[\"a b\"]' 'dims=[1,5,1]'",
    ):
        assert fragment in message
    table = again(path, message, tmp_path, monkeypatch)
    assert table.features == ("a b",)
    assert table.x[:, 0].tolist() == [float(row[0]) for row in numbers()]


def test_few_rows_with_gaps_are_left_out_rather_than_columns(tmp_path, monkeypatch):
    rows = numbers(60)
    rows[3][0] = rows[7][1] = "NA"
    rows[10][2] = ""
    message = refused(path := write(tmp_path, ["a", "b", "y"], rows))
    assert "leave out 3 rows: sed '5d;9d;12d'" in message
    table = again(path, message, tmp_path, monkeypatch)
    kept = [row for row in rows if "NA" not in row and "" not in row]
    assert table.x.tolist() == [[float(a), float(b)] for a, b, _ in kept]
    assert table.y[:, 0].tolist() == [float(y) for _, _, y in kept]


def test_a_record_of_several_lines_is_deleted_whole(tmp_path, monkeypatch):
    rows = [["a note", *row] for row in numbers(60)]
    rows[2] = ["of\ntwo lines", "", *rows[2][2:]]
    rows[40][3] = ""
    message = refused(path := write(tmp_path, ["note", "a", "b", "y"], rows))
    assert "sed '4,5d;43d'" in message
    table = again(path, message, tmp_path, monkeypatch)
    assert table.rows == 58
    assert table.features == ("a", "b")


@pytest.mark.parametrize("old", ["one\rcell", "\r"])
def test_lines_that_sed_counts_otherwise_are_not_deleted_by_it(tmp_path, old):
    rows = [["note", *row] for row in numbers(60)]
    rows[7][1] = ""
    path = write(tmp_path, ["note", "a", "b", "y"], rows)
    text = path.read_text()
    changed = text.replace("note", f'"{old}"', 3) if len(old) > 1 else text.replace("\n", old)
    path.write_bytes(changed.encode())
    message = refused(path, features=["a", "b"])
    assert "sed '" not in message
    assert "data.features=[b]" in message


def test_a_target_with_many_gaps_costs_its_rows_only(tmp_path, monkeypatch):
    rows = numbers(80)
    for k in range(0, 40, 2):
        rows[k][2] = ""
        rows[k + 1][0] = ""
    message = refused(path := write(tmp_path, ["a", "b", "y"], rows))
    table = again(path, message, tmp_path, monkeypatch)
    assert table.features == ("b",)
    assert table.rows == 60


def test_a_name_that_is_there_already_is_not_written_over(tmp_path, monkeypatch):
    rows = numbers()
    rows[3][0] = ""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, ["a", "b", "y"], rows, name="t_rows.csv")
    message = refused(path := write(tmp_path, ["a", "b", "y"], rows))
    assert "t_rows2.csv" in message
    assert again(path, message, tmp_path, monkeypatch).rows == 39
    assert "t_rows_rows.csv" in refused("t_rows.csv")


def test_decimal_commas_are_turned_into_points(tmp_path, monkeypatch):
    rows = [[cell.replace(".", ",") for cell in row] for row in numbers()]
    path = write(tmp_path, ["a", "b", "y"], rows, separator=";")
    message = refused(path)
    assert (typed := follow(message, tmp_path)) == {"data.separator": ";"}
    assert typed
    message = refused(path, separator=";")
    monkeypatch.chdir(tmp_path)
    follow(message, tmp_path)
    table = learn("t_points.csv", separator=";")
    assert table.x.tolist() == [[float(a), float(b)] for a, b, _ in numbers()]


@pytest.mark.parametrize("above", [["# exported"], ["# exported", "", "Report 2024"]])
def test_lines_above_the_header_are_taken_away(tmp_path, monkeypatch, above):
    path = write(tmp_path, ["a", "b", "y"], numbers())
    path.write_text("\n".join([*above, path.read_text()]))
    message = refused(path)
    assert "no header ('# exported', where line" in message
    monkeypatch.chdir(tmp_path)
    follow(message, tmp_path)
    assert learn("t_table.csv").rows == 40


@pytest.mark.parametrize("code", ["cp1252", "utf-16"])
def test_text_in_another_encoding_is_written_anew(tmp_path, monkeypatch, code):
    path = write(tmp_path, ["größe", "b", "y"], numbers())
    path.write_bytes(path.read_text(encoding="utf-8").encode(code))
    message = refused(path)
    monkeypatch.chdir(tmp_path)
    follow(message, tmp_path)
    assert learn("t_utf8.csv").features == ("größe", "b")


def test_cells_between_blanks_are_separated_anew(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a b  y", *("  ".join(row) for row in numbers())]) + "\n")
    message = refused(path)
    monkeypatch.chdir(tmp_path)
    follow(message, tmp_path)
    assert learn("t_blanks.csv").rows == 40


def test_a_file_without_a_header_is_recognized(tmp_path):
    path = write(tmp_path, *[numbers()[0]], numbers()[1:])
    assert "Its first line holds numbers" in refused(path)


def test_the_error_of_a_wide_table_is_short(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 5000)).round(3).astype(str)
    values[:, ::2] = "text"
    names = [f"column number {k}" for k in range(5000)]
    message = refused(write(tmp_path, names, values.tolist()), names[-1])
    assert "and 2,496 more columns" in message
    assert "data.features=[...]" in message
    assert len(message) < 900


def test_numbers_that_float32_cannot_scale_are_one_of_the_faults(tmp_path):
    rows = [[f"{float(a) * 1e300}", b, f"{float(y) * 1e-60}"] for a, b, y in numbers()]
    message = refused(write(tmp_path, ["a", "b", "y"], rows))
    assert "what float32 can scale in column 'a'" in message
    assert "the target column 'y'" in message


def test_columns_that_are_not_chosen_do_not_matter(tmp_path):
    rows = [["Oslo", "", 1, 2, *row] for row in numbers()]
    path = write(tmp_path, ["name", "gap", "a", "a", "b", "", "y"], rows)
    assert learn(path, features=["b"]).features == ("b",)


# Files


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("t.csv.gz", b"\x1f\x8b", "gunzip -k"),
        ("t.xlsx", b"PK\x03\x04", "save the sheet as CSV"),
        ("t.json", b"{}", "write it anew"),
        ("t.feather", b"ARROW1", "write it anew"),
        ("t.txt", b"a,y\n1,2\n", "cp "),
        ("a table", b"a,y\n1,2\n", "cp "),
        ("t.csv", b"PK\x03\x04 and more", "zip archive or spreadsheet"),
        ("t.csv", b"\x1f\x8b\x08", "a .gz file"),
        ("t.csv", b"PAR1....", "a .parquet file"),
        ("t.parquet", b"a,y\n1,2\n", "no readable Parquet"),
        ("t.npz", b"PAR1....", "a .parquet file"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,y\n1\0,2\n", r"in column 'a' ('1\x00' in row 1, line 2)"),
        ("t.csv", b'a,y\n"1"2,3\n', "double the quotes"),
    ],
)
def test_the_error_of_other_files_says_what_to_do(tmp_path, name, content, fragment):
    (tmp_path / name).write_bytes(content)
    assert fragment in refused(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    assert "is no file" in refused(tmp_path / "t.csv")


def test_files_that_cannot_be_opened_are_refused(tmp_path):
    (tmp_path / "t.csv").symlink_to("u.csv")
    (tmp_path / "u.csv").symlink_to("t.csv")
    assert "cannot be opened" in refused(tmp_path / "t.csv")
    if os.geteuid():
        (tmp_path / "v.csv").touch(mode=0)
        assert "cannot be opened" in refused(tmp_path / "v.csv")
        (tmp_path / "v.csv").chmod(stat.S_IRUSR)


def test_kinds_of_parquet_columns(tmp_path):
    rng = np.random.default_rng(1)
    a, y = rng.normal(size=(2, 40))
    frame = pl.DataFrame({"a": a, "y": y, "k": range(40)}).with_columns(
        money=pl.col("a").cast(pl.Decimal(18, 4)),
        day=pl.date(2024, 1, 1) + pl.duration(days=pl.col("k")),
        kind=pl.when(pl.col("a") > 0).then(pl.lit("u")).otherwise(pl.lit("v")).cast(pl.Categorical),
        nested=pl.struct("a", "y"),
        void=pl.lit(None),
        raw=pl.lit(b"x"),
        flag=pl.col("a") > 0,
    )
    frame.write_parquet(tmp_path / "t.parquet")
    message = refused(tmp_path / "t.parquet")
    for fragment in (
        "text in column 'kind'",
        "dates or times in column 'day' (datetime.date(2024, 1, 1)",
        "no numbers in column 'nested'",
        "missing cells in column 'void' (40",
        "data.features=[a,k,money,flag]",
    ):
        assert fragment in message
    table = learn(tmp_path / "t.parquet", features=["money", "flag"])
    np.testing.assert_allclose(table.x[:, 0], a, atol=1e-4)
    assert set(table.x[:, 1]) == {0.0, 1.0}


def test_a_table_is_read_again_only_if_its_file_or_its_columns_are_others(tmp_path, monkeypatch):
    path = write(tmp_path, ["a", "b", "y"], numbers())
    table = learn(path)
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "open_columns", None)
        assert learn(path) is table
    assert learn(path, features=["a"]).features == ("a",)
    write(tmp_path, ["a", "b", "y"], numbers(41))
    assert learn(path, features=["a"]).rows == 41


# Whatever is written


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NASTY = st.text(alphabet="\\'\"${}[](),=:;|ab 1.e-%#~!&*\t\n", max_size=8)
NAMES = (TEXTS | NASTY).filter(tidy)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(NAMES.map(tidy), min_size=1, max_size=4))
def test_options_come_back_from_the_shell_and_from_hydra(names):
    (word,) = shlex.split(assign("data.features", names))
    value = OverridesParser.create().parse_override(word).value()
    assert OmegaConf.to_container(OmegaConf.create({"v": value}), resolve=True)["v"] == names


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    names=st.lists(NAMES, min_size=2, max_size=5, unique_by=tidy),
    rows=st.integers(1, 5),
    separator=st.sampled_from([",", ";", "|", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_numbers_are_read_as_they_were_written(tmp_path_factory, names, rows, separator, end, data):
    cells = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20)
    table = [[data.draw(cells) for _ in names] for _ in range(rows)]
    path = tmp_path_factory.mktemp("any") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(
            file, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_NONNUMERIC
        )
        writer.writerows([names, *table])
    found = read_table(path, names[:-1], names[-1], separator)
    assert np.column_stack([found.x, found.y]).tolist() == [list(map(float, row)) for row in table]
    assert found.features == tuple(map(tidy, names[:-1]))


def check_outcome(path: Path, separator: str) -> None:
    """A table of finite numbers, or one line."""
    try:
        table = read_table(path, None, None, separator)
    except KanExpError as error:
        message = str(error)
    else:
        assert table.features
        assert table.x.size
        assert np.isfinite(table.x).all()
        return
    assert message.isprintable()
    assert len(message) < 1200


CELLS = TEXTS | NASTY | st.sampled_from(["1", "2.5", "", "NA", "inf", "true", "1,5", "1_0", "5%"])


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=6),
    st.sampled_from([",", ";", "|", "\t"]),
)
def test_any_text_is_a_table_or_one_line(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    text = "\n".join(separator.join(row) for row in rows)
    path.write_text(text, encoding="utf-8")
    check_outcome(path, separator)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.binary(max_size=60), st.sampled_from([".csv", ".tsv", ".parquet", ".npz"]))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("any") / f"t{suffix}"
    path.write_bytes(content)
    check_outcome(path, ",")
