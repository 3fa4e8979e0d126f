"""A table with many faults: one line lists them, and the options and commands in it work."""

import csv
import os
import shlex
import stat
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kan_exp.data import training_table
from kan_exp.data.columns import tidy
from kan_exp.data.options import Options, assign
from kan_exp.data.reading import read_table
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.table import Table
from kan_exp.data.training_table import learning_table
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError

FRACTIONS = [0.7, 0.15, 0.15]
SPLIT = SplitOptions(FRACTIONS, seed=0)


def learn(path, target="y", features=None, separator=None, dims=None, **treatment) -> Table:
    treated = Treatment(**treatment)
    options = Options(dims=dims)
    return learning_table(path, target, features, SPLIT, separator, options, treatment=treated)


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


def pasted(message: str) -> dict[str, object]:
    """The options that a message ends with, as the shell and Hydra read them."""
    options: dict[str, object] = {}
    for word in shlex.split(message.rpartition(": set ")[2]):
        override = OverridesParser.create().parse_override(word)
        value = OmegaConf.create({"v": override.value()})
        options[override.key_or_group.removeprefix("data.")] = OmegaConf.to_container(value)["v"]
    return options


def numbers(rows=40):
    rng = np.random.default_rng(0)
    return [[f"{value:.4g}" for value in row] for row in rng.normal(size=(rows, 3))]


def test_all_faults_are_listed_at_once_with_options_that_work(tmp_path):
    header = ["", "name", "day", "price", "twice", "twice", "const", "gap", "inf", "odd", "a b"]
    rows = [
        [
            *(k, f"Ann {k}", f"{k % 9 + 1}/{k % 8 + 1}/2024", f"${k},000", 1, 2, 7),
            *("" if k % 2 else k, "inf" if k == 5 else k, "oops" if k == 3 else k, a, y),
        ]
        for k, (a, _, y) in enumerate(numbers())
    ]
    message = refused(path := write(tmp_path, [*header, "y"], rows))
    for fragment in (
        "a repeated name in column 'twice' (2 columns)",
        "mostly different texts in column 'name' ('Ann 0' in row 1, line 2, one of 40)",
        "dates whose day and month are unclear in column 'day' ('1/1/2024'",
        "text in column 'odd' ('oops' in row 4, line 5)",
        "missing cells in column 'gap' (20, first in row 2, line 3)",
        "infinite values in column 'inf' ('inf' in row 6, line 7)",
        "'data.drop=[twice,name]' 'data.kinds={day: %d/%m/%Y}'",
        "'data.missing_values=[oops,\"inf\"]' data.missing=impute",
    ):
        assert fragment in message
    for fragment in ("'const'", "'a b'", "'price'"):
        assert fragment not in message
    table = learn(path, **pasted(message))
    assert table.schema.columns == ("day", "price", "gap", "inf", "odd", "a b")
    assert table.frame["price"].to_list() == [1000 * k for k in range(40)]
    assert table.frame["day"][1] == datetime(2024, 2, 2)
    assert table.frame["a b"].to_list() == [float(row[0]) for row in numbers()]
    assert "column 'const' is left out: it has '7' in all rows." in table.notes


def test_rows_without_the_target_are_left_out_where_others_are_filled(tmp_path):
    rows = numbers(80)
    for k in range(0, 40, 2):
        rows[k][2] = ""
        rows[k + 1][0] = ""
    message = refused(path := write(tmp_path, ["a", "b", "y"], rows))
    assert "missing cells in column 'a' (20, first in row 2, line 3), the target" in message
    table = learn(path, **pasted(message))
    assert table.rows == 60
    assert table.frame["a"].null_count() == 20
    assert "20 of 80 rows with gaps are left out." in table.notes
    fitted = table.schema.fit(table.frame)
    assert fitted.features == ("a", "a=missing", "b")
    known = sorted(float(row[0]) for row in rows if row[0] and row[2])
    assert fitted.encode(table.frame)[0].tolist() == [
        (known[19] + known[20]) / 2,
        1,
        float(rows[1][1]),
    ]
    table = learn(path, missing="drop")
    assert table.rows == 40
    assert table.kept.tolist() == list(range(40, 80))


def test_options_that_were_given_are_kept(tmp_path):
    rows = [["x", k, "" if k == 3 else a, y] for k, (a, _, y) in enumerate(numbers())]
    path = write(tmp_path, ["name", "id", "a", "y"], rows)
    message = refused(path, drop=["id"], missing_values=[-1], dims=(3, 5, 1))
    assert message.endswith(": set data.missing=impute 'dims=[auto,5,1]'")
    options = {"drop": ["id"], "missing": "impute", "missing_values": [-1]}
    assert learn(path, **options).features == ("a",)


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"drop": ["A"]}, ["no column 'A', which data.drop names", "Did you mean 'a'?"]),
        ({"drop": "b", "missing_values": "x", "features": ["b"]}, ["data.features leaves"]),
        ({"kinds": {"q": "date"}}, ["no column 'q', which data.kinds names"]),
        ({"kinds": {"a": "text"}}, ["data.kinds: column 'a'", "number, boolean, category, date"]),
        ({"scale": {"a": "sqrt"}}, ["data.scale: column 'a'", "log, log1p"]),
        ({"scale": {"a": "log"}}, ["numbers without a logarithm in column 'a'"]),
        ({"scale": {"a": "log"}, "kinds": {"a": "category"}}, ["data.scale names 'a', a category"]),
        ({"scale": "log"}, ["data.scale must name columns, such as {price: log}"]),
        ({"missing": "mean"}, ["data.missing must be error or impute or drop"]),
        ({"decimal": ";"}, ["data.decimal must be . or ,"]),
        ({"drop": ["a", "b"]}, ["has no column but 'y'"]),
        ({"features": ["a"], "drop": ["a"]}, ["data.features leaves no column"]),
    ],
)
def test_options_of_columns_are_checked(tmp_path, options, fragments):
    path = write(tmp_path, ["a", "b", "y"], numbers())
    message = refused(path, **options)
    for fragment in fragments:
        assert fragment in message


def test_a_file_without_a_header_is_recognized(tmp_path):
    path = write(tmp_path, *[numbers()[0]], numbers()[1:])
    assert "Its first line holds numbers" in refused(path)


def test_the_error_of_a_wide_table_is_short(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 2100)).round(3).astype(str)
    values[:, ::2] = [["text"], ["more"]] * 15
    values[:, ::2] = np.char.add(values[:, ::2], np.arange(30).astype(str)[:, None])
    names = [f"column number {k}" for k in range(2100)]
    message = refused(write(tmp_path, names, values.tolist()), names[-1])
    assert "and 1,046 more columns" in message
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
    assert "no numbers in column 'nested'" in message
    assert message.endswith("set 'data.drop=[nested,raw]'")
    table = learn(tmp_path / "t.parquet", drop=["nested", "raw"])
    kinds = {column.name: column.kind for column in table.schema.inputs}
    assert kinds == {"a": "number", "k": "number", "money": "number", "day": "date"} | {
        "kind": "category",
        "flag": "boolean",
    }
    assert "column 'void' is left out: it has no value in all rows." in table.notes
    np.testing.assert_allclose(table.frame["money"], a, atol=1e-4)
    assert set(table.frame["flag"]) == {0.0, 1.0}


def test_a_table_is_read_again_only_if_its_file_or_its_columns_are_others(tmp_path, monkeypatch):
    path = write(tmp_path, ["a", "b", "y"], numbers())
    table = learn(path)
    with monkeypatch.context() as patch:
        patch.setattr(training_table, "open_columns", None)
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
    assert not any(column.format for column in found.schema.inputs)
    assert np.column_stack([found.x, found.y]).tolist() == [list(map(float, row)) for row in table]
    assert found.features == tuple(map(tidy, names[:-1]))


def check_outcome(path: Path, separator: str) -> None:
    """A table of finite numbers, or one line."""
    try:
        table = read_table(path, None, None, separator)
    except KanExpError as error:
        message = str(error)
    else:
        assert table.rows
        fitted = table.schema.fit(table.frame)
        assert np.isfinite(fitted.encode(table.frame)).all()
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
@given(
    st.binary(max_size=60),
    st.sampled_from([".csv", ".tsv", ".parquet", ".npz", ".jsonl", ".gz", ".feather", ".xlsx"]),
)
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("any") / f"t{suffix}"
    path.write_bytes(content)
    check_outcome(path, ",")


def test_rows_that_are_left_out_take_their_weight_and_group_with_them(tmp_path):
    rows = [["" if k == 3 else a, b, y, k, k // 4] for k, (a, b, y) in enumerate(numbers())]
    path = write(tmp_path, ["a", "b", "y", "w", "g"], rows)
    write(tmp_path, ["a", "b", "y", "w"], [[1, 2, 3, 50], [1, "", 3, 60]], name="new.csv")
    split = SplitOptions(FRACTIONS, 0, weight="w", group="g")
    drop = Treatment(missing="drop")
    table = learning_table(path, "y", None, split, None, treatment=drop)
    kept = [k for k in range(40) if k != 3]
    assert table.weight.tolist() == kept
    assert np.array_equal(np.unique(table.groups, return_counts=True)[1], [3] + [4] * 9)
    split = SplitOptions(FRACTIONS, 0, weight="w", test_path=str(tmp_path / "new.csv"))
    table = learning_table(path, "y", ["a", "b"], split, None, treatment=drop)
    assert (table.rows, table.test_rows, table.weight.tolist()) == (40, 1, [*kept, 50])


def test_repeated_names_alone_are_to_be_renamed(tmp_path):
    rows = [[k, k + 1, k * k] for k in range(20)]
    message = refused(write(tmp_path, ["a", "a", "y"], rows))
    assert message.endswith(
        "a repeated name in column 'a' (2 columns): rename columns of the same name: without them, "
        "no other column is left to learn from."
    )


def test_numbers_that_are_one_in_float64_are_not_called_the_same(tmp_path):
    lines = "".join(f"{2**60 + row},{row},{row % 7}\n" for row in range(20))
    (tmp_path / "t.csv").write_text("id,a,y\n" + lines)
    note = "column 'id' is left out: all of its numbers are 1.152921504606847e+18 in float64."
    assert note in learn(tmp_path / "t.csv").notes


@pytest.mark.parametrize("target", ["y", "zero", "below"])
def test_numbers_without_a_logarithm_get_a_scale_that_they_have_or_none(tmp_path, target):
    rows = [[*row, str(k), str(k - 20)] for k, row in enumerate(numbers())]
    path = write(tmp_path, ["a", "b", "y", "zero", "below"], rows)
    message = refused(path, target=target, scale={"zero": "log", "below": "log"})
    assert message.endswith("set 'data.scale={zero: log1p}'")
    assert refused(path, target=target, scale={"below": "log"}).endswith("set data.scale=null")
