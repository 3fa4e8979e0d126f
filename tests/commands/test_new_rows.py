"""Rows that a network has not seen: predictions as one more column, and a word on far rows."""

import csv
import errno
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import kan_exp
from kan_exp.data.columns import tidy
from kan_exp.errors import KanExpError
from kan_exp.evaluate import evaluate
from kan_exp.predict import predict
from kan_exp.train import prepare

SHORT = ["layer=interpo", "optimizer=adam", "dims=[2,1]", "steps=60", "logger=none"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training on a table: a from -3 to 6, b from 1000 to 1299."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [f"{9 * math.sin(k) ** 2 - 3},{1000 + k},{math.cos(k)}" for k in range(300)]
    (folder / "t.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    data = ["data=table", f"data.path={folder / 't.csv'}", "data.target=y"]
    prepare([*SHORT, *data, "~callbacks.figures"], folder / "run").run()
    return folder / "run"


def _predict(run, source, output, separator=None, missing="error", **more):
    options = {"run": str(run), "input": str(source), "output": str(output), "missing": missing}
    predict(OmegaConf.create({**options, "separator": separator, "modules": [], **more}))


def _refused(run, source, output, separator=None):
    with pytest.raises(KanExpError) as caught:
        _predict(run, source, output, separator)
    message = str(caught.value)
    assert message.isprintable()
    assert not output.exists()
    assert "data." not in message, "predict has no such options"
    return message


def _expected(run, rows):
    return kan_exp.load(run).predict(torch.tensor(rows, dtype=torch.float64))[:, 0].tolist()


def test_all_columns_stay_as_they_were_written(run, tmp_path):
    text = 'id,b,"note, long",a\n007,1100,"x ""y"", z",1e0\n008, 1.20e3 ,"two\nlines",+0.50\n'
    (tmp_path / "new.csv").write_text(text)
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv")
    first, second = _expected(run, [[1.0, 1100.0], [0.5, 1200.0]])
    assert (tmp_path / "out.csv").read_text() == (
        'id,b,"note, long",a,y_predicted\n'
        f'007,1100,"x ""y"", z",1e0,{first:.9g}\n'
        f'008, 1.20e3 ,"two\nlines",+0.50,{second:.9g}\n'
    )


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_a_csv_keeps_its_separator_its_mark_and_its_ends_of_lines(run, tmp_path, separator):
    text = "\ufeffid;b;a\r\n01;1100;1\r\n\r\n02;1200;2".replace(";", separator)
    (tmp_path / "new.csv").write_bytes(text.encode())
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv", separator)
    first, second = (f"{value:.9g}" for value in _expected(run, [[1.0, 1100.0], [2.0, 1200.0]]))
    expected = f"\ufeffid;b;a;y_predicted\r\n01;1100;1;{first}\r\n02;1200;2;{second}\r\n"
    assert (tmp_path / "out.csv").read_bytes().decode() == expected.replace(";", separator)


def test_the_outputs_extension_decides_where_it_is_another(run, tmp_path):
    (tmp_path / "new.tsv").write_text("a\tb\tnote\n1\t1100\tx, y\n")
    _predict(run, tmp_path / "new.tsv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith('a,b,note,y_predicted\n1,1100,"x, y",')
    _predict(run, tmp_path / "new.tsv", tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text().startswith("a\tb\tnote\ty_predicted\n1\t1100\tx, y\t")


def test_parquet_and_npz_are_written_as_far_as_text_can_hold_them(run, tmp_path, told):
    columns = {"a": [1.0, 2.5], "b": [1100, 1200]}
    frame = pl.DataFrame({"day": ["2024-01-31", "2024-02-01"], **columns, "tags": [[1], [2, 3]]})
    frame = frame.with_columns(pl.col("day").str.to_date())
    frame.write_parquet(tmp_path / "new.parquet")
    np.savez(tmp_path / "new.npz", name=np.array(["u", "v"]), **columns)
    expected = [f"{value:.9g}" for value in _expected(run, [[1.0, 1100.0], [2.5, 1200.0]])]
    for name, key, kept in (("new.parquet", "day", "2024-02-01"), ("new.npz", "name", "v")):
        _predict(run, tmp_path / name, tmp_path / "out.csv")
        with (tmp_path / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == [key, "a", "b", "y_predicted"]
        assert [row["y_predicted"] for row in rows] == expected
        assert [rows[1][key], rows[1]["a"], rows[1]["b"]] == [kept, "2.5", "1200"]
    assert any("left out" in line and "tags" in line for line in told())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_intervals_are_two_more_columns(run, tmp_path, ending):
    (tmp_path / "new.csv").write_text("a,b\n1,1100\n2,1200\n")
    _predict(run, tmp_path / "new.csv", tmp_path / f"out.{ending}", interval=0.8, mark=True)
    read = pl.read_csv if ending == "csv" else pl.read_parquet
    found = read(tmp_path / f"out.{ending}")
    names = ["y_predicted", "y_low", "y_high", "outside_trained_range"]
    assert found.columns == ["a", "b", *names]
    expected = kan_exp.load(run).predict_interval([[1.0, 1100.0], [2.0, 1200.0]], 0.8)[:, 0]
    np.testing.assert_allclose(found.select("y_low", "y_high").to_numpy(), expected, rtol=1e-8)
    with pytest.raises(KanExpError, match=r"interval must be .* got 80: set interval=0.8"):
        _predict(run, tmp_path / "new.csv", tmp_path / "out.csv", interval=80)


def test_a_column_with_the_name_of_predictions_is_reported(run, tmp_path):
    (tmp_path / "new.csv").write_text("a,b,y_predicted\n1,1100,3\n")
    message = _refused(run, tmp_path / "new.csv", tmp_path / "out.csv")
    assert "column 'y_predicted' already" in message
    assert "rename it" in message


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("b,a\n1100,1\n,2\n", ["missing cells in column 'b' (row 2, line 3)", "set missing=drop"]),
        ("b,a\n1100,1e999\n", ["infinite values in column 'a' ('1e999' in row 1, line 2)"]),
        ("b,a\n,u\n" + "1,2\n" * 20, ["text in column 'a'", "missing cells in column 'b'"]),
        ("b,c\n1100,1\n", ["no column 'a', which the network needs", "'b', 'c'"]),
        ("b,c\n1100,Paris\n", ["no column 'a'"]),
        ("b,a\n1100,Paris\n", ["text in column 'a' ('Paris'"]),
        ("b,a,a\n1100,1,2\n", ["a repeated name in column 'a' (2 columns)"]),
        ("b,a\n", ["no rows"]),
        ("", ["is empty"]),
    ],
)
def test_predict_names_its_own_options(run, tmp_path, text, fragments):
    (tmp_path / "new.csv").write_text(text)
    message = _refused(run, tmp_path / "new.csv", tmp_path / "out.csv")
    for fragment in fragments:
        assert fragment in message


def test_what_predict_does_not_need_may_be_faulty(run, tmp_path):
    (tmp_path / "new.csv").write_text("id,id,,a,b,gap\n1,2,3,1,1100,\n")
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("1,2,3,1,1100,,")


def test_rows_far_outside_are_counted_with_their_columns(run, tmp_path, told):
    lines = ["a,b", "0,1100", "100,1100", "-50,2e9", "6.2,1310", "0.1,1100"]
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv")
    (line,) = [one for one in told() if "far outside" in one]
    assert line.startswith("Note: 2 of 5 rows lie far outside of what the network was trained on")
    low, high = _bounds(run)[0]
    assert f"'a' in 2 (trained on {low:.4g} to {high:.4g}, got -50 to 100)" in line
    assert "'b' in 1 (trained on 10" in line
    assert line.index("'a' in 2") < line.index("'b' in 1")
    assert "got 1100 to 2e+09" in line


@pytest.mark.parametrize("score", [False, True])
def test_whole_numbers_that_are_rounded_are_noted(run, tmp_path, told, score):
    (tmp_path / "new.csv").write_text(f"a,b,y\n1,{2**53 + 1},1\n")
    if score:
        _evaluate(run, tmp_path / "new.csv")
    else:
        _predict(run, tmp_path / "new.csv", tmp_path / "out.csv")
    (line,) = [line for line in told() if "more digits" in line]
    assert line.startswith("Note: column 'b' has whole numbers with more digits than float64")


def _bounds(run):
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    return checkpoint["kan_exp"]["bounds"]


def test_the_bounds_in_a_checkpoint_are_those_of_the_training_rows(run):
    """70 percent of 300 rows: their range is inside the table's, and nearly as wide."""
    (a_low, a_high), (b_low, b_high) = _bounds(run)
    assert -3 <= a_low < -2.9
    assert 5.9 < a_high <= 6
    assert b_low in range(1000, 1020)
    assert b_high in range(1280, 1300)


def test_rows_of_the_training_are_not_far(run, tmp_path, told):
    _predict(run, run.parent / "t.csv", tmp_path / "out.csv")
    assert not [line for line in told() if "Note" in line]


def test_a_checkpoint_without_bounds_has_those_that_its_first_layer_saw(run, tmp_path, told):
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    a, _ = checkpoint["kan_exp"].pop("bounds")
    torch.save(checkpoint, tmp_path / "old" / "checkpoints" / "best.ckpt")
    (tmp_path / "new.csv").write_text("a,b\n60,1100\n1,1100\n")
    _predict(tmp_path / "old", tmp_path / "new.csv", tmp_path / "out.csv")
    (line,) = [one for one in told() if "far outside" in one]
    assert f"'a' (trained on {a[0]:.4g} to {a[1]:.4g}, got 1 to 60)" in line
    assert "'b' (" not in line


def _evaluate(run, path, **options):
    data = {"_target_": "kan_exp.data.TableData", "path": str(path), "target": "???"}
    data |= {"features": None, "fractions": [0.7, 0.15, 0.15], "seed": 0, "separator": ","}
    evaluate(
        OmegaConf.create(
            {
                "run": str(run),
                "target": None,
                "data": data | options,
                "modules": [],
                "points": 10000,
            }
        )
    )


def test_evaluate_says_so_too(run, tmp_path, told):
    (tmp_path / "new.csv").write_text("a,b,y\n0,1100,1\n0,500,1\n")
    _evaluate(run, tmp_path / "new.csv")
    (line,) = [one for one in told() if "far outside" in one]
    assert "1 of 2 rows" in line
    assert "'b' (trained on 10" in line


@pytest.mark.parametrize(
    ("text", "options", "fragments"),
    [
        ("a,b\n0,1100\n", {}, ["no column 'y'", "data.target=...", "kan_exp.predict"]),
        ("a,b,z\n0,1100,1\n", {"target": "zz"}, ["no column 'zz', which data.target names"]),
        ("a,b,y\n,1100,1\n", {}, ["missing cells in column 'a'", "set data.missing=drop"]),
        ("a,b,y\n0,1100,\n", {}, ["missing cells in the target column 'y'"]),
        ("a,b,y\n0,1100,1\n", {"features": ["a"]}, ["trained on a, b", "leave it out"]),
    ],
)
def test_evaluate_names_options_that_it_has(run, tmp_path, text, options, fragments):
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(KanExpError) as caught:
        _evaluate(run, tmp_path / "new.csv", **options)
    message = str(caught.value)
    assert message.isprintable()
    assert "data.features=[" not in message
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_table_that_cannot_be_read_is_reported_before_torch(light, tmp_path, command):
    (tmp_path / "new.csv").write_text("")
    own = ["input=new.csv", "output=out.csv"]
    new = own if command == "predict" else ["data=table", "data.path=new.csv"]
    for run in ("nowhere", "."):
        result = light(command, f"run={run}", *new)
        assert result.returncode == 1
        assert "new.csv: is empty" in result.stderr
        assert result.stdout.endswith("imported:\n")
    (tmp_path / "new.csv").write_text("a,b,y\n1,2,3\n")
    result = light(command, "run=nowhere", *new)
    assert "nowhere: there is no such folder" in result.stderr
    assert result.stdout.endswith("imported:\n")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    cells=st.lists(CELLS, min_size=1, max_size=4),
    name=CELLS.filter(lambda name: tidy(name) not in ("a", "b", "y_predicted")),
    separator=st.sampled_from([",", ";", "|", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_text_beside_the_inputs_comes_back(run, tmp_path_factory, cells, name, separator, end):
    folder = tmp_path_factory.mktemp("any")
    rows = [["a", name, "b"], *([str(k), cell, str(1000 + k)] for k, cell in enumerate(cells))]
    with (folder / "new.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, lineterminator=end).writerows(rows)
    with (folder / "new.csv").open(newline="", encoding="utf-8") as file:
        given = list(csv.reader(file, delimiter=separator))
    _predict(run, folder / "new.csv", folder / "out.csv", separator)
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file, delimiter=separator))
    assert [row[:-1] for row in found] == given
    assert found[0][-1] == "y_predicted"
    expected = _expected(run, [[float(k), 1000.0 + k] for k in range(len(cells))])
    np.testing.assert_allclose([float(row[-1]) for row in found[1:]], expected, rtol=1e-6)


def test_an_input_may_have_the_name_of_predictions(tmp_path):
    rows = "\n".join(f"{math.sin(k)},{k},{k % 7 + 0.5}" for k in range(40))
    (tmp_path / "t.csv").write_text(f"y_predicted,y_predicted2,y\n{rows}\n")
    data = ["data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y"]
    prepare([*SHORT, *data, "steps=2", "~callbacks.figures"], tmp_path / "run").run()
    _predict(tmp_path / "run", tmp_path / "t.csv", tmp_path / "out.csv")
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert header == "y_predicted,y_predicted2,y,y_predicted3"


def test_a_run_of_folds_has_the_errors_of_its_folds(tmp_path):
    rows = "\n".join(f"{math.sin(k)},{k % 7 + math.cos(k)}" for k in range(60))
    (tmp_path / "t.csv").write_text(f"a,y\n{rows}\n")
    data = ["data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y", "data.folds=3"]
    options = ["layer=interpo", "optimizer=adam", "steps=20", "logger=none", "dims=[1,1]"]
    prepare([*options, *data, "~callbacks.figures"], tmp_path / "run").run()
    left_out = pl.read_csv(tmp_path / "run" / "predictions.csv")
    errors = (left_out["y"] - left_out["y_predicted"]).abs().sort()
    margin = float(kan_exp.load(tmp_path / "run").interval_margins(0.9))
    assert margin == pytest.approx(errors[54], rel=1e-6)  # the 55th of 60: 0.9 of 61


def test_every_name_of_a_file_can_be_written(run, tmp_path):
    (tmp_path / "new.csv").write_text("a,b\n1,1100\n")
    longest = tmp_path / f"{'o' * 251}.csv"
    _predict(run, tmp_path / "new.csv", longest)
    assert len(longest.read_text().splitlines()) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", longest.name}


def test_an_output_that_cannot_be_written_is_named(run, tmp_path, monkeypatch):
    (tmp_path / "new.csv").write_text("a,b\n1,1100\n")
    output = tmp_path / "out.csv"
    write = Path.open

    def full(path: Path, *rest, **options):
        if path.suffix == ".partial":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    message = _refused(run, tmp_path / "new.csv", output)
    assert message == f"output: cannot write {output}: No space left on device: name another file."
