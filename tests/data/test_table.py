"""Tables: the same numbers as independent readers give, and a one-line error for every fault."""

import csv
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from kan_exp.data import Schema, TableData, read_table
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.split_table import SplitTableData
from kan_exp.data.table import Table
from kan_exp.errors import KanExpError

FRACTIONS = [0.7, 0.15, 0.15]
GOOD = "a,b,y\n1,10,0.5\n2.5,-20,1.5\n3e2,30,-2\n"


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def irregular(rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    a, b = rng.normal(5, 2, rows), rng.uniform(-1, 1, rows) ** 3
    return {"a": a, "b": b, "y": a * b + 0.1}


def write_columns(folder: Path, columns: dict[str, np.ndarray]) -> str:
    path = folder / "columns.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*[values.tolist() for values in columns.values()], strict=True))
    return str(path)


def error_of(
    path: str, features=None, target: str | None = "y", separator: str | None = None
) -> str:
    """The message of a refused table, which is one line and begins with the file."""
    with pytest.raises(KanExpError) as caught:
        read_table(path, features, target, separator)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


def test_csv_agrees_with_a_plain_reader(tmp_path):
    path = write_columns(tmp_path, irregular())
    with Path(path).open(newline="") as file:
        oracle = list(csv.DictReader(file))
    table = read_table(path, ["b", "a"], "y")
    assert table.features == ("b", "a")
    assert (table.rows, table.schema.targets) == (40, ("y",))
    assert table.x.tolist() == [[float(row["b"]), float(row["a"])] for row in oracle]
    assert table.y.tolist() == [[float(row["y"])] for row in oracle]


def test_parquet_tsv_and_npz_hold_what_csv_holds(tmp_path):
    columns = irregular()
    expected = read_table(write_columns(tmp_path, columns), None, "y")
    pl.DataFrame(columns).write_parquet(tmp_path / "t[1].parquet")
    pl.DataFrame(columns).write_csv(tmp_path / "t.tsv", separator="\t")
    np.savez(tmp_path / "t.npz", **columns)
    np.savez_compressed(tmp_path / "x.npz", x=np.stack([columns["a"], columns["b"]], 1), **columns)
    for name in ("t[1].parquet", "t.tsv", "t.npz"):
        table = read_table(tmp_path / name, None, "y")
        assert table.features == ("a", "b")
        np.testing.assert_array_equal(table.x, expected.x)
        np.testing.assert_array_equal(table.y, expected.y)
    matrix = read_table(tmp_path / "x.npz", ["x1", "x2"], "y")
    np.testing.assert_array_equal(matrix.x, expected.x)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        "\ufeff" + GOOD.replace("a,b", '"a","b"'),
        GOOD.rstrip("\n"),
        "\n\n" + GOOD + "\n  \n",
        ' "a", b ,"y"\n1, "10",0.5\n2.5,-20 , 1.5\n300 ,30,-2\n',
        'a,b,y\n"1",10,0.5\n2.5,-20,"1.5"\n"3e2",30,-2\n',
    ],
    ids=["crlf", "cr", "bom", "no last newline", "blank lines", "blanks", "quotes"],
)
def test_dialects_of_csv_give_the_same_table(tmp_path, text):
    table = read_table(write(tmp_path, text), None, "y")
    assert table.features == ("a", "b")
    assert table.x.tolist() == [[1, 10], [2.5, -20], [300, 30]]
    assert table.y.tolist() == [[0.5], [1.5], [-2]]


@pytest.mark.parametrize("separator", [";", "|", "\t", "\\t"])
def test_other_separators(tmp_path, separator):
    text = GOOD.replace(",", "\t" if separator == "\\t" else separator)
    table = read_table(write(tmp_path, text), ["a"], "y", separator)
    assert table.x.tolist() == [[1], [2.5], [300]]


def test_names_may_hold_blanks_newlines_and_any_script(tmp_path):
    path = write(tmp_path, 'crew  size,"two\nlines",größe,温度\n1,2,3,4\n')
    table = read_table(path, ["crew size", "two lines", "温度"], "größe")
    assert table.x.tolist() == [[1, 2, 4]]


def test_booleans_count_as_zero_and_one_everywhere(tmp_path):
    flags = np.array([True, False, True])
    y = np.array([1.0, 2.0, 3.0])
    paths = [write(tmp_path, "flag,y\nTrue,1\nfalse,2\n1,3\n"), tmp_path / "t.parquet"]
    paths += [tmp_path / "t.npz"]
    pl.DataFrame({"flag": flags, "y": y}).write_parquet(paths[1])
    np.savez(paths[2], flag=flags, y=y)
    for path in paths:
        assert read_table(path, None, "y").x.tolist() == [[1], [0], [1]]


def test_columns_that_are_not_chosen_may_hold_anything(tmp_path):
    path = write(tmp_path, "a,city,y\n1,Oslo,2\n3,,4\n")
    assert read_table(path, ["a"], "y").x.tolist() == [[1], [3]]


def test_path_may_be_relative_or_start_at_home(tmp_path, monkeypatch):
    write(tmp_path, GOOD, "houses.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("houses.csv", "~/houses.csv", Path("houses.csv")):
        table = read_table(path, None, "y")
        assert table.source == str(path)
        assert table.rows == 3


def test_prediction_and_scoring_take_one_constant_row(tmp_path):
    path = write(tmp_path, "a,b,y\n7,8,9\n")
    table = read_table(path, ["b", "a"], None)
    assert table.x.tolist() == [[8, 7]]
    assert table.y.shape == (1, 0)
    assert read_table(path, None, None).features == ("a", "b", "y")
    split = read_table(path, ["b", "a"], "y").split()
    assert split.x.tolist() == [[8, 7]]
    assert split.y.tolist() == [[9]]


BAD_CELLS = {
    "empty": ("", ["column 'b'", "row 2, line 3", "missing"]),
    "na": ("NA", ["column 'b'", "row 2, line 3", "missing"]),
    "nan": ("nan", ["column 'b'", "row 2, line 3", "missing"]),
    "null": (" null ", ["column 'b'", "row 2, line 3", "missing"]),
    "infinite": ("-inf", ["column 'b'", "row 2, line 3", "infinite"]),
    "overflow": ("1e999", ["column 'b'", "row 2, line 3", "infinite"]),
    "text": ("Paris", ["column 'b'", "row 2, line 3", "text", "'Paris'", "data.missing=impute"]),
    "underscore": ("2024_01", ["column 'b'", "row 2, line 3", "text", "'2024_01'"]),
    "true amid numbers": ("true", ["column 'b'", "row 2, line 3", "text", "'true'"]),
    "two lines": ('"Rue\n1"', ["column 'b'", "row 2, line 3", r"'Rue\n1'"]),
    "control characters": ("\x1b[31m", ["column 'b'", "row 2, line 3", r"\x1b[31m"]),
    "long": ("z" * 100_000, ["column 'b'", "row 2, line 3", "zzz..."]),
    "too long": ("z" * 300_000, ["cannot be read from line 3 on", "field limit"]),
    "more cells": ("1,2", ["row 2, line 3", "4 cells", "3 columns"]),
    "open quote": ('"1', ["cannot be read from line 3 on"]),
}


@pytest.mark.parametrize(("cell", "fragments"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_bad_cell_is_named_by_column_and_row(tmp_path, cell, fragments):
    message = error_of(write(tmp_path, f"a,b,y\n1,10,0.5\n2.5,{cell},1.5\n3,30,-2\n"))
    assert message.startswith(f"{tmp_path}/t.csv: ")
    for fragment in fragments:
        assert fragment in message


def test_line_is_right_after_quoted_newlines_and_blank_lines(tmp_path):
    path = write(tmp_path, '"a\nb",note,y\n1,"x\ny\nz",2\n\n\n3,n,4\n5,n,oops\n')
    message = error_of(path, ["a b"])
    assert "text in the target column 'y' ('oops' in row 3, line 9)" in message
    assert Path(path).read_text().split("\n")[9 - 1] == "5,n,oops"


def test_blank_cell_of_a_single_column_is_missing_and_not_dropped(tmp_path):
    message = error_of(write(tmp_path, 'a\n1\n""\n\n3\n'), None, None)
    assert "missing cells in column 'a' (row 2, line 3)" in message


def test_missing_fields_are_counted(tmp_path):
    path = write(tmp_path, "a,y\n1,2\n,3\n4,nan\nNA,1\n")
    message = error_of(path)
    assert "missing cells in column 'a' (2, first in row 2, line 3)" in message
    assert "the target column 'y' (row 3, line 4)" in message


BAD_FILES = {
    "empty": ("t.csv", b"", ["is empty"]),
    "blank": ("t.csv", b" \n\n", ["has no columns"]),
    "header only": ("t.csv", b"a,y\n", ["no rows"]),
    "few cells": ("t.csv", b"a,y\n1,2\n3\n", ["row 2, line 3", "1 cells", "2 columns"]),
    "twice": ("t.csv", b"a,a,y\n1,2,3\n", ["a repeated name in column 'a' (2 columns)"]),
    "twice but for blanks": (
        "t.csv",
        b"a b,a  b,y\n1,2,3\n",
        ["a repeated name in column 'a b' (2 columns)"],
    ),
    "junk": ("t.csv", bytes(range(256)) * 9, ["no text in a known encoding", "UTF-8"]),
    "junk with an end": ("t.gram", bytes(range(256)), ["of no known kind ('.gram')"]),
    "zip": ("t.csv", b"PK\x03\x04 and more", ["is a zip archive"]),
    "xlsx junk": ("t.xlsx", b"PK", ["no readable spreadsheet", "save it as CSV"]),
    "feather junk": ("t.csv", b"ARROW1 and more", ["no readable .feather file"]),
    "jsonl junk": ("t.jsonl", b"{a}", ["no readable .jsonl file"]),
    "jsonl nan": (
        "t.jsonl",
        b'{"a": 1, "y": 2}\n\n{"a": NaN, "y": 3}\n',
        ["line 3: NaN is no JSON, write null"],
    ),
    "jsonl list": ("t.jsonl", b'{"a": 1}\n[1, 2]\n', ['line 2 is not a row, as {"a": 1}']),
    "jsonl deep": ("t.jsonl", b'{"a":' + b"[" * 9999 + b"]" * 9999 + b"}", ["no readable .jsonl"]),
    "jsonl types": ("t.jsonl", b'{"a": 1.5}\n{"a": true}\n', ["values of different types"]),
    "json nan": ("t.json", b'[{"a": Infinity, "y": 2}]', ["Infinity is no JSON, write null"]),
    "json scalar": ("t.json", b"3", ["is not a list of rows"]),
    "half a gz": ("t.csv", b"\x1f\x8b\x08", ["no readable .gz"]),
    "parquet junk": ("t.parquet", b"PAR1 junk PAR1", ["no readable Parquet"]),
    "npz junk": ("t.npz", b"junk", ["no npz archive"]),
    "npz pickle": ("t.npz", pickle.dumps({"a": [1.0]}), ["no npz archive"]),
}


@pytest.mark.parametrize(("name", "content", "fragments"), BAD_FILES.values(), ids=BAD_FILES)
def test_the_error_of_a_bad_file_is_one_line(tmp_path, name, content, fragments):
    message = error_of(write(tmp_path, content, name))
    assert message.startswith(f"{tmp_path}/{name}: ")
    for fragment in fragments:
        assert fragment in message
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_path_that_is_no_file(tmp_path):
    assert "is a folder" in error_of(str(tmp_path))
    assert "no such file" in error_of(str(tmp_path / "none.csv"))
    assert "cannot be opened" in error_of("~nobody-of-this-name/t.csv")
    assert "cannot be opened" in error_of("a" * 256 + ".csv")
    assert "data.path=FILE" in error_of(None)


BAD_CHOICES = {
    "target unknown": (None, "prize", ["'prize'", "data.target", "Did you mean 'price'?"]),
    "feature unknown": (["agee"], "price", ["'agee'", "data.features", "Did you mean 'age'?"]),
    "feature empty": ([""], "price", ["no column ''"]),
    "target among features": (["age", "price"], "price", ["'price'", "data.target and among"]),
    "feature twice": (["age", "age"], "price", ["names 'age' twice"]),
    "no features": ([], "price", ["leaves no column"]),
    "features as text": ("age", "price", ["must be a list", "'age'"]),
    "infinite": (["inf"], "price", ["infinite values in column 'inf' ('inf' in row 1, line 2)"]),
}


@pytest.mark.parametrize(("features", "target", "fragments"), BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_bad_choice_of_columns(tmp_path, features, target, fragments):
    message = error_of(write(tmp_path, "age,inf,price\n1,inf,3\n"), features, target)
    for fragment in fragments:
        assert fragment in message


def test_unknown_separator_is_refused(tmp_path):
    for separator in ("", "ab", "\n", '"', "."):
        assert "data.separator must be one of" in error_of(
            write(tmp_path, GOOD), separator=separator
        )


def test_faults_of_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame(
        {"a": [1.5, None, 3.0], "city": [None, "Oslo", "Bergen"], "tags": [[1], [2, 3], []]}
    ).with_columns(y=pl.lit(float("inf")), void=pl.lit(None))
    frame.write_parquet(path)
    assert "missing cells in column 'a' (row 2)" in error_of(path, ["a"], None)
    assert "missing cells in column 'void' (3, first in row 1)" in error_of(path, ["void"], None)
    assert "infinite values in column 'y' (inf (Float64) in row 1, one of 3)" in error_of(
        path, ["y"], None
    )
    assert "missing cells in column 'city' (row 1)" in error_of(path, ["city"], None)
    assert "no numbers in column 'tags' ([1] (List(Int64)) in row 1" in error_of(
        path, ["tags"], None
    )
    every = error_of(path, ["a", "city", "void", "tags"], "y")
    for fragment in ("'city'", "'tags'", "'a'", "'void'", "the target column 'y'"):
        assert fragment in every
    frame.clear().write_parquet(path)
    assert "no rows" in error_of(path, ["a"], "y")
    frame.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert "no readable Parquet file" in error_of(path, ["a"], "y")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickled_objects_in_npz_are_refused_unexecuted(tmp_path):
    mark = tmp_path / "mark"
    trap = np.array([Trap(mark)], dtype=object)
    np.savez(tmp_path / "t.npz", a=np.ones(1), trap=trap, y=np.ones(1))
    message = error_of(tmp_path / "t.npz")
    assert "array 'trap' holds Python objects, which are never loaded" in message
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(trap[0]))
    assert "no npz archive" in error_of(tmp_path / "raw.npz")
    assert not mark.exists()


def test_faults_of_npz(tmp_path):
    path = tmp_path / "t.npz"
    y = np.arange(3.0)
    for arrays, fragment in (
        ({"a": np.arange(4.0)}, "column 'a' has 4 rows, but column 'y' has 3"),
        ({"a": np.ones((3, 1))}, "array 'a' has shape (3, 1)"),
        ({"a": np.float64(1)}, "array 'a' has shape ()"),
        ({"x": np.ones((3, 2)), "x2": y}, "a repeated name in column 'x2' (2 columns)"),
        ({"a": np.array(["u", "v", "w"])}, "different texts in column 'a' ('u' (<U1) in row 1"),
        ({"a": y + 1j}, "in column 'a' (1j (complex128) in row 1, one of 3)"),
        ({"a": np.array([1, np.nan, 2])}, "missing cells in column 'a' (row 2)"),
    ):
        np.savez(path, y=y, **arrays)
        assert fragment in error_of(path)
    np.savez(path)
    assert "no columns" in error_of(path)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_npz_gives_a_table_or_our_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "t.npz"
    np.savez_compressed(path, a=rng.normal(size=50), y=rng.normal(size=50))
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    with suppress(KanExpError):
        assert read_table(path, None, None).rows == 50


def test_three_thousand_columns(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 3000))
    path = write_columns(tmp_path, {f"c{k}": values[:, k] for k in range(3000)})
    table = read_table(path, None, "c2000")
    np.testing.assert_array_equal(table.x, np.delete(values, 2000, axis=1))
    message = error_of(path, ["c20000"], None)
    assert "and 2988 more" in message


def data(path, **options) -> TableData:
    options = {"features": None, "fractions": FRACTIONS, "seed": 0, "separator": ","} | options
    return TableData(path, **({"target": "y"} | options))


def test_splits_are_disjoint_complete_and_follow_the_seed(tmp_path):
    path = write_columns(tmp_path, irregular(101))
    first, again, other = data(path), data(path), data(path, seed=1)
    parts = (first.train, first.val, first.test)
    assert [len(part.x) for part in parts] == [71, 15, 15]
    rows = torch.cat([torch.cat([part.x, part.y], 1) for part in parts]).tolist()
    whole = first.table.split()
    every = torch.cat([whole.x, whole.y], 1).tolist()
    assert sorted(rows) == sorted(every)
    assert rows != every
    assert torch.equal(first.test.x, again.test.x)
    assert not torch.equal(first.test.x, other.test.x)
    assert first.target_name == "y"


def test_a_table_may_have_several_outputs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.normal([5, -1], [2, 0.1], size=(30, 2))
    table = Table.of_arrays("t", Schema.of_numbers("abc", ["u", "v"]), x, y)
    found = SplitTableData(table, SplitOptions(FRACTIONS, 0))
    assert found.train.y.shape == (len(found.train.x), 2)
    np.testing.assert_allclose(found.scaling.y_std, found.train.y.numpy().std(0))
    assert "3 features -> u, v; " in found.summary
    found.plan(4, 3, 3, 1, torch.Generator())
    (chunk,) = found.train_dataloader()
    assert chunk.y.shape == (3, 4, 2)
    y[:, 1] = 7
    with pytest.raises(KanExpError, match=r"column 'v' holds only 7 .* choose another data.target"):
        SplitTableData(Table.of_arrays("t", table.schema, x, y), SplitOptions(FRACTIONS, 0))


def test_splitting_leaves_the_global_generator_alone(tmp_path):
    path = write_columns(tmp_path, irregular())
    before = torch.random.get_rng_state()
    data(path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_summary_says_what_was_read(tmp_path, monkeypatch):
    columns = {f"f{k}": np.arange(506.0) + k for k in range(13)} | {"price": np.arange(506.0)}
    write_columns(tmp_path, columns)
    monkeypatch.chdir(tmp_path)
    expected = "506 rows, 13 features -> price; 354 train, 76 validation, 76 test"
    assert data("columns.csv", target="price").summary == f"columns.csv: {expected}"


def test_batches_keep_the_digits_that_vary(tmp_path):
    columns = irregular(200)
    shifted = columns | {"a": columns["a"] + 1.7e9, "y": columns["y"] * 1e-6 + 1e6}
    found = data(write_columns(tmp_path, shifted))
    found.plan(None, 1, 1, 1, torch.Generator())
    x, y, _ = next(iter(found.train_dataloader()))
    assert x.dtype == y.dtype == torch.float32
    train = found.train.x.numpy()
    oracle = (train - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(x[0].numpy(), oracle, atol=1e-5)
    assert len(x[0, :, 0].unique()) == len(train)
    np.testing.assert_allclose(y.std(correction=0), 1, rtol=1e-3)
    np.testing.assert_allclose(y.mean(), 0, atol=1e-3)


def test_constant_columns_are_left_out_or_refused(tmp_path):
    path = write_columns(tmp_path, irregular() | {"c": np.full(40, 0.1)})
    found = data(path)
    assert found.features == ("a", "b")
    assert "column 'c' is left out: it has '0.1' in all rows." in found.data_warnings
    with pytest.raises(KanExpError, match=r"target column 'c' \(0\.1\).*data\.target"):
        data(path, target="c")


@pytest.mark.parametrize("factor", [1e300, 1e-300, 1e60, 1e-60])
def test_columns_beyond_float32_are_refused(tmp_path, factor):
    columns = irregular()
    path = write_columns(tmp_path, columns | {"a": columns["a"] * factor})
    with pytest.raises(KanExpError, match=r"a range .* column 'a' \(.*set 'data\.drop=\[a\]'"):
        data(path)


def test_too_few_rows(tmp_path):
    with pytest.raises(KanExpError, match=r"has 14 rows, but .* needs at least 15"):
        data(write_columns(tmp_path, irregular(14)))
    found = data(write_columns(tmp_path, irregular(15)))
    assert [len(part.x) for part in (found.train, found.val, found.test)] == [11, 2, 2]


@pytest.mark.parametrize(
    "fractions",
    [[0.7, 0.3], [0.7, 0.3, 0.0], [0.7, 0.7, -0.4], [0.5, 0.1, 0.1], 0.7, ["a", "b", "c"]],
)
def test_fractions_that_are_none(tmp_path, fractions):
    with pytest.raises(KanExpError, match=r"data\.fractions must be three positive numbers"):
        data(write_columns(tmp_path, irregular()), fractions=fractions)


def test_target_is_needed_for_training(tmp_path):
    with pytest.raises(
        KanExpError, match=r"data\.target is needed.* data\.target=y; columns: 'a', 'b', 'y'"
    ):
        data(write_columns(tmp_path, irregular()), target=None)
