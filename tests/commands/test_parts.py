"""Tables that are predicted a part at a time, through files and pipes; and a run's export."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

import kan_exp
from kan_exp.data import batches
from kan_exp.errors import KanExpError
from kan_exp.evaluate import evaluate
from kan_exp.export import export_run
from kan_exp.exporting.kan_predict import Model
from kan_exp.predict import predict
from kan_exp.train import prepare

SHORT = ["layer=interpo", "optimizer=adam", "dims=[2,1]", "steps=60", "logger=none"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training on a table with a from 0 to 1 and b from 10 to 20."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [f"{math.sin(k) ** 2},{10 + k % 11},{math.cos(k)}" for k in range(200)]
    (folder / "t.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    data = ["data=table", f"data.path={folder / 't.csv'}", "data.target=y"]
    prepare([*SHORT, *data, "~callbacks.figures"], folder / "run").run()
    return folder / "run"


def _predict(run, source, output, **options):
    known = {"run": str(run), "input": str(source), "output": str(output), "missing": "error"}
    predict(OmegaConf.create({**known, "separator": None, "modules": [], **options}))


def _expected(run, rows):
    return kan_exp.load(run).predict(torch.tensor(rows, dtype=torch.float64))[:, 0].tolist()


@pytest.fixture
def table():
    numbers = np.random.default_rng(0).random((50, 2)) * [1, 10] + [0, 10]
    numbers[[7, 41]] = [[3.0, 12.0], [0.5, 40.0]]  # far outside
    return pl.DataFrame(
        {"id": [f"n {k}" for k in range(50)], "b": numbers[:, 1], "a": numbers[:, 0]}
    )


def _rows(table):
    return table.select("a", "b").to_numpy().tolist()


def test_parts_of_parquet_are_put_together(run, tmp_path, table, monkeypatch, told):
    monkeypatch.setattr(batches, "BLOCK", 7)
    table.write_parquet(tmp_path / "new.parquet")
    _predict(run, tmp_path / "new.parquet", tmp_path / "out.parquet", mark=True)
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.select(table.columns).equals(table)
    assert found["y_predicted"].to_list() == pytest.approx(_expected(run, _rows(table)), rel=1e-6)
    assert found["outside_trained_range"].arg_true().to_list() == [7, 41]
    assert any("2 of 50 rows lie far outside" in line for line in told())
    assert {path.name for path in tmp_path.iterdir()} == {"new.parquet", "out.parquet"}


def test_columns_are_kept_by_name(run, tmp_path, table):
    table.write_parquet(tmp_path / "new.parquet")
    table.write_csv(tmp_path / "new.csv")
    _predict(run, tmp_path / "new.parquet", tmp_path / "out.parquet", keep=["id"])
    assert pl.read_parquet_schema(tmp_path / "out.parquet") == {
        "id": pl.String,
        "y_predicted": pl.Float64,
    }
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv", keep=["a", "id"])
    assert (tmp_path / "out.csv").read_text().startswith("a,id,y_predicted\n")
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv", keep=[])
    assert (tmp_path / "out.csv").read_text().startswith("y_predicted\n")
    for keep, fragment in ((["idd"], "has no column 'idd', which keep names"), ("id", "keep=[id]")):
        with pytest.raises(KanExpError) as caught:
            _predict(run, tmp_path / "new.csv", tmp_path / "no.csv", keep=keep)
        assert fragment in str(caught.value)
    with pytest.raises(KanExpError, match="mark must be true or false, got no"):
        _predict(run, tmp_path / "new.csv", tmp_path / "no.csv", mark="no")
    assert not (tmp_path / "no.csv").exists()


def test_text_becomes_parquet_as_the_network_reads_it(run, tmp_path):
    (tmp_path / "new.csv").write_text("id,a,b\n007,0.5,12\n008,,13\n")
    _predict(run, tmp_path / "new.csv", tmp_path / "out.parquet", missing="drop")
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["id"].to_list() == ["007", "008"]
    assert found["a"].to_list() == [0.5, None]
    assert found["y_predicted"].to_list() == [pytest.approx(_expected(run, [[0.5, 12]])[0]), None]


def test_parts_of_text_are_put_together(run, tmp_path, monkeypatch, told):
    lines = [f'"id\n{k}",{k / 40},{10 + k / 5}' for k in range(40)]
    (tmp_path / "new.csv").write_text("\n".join(["id,a,b", *lines]) + "\n")
    _predict(run, tmp_path / "new.csv", tmp_path / "whole.csv")
    monkeypatch.setattr(batches, "CHUNK", 100)
    _predict(run, tmp_path / "new.csv", tmp_path / "parts.csv")
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert told()[-1].startswith(f"{tmp_path / 'parts.csv'}: 40 rows with")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_fault_in_a_later_part_is_named_and_nothing_is_left(run, tmp_path, monkeypatch, kind):
    lines = [f"{k / 40},{10 + k / 5}" for k in range(40)]
    lines[33] = "0.5,"
    (tmp_path / "new.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    monkeypatch.setattr(batches, "CHUNK", 100)
    with pytest.raises(KanExpError, match=r"column 'b'.*row 34, line 35"):
        _predict(run, tmp_path / "new.csv", tmp_path / f"out.{kind}")
    lines[33] = "0.5,1,2"
    (tmp_path / "new.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    with pytest.raises(KanExpError, match="row 34, line 35 has 3 cells"):
        _predict(run, tmp_path / "new.csv", tmp_path / f"out.{kind}")
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_gaps_are_counted_over_all_parts(run, tmp_path, monkeypatch, told):
    lines = [f"{k / 40},{'' if k % 10 == 9 else 10}" for k in range(40)]
    (tmp_path / "new.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    monkeypatch.setattr(batches, "CHUNK", 100)
    _predict(run, tmp_path / "new.csv", tmp_path / "out.csv", missing="drop")
    assert "Note: 4 of 40 rows with gaps are left out." in told()
    assert (tmp_path / "out.csv").read_text().splitlines()[10] == "0.225,,"


def _piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_rows_go_through_pipes(run, monkeypatch, capfd):
    _piped(monkeypatch, b"a;b\n0.5;12\n0.25;13\n")
    _predict(run, "-", "-")
    first, second = _expected(run, [[0.5, 12], [0.25, 13]])
    assert capfd.readouterr().out == (
        f"a;b;y_predicted\n0.5;12;{first:.9g}\n0.25;13;{second:.9g}\n"
    )


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (b"", "standard input: is empty"),
        (b"a,b\n0.5,12\n0.25,1", "standard input: ends in the middle of a line after row 1"),
        (b"PAR1\0\0\0\n", "standard input: is no text"),
        (b"a,b\n0.5,12\nx,13\n", "standard input: "),
    ],
)
def test_pipes_that_bring_something_else_are_refused_in_a_line(run, monkeypatch, data, fragment):
    _piped(monkeypatch, data)
    with pytest.raises(KanExpError) as caught:
        _predict(run, "-", "-")
    assert str(caught.value).startswith(fragment)
    assert str(caught.value).isprintable()


def test_a_damaged_parquet_is_refused_in_a_line(run, tmp_path, table):
    table.write_parquet(tmp_path / "new.parquet")
    data = (tmp_path / "new.parquet").read_bytes()
    (tmp_path / "new.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(KanExpError, match="is no readable Parquet file"):
        _predict(run, tmp_path / "new.parquet", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["new.parquet"]


def _evaluate(run, path, told, **options):
    """The lines about the rows of a table."""
    data = {"_target_": "kan_exp.data.TableData", "path": str(path), "target": "y"}
    data |= {"features": None, "separator": None}
    known = {"run": str(run), "target": None, "modules": [], "points": 10000}
    before = len(told())
    evaluate(OmegaConf.create({**known, "data": data | options}))
    return told()[before:]


@pytest.fixture
def scored(run, table, told):
    """Rows with gaps, a true value that is missing, and weights."""
    truth = table.with_columns(
        y=pl.Series([math.cos(k) if k != 20 else None for k in range(50)]),
        a=pl.Series([None if k in (3, 44) else value for k, value in enumerate(table["a"])]),
        w=pl.Series([0] * 20 + [k % 3 for k in range(30)]),
    )
    known = truth.filter(pl.col("a").is_not_null() & pl.col("y").is_not_null())
    error = known["y"].to_numpy() - _expected(run, _rows(known))
    return truth, np.average(error**2, weights=known["w"]) ** 0.5


@pytest.mark.parametrize("ending", ["csv", "parquet", "-"])
def test_evaluate_reads_a_part_at_a_time(run, tmp_path, scored, monkeypatch, told, ending):
    truth, rmse = scored
    path = tmp_path / f"new.{ending}"
    truth.write_parquet(path) if ending == "parquet" else truth.write_csv(path)
    options = {"missing": "drop", "weight": "w"}
    whole = _evaluate(run, path, told, **options)
    monkeypatch.setattr(batches, "CHUNK", 200)
    monkeypatch.setattr(batches, "BLOCK", 7)
    if ending == "-":
        _piped(monkeypatch, path.read_bytes())
        path = "-"
    lines = _evaluate(run, path, told, **options)
    assert lines[0].startswith(f"{run} on 47 rows of ")
    assert lines[0].endswith("standard input" if ending == "-" else f"new.{ending}")
    assert lines[1:] == whole[1:]
    assert f"RMSE       {rmse:.3g} ± " in lines[1]
    assert "Note: 3 of 50 rows with gaps are left out." in lines
    assert "Note: 1 of 50 rows has no 'y'." in lines
    assert any("2 of 47 rows lie far outside" in line for line in lines)


def test_evaluate_names_faults_of_later_parts(run, tmp_path, scored, monkeypatch, told):
    truth, _ = scored
    truth.with_columns(a=0.5).write_csv(tmp_path / "new.csv")
    monkeypatch.setattr(batches, "CHUNK", 400)
    with pytest.raises(KanExpError, match=r"missing cells in the target column 'y' \(row 21"):
        _evaluate(run, tmp_path / "new.csv", told)
    truth = truth.with_columns(w=pl.Series([0] * 49 + [-1]))
    truth.write_csv(tmp_path / "new.csv")
    with pytest.raises(KanExpError, match=r"data.weight=w has '-1' in row 50, line 51: weights"):
        _evaluate(run, tmp_path / "new.csv", told, missing="drop", weight="w")
    truth.with_columns(w=0).write_csv(tmp_path / "new.csv")
    with pytest.raises(KanExpError, match=r"data.weight=w is 0 in all rows"):
        _evaluate(run, tmp_path / "new.csv", told, missing="drop", weight="w")
    with pytest.raises(KanExpError, match=r"data.missing must be error or impute or drop"):
        _evaluate(run, tmp_path / "new.csv", told, missing="skip")


def _export(run, **options):
    known = {"run": str(run), "format": None, "output": None, "dtype": "float32"}
    export_run(OmegaConf.create({**known, "table": "data", "modules": [], **options}))


def test_a_run_is_exported_into_its_folder(run, told, table):
    _export(run)
    expected = kan_exp.load(run).predict(table)[:, 0].tolist()
    columns = {"a": table["a"].to_numpy(), "b": table["b"].to_numpy()}
    found = Model(run / "model.npz")(columns)[:, 0].tolist()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert told()[0].startswith(f"{run / 'model.npz'}: ")
    assert any(line.startswith("largest error: ") for line in told())
    _export(run, format="c")
    assert "double a;" in (run / "model.h").read_text()


def test_a_wrong_format_is_refused_before_the_model_is_loaded(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_text("none")
    with pytest.raises(KanExpError, match="format must be one of npz, onnx, torch, c, sql"):
        _export(tmp_path, format="tflite")
