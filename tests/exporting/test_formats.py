"""Files that other programs read predict what the model predicts, from the user's own columns."""

from __future__ import annotations

import ast
import ctypes
import errno
import gc
import json
import os
import shutil
import sqlite3
import subprocess
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from kan_exp.data.schema import Column, Schema
from kan_exp.errors import KanExpError
from kan_exp.exporting import export
from kan_exp.exporting.c_header import identifier
from kan_exp.exporting.describing import DATE_PARTS
from kan_exp.exporting.fresh import as_arrays, difference, fresh_rows
from kan_exp.exporting.kan_columns import date_parts, encode
from kan_exp.exporting.kan_predict import Model
from kan_exp.exporting.npz import ENCODER, EVALUATOR, as_stored
from kan_exp.exporting.tables import make_tables
from tests.exporting.conftest import DAY, complete, mixed_model, network

EXACT = 1e-5
COMPILER = shutil.which("cc") or shutil.which("gcc")


def rows_for(model, seed=7, count=400):
    """Rows that no export has been compared with, as frames and as exports take them."""
    tables = make_tables(model)
    rows = fresh_rows(tables, torch.Generator().manual_seed(seed), count)
    return rows, as_arrays(tables, rows), model.predict(rows).double().numpy()


def far_rows(model, rows):
    low, high = model.trained_ranges.T
    x = model.schema.encode(rows)
    return ((x < low - 0.1 * (high - low)) | (x > high + 0.1 * (high - low))).any(1)


def test_npz(model, tmp_path):
    lines = export(model, tmp_path / "m.npz")
    assert any("largest error" in line for line in lines)
    files = {"m.npz", "kan_predict.py", "kan_columns.py"}
    assert {path.name for path in tmp_path.iterdir()} == files
    rows, arrays, expected = rows_for(model)
    loaded = Model(tmp_path / "m.npz")
    x = encode(loaded.about, arrays)
    assert difference(loaded(x), expected) < EXACT
    one = encode(loaded.about, {name: values[3] for name, values in arrays.items()})
    assert difference(loaded(one), expected[3:4]) < EXACT
    np.testing.assert_array_equal(loaded.outside(x), far_rows(model, rows))


def test_npz_takes_missing_and_new_values(tmp_path):
    model = mixed_model()
    export(model, tmp_path / "m.npz")
    row = {"double */": 2.0, 'the "b"': None, "city": None, "größe": 1}
    row["when, it was"] = np.datetime64("2020-02-29T13:00")
    expected = model.predict(pl.DataFrame([{**row, "when, it was": row["when, it was"].item()}]))
    loaded = Model(tmp_path / "m.npz")
    for gap in (None, float("nan")):
        found = loaded(encode(loaded.about, row | {'the "b"': gap, "city": gap}))
        assert difference(found, expected.double().numpy()) < EXACT
    never = encode(loaded.about, row | {"when, it was": np.datetime64("NaT")})
    assert np.isnan(loaded(never)).all()


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_the_error_in_npz_is_within_its_bound(dtype, tmp_path):
    model = mixed_model(width=2, outputs=(Column("y"), Column("z")))
    export(model, tmp_path / "m.npz", dtype=dtype)
    rows, arrays, _ = rows_for(model)
    loaded = Model(tmp_path / "m.npz")
    found = loaded.network(encode(loaded.about, arrays))
    error = np.abs(found - model.predict_outputs(rows).numpy()).max(0)
    bound = np.array(loaded.about["error_bound"])
    assert (error <= bound).all()
    assert (bound < (0.01 if dtype == "float32" else 0.5)).all()
    # Numbers of 16 bits err by more than those of 32.
    assert (error > 1e-5).any() == (dtype == "int16")


def test_tables_that_err_by_more_than_their_bound_are_not_written(tmp_path, monkeypatch):
    def optimistic(tables, dtype):
        stored = as_stored(tables, dtype)
        return type(stored)(**{**vars(stored), "bound": 0 * stored.bound})

    monkeypatch.setattr("kan_exp.exporting.npz.as_stored", optimistic)
    with pytest.raises(KanExpError, match="more than their bound of 0: nothing is written"):
        export(mixed_model(), tmp_path / "m.npz")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("KANLayer", EXACT),
        ("KANFourierLayer", EXACT),
        ("KANRBFLayer", EXACT),
        ("KANRationalLayer", EXACT),
        ("KANWaveletLayer", EXACT),
        ("KANLinearLayer", EXACT),
        ("KANChebyshevLayer", 1e-4),  # whose second derivatives jump at the ends of its range
    ],
)
def test_other_edges_become_splines(kind, most, tmp_path):
    schema = Schema.of_numbers(["a", "b"], ["y"])
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1)).double()
    model = complete(network(kind, [2, 3, 1]), schema, x)
    export(model, tmp_path / "m.npz")
    _, arrays, expected = rows_for(model)
    assert difference(Model(tmp_path / "m.npz")(arrays), expected) < most


@pytest.mark.parametrize(
    "kind", ["KANLayer", "KANFourierLayer", "KANRBFLayer", "KANRationalLayer", "KANWaveletLayer"]
)
def test_lines_beyond_the_range_of_a_training_are_exact(kind, tmp_path):
    made = network(kind, [2, 3, 1])
    made[0].node_operation = ["sum", "product", "sum"]
    made[0].set_mask(torch.tensor([[True, True, False]] * 2))  # a unit without a range
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1)).double()
    model = complete(made, Schema.of_numbers(["a", "b"], ["y"]), x)
    scaled = model.standardize(x)
    model.observe(x, torch.stack([scaled.amin(0), scaled.amax(0)], 1))  # as a training does
    at = 1.5 * torch.randn(300, 2, generator=torch.Generator().manual_seed(2)).double().numpy()
    expected = model.predict(at).double().numpy()
    export(model, tmp_path / "m.npz")
    loaded = Model(tmp_path / "m.npz")
    assert loaded.outside(at).sum() > 20
    assert max(cells.shape[1] for _, _, cells, _ in loaded.layers) < 2000  # not for corners
    assert difference(loaded(at), expected) < EXACT
    if kind == "KANRBFLayer":
        _check_in_onnx_and_c(model, at, expected, tmp_path)


def _check_in_onnx_and_c(model, at, expected, folder):
    if COMPILER is not None:
        run = _compiled(model, folder)
        found, far = np.zeros_like(expected), np.zeros(len(at), dtype=np.int8)
        places = [array.ctypes.data_as(ctypes.c_void_p) for array in (at, found, far)]
        run(places[0], len(at), *places[1:])
        assert difference(found, expected) < EXACT
    runtime = pytest.importorskip("onnxruntime")
    export(model, folder / "m.onnx")
    session = runtime.InferenceSession(folder / "m.onnx")
    (found,) = session.run(["y_predicted"], {"a": at[:, :1], "b": at[:, 1:]})
    assert difference(found, expected) < EXACT


@pytest.mark.parametrize("outside", ["linear", "hold", "zero"])
def test_tables_keep_what_they_do_outside(outside, tmp_path):
    schema = Schema.of_numbers(["a"], ["y"])
    made = network("KANInterpoLayer", [1, 1], num_x=9, outside=outside)
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    model = complete(made, schema, x)
    export(model, tmp_path / "m.npz")
    points = np.linspace(-12, 12, 97)[:, None]
    found = Model(tmp_path / "m.npz")(points)
    for wrong in (points[None], points.T):
        with pytest.raises(ValueError, match=r"takes numbers of \['a'\]: .*cannot reshape"):
            Model(tmp_path / "m.npz")(wrong)
    assert difference(found, model.predict(points).double().numpy()) < EXACT


def test_splines_with_a_base_are_near(tmp_path):
    made = network("KANSplineLayer", [2, 2, 1], num_intervals=8, base="silu")
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1)).double()
    model = complete(made, Schema.of_numbers(["a", "b"], ["y"]), x)
    export(model, tmp_path / "m.npz")
    _, arrays, expected = rows_for(model)
    assert difference(Model(tmp_path / "m.npz")(arrays), expected) < EXACT


@pytest.mark.parametrize(("file", "needed"), [(EVALUATOR, {"json", "numpy"}), (ENCODER, {"numpy"})])
def test_what_travels_is_short_and_needs_numpy_alone(file, needed):
    tree = ast.parse(file.read_text())
    names = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    assert names == needed
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert len(file.read_text().splitlines()) <= 60


def numbers_model():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1)).double()
    return complete(network("KANSplineLayer", [2, 3, 1]), Schema.of_numbers(["a", "b c"], ["y"]), x)


@pytest.mark.parametrize(
    "make",
    [
        dict,
        pl.DataFrame,
        lambda columns: pl.DataFrame(columns).select("b c", "a"),  # by name, not by place
        pd.DataFrame,
        lambda columns: np.column_stack([columns["a"], columns["b c"]]),
        lambda columns: [*zip(columns["a"].tolist(), columns["b c"].tolist(), strict=True)],
    ],
)
def test_numbers_need_one_file_and_come_in_many_forms(make, tmp_path):
    model = numbers_model()
    export(model, tmp_path / "m.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"m.npz", "kan_predict.py"}
    _, columns, expected = rows_for(model, count=600)  # more than are evaluated at a time
    loaded = Model(tmp_path / "m.npz")
    assert difference(loaded(make(columns)), expected) < EXACT
    assert loaded.outside({"a": [0.0, 1e3], "b c": [0.0, 0.0]}).tolist() == [False, True]
    assert loaded({"a": 0.0, "b c": None}).shape == (1, 1)


@pytest.mark.parametrize(
    ("rows", "fragment"),
    [
        ({"a": 1.0}, "KeyError('b c')"),
        ({"a": 1.0, "b c": "red"}, "could not convert string to float"),
        ({"a": [1.0, 2.0], "b c": [1.0]}, "ValueError("),
        ([[1.0, 2.0, 3.0]], "cannot reshape array of size 3 into shape (1,2)"),
        (np.zeros((4, 3)), "cannot reshape"),
        (np.zeros((2, 2, 2)), "cannot reshape"),
        (7, "'int' object is not subscriptable"),
    ],
)
def test_wrong_rows_are_one_line(rows, fragment, tmp_path):
    export(numbers_model(), tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"takes numbers of \['a', 'b c'\]") as caught:
        Model(tmp_path / "m.npz")(rows)
    assert fragment in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_wrong_rows_of_any_kind_are_one_line(tmp_path):
    model = mixed_model()
    export(model, tmp_path / "m.npz")
    loaded = Model(tmp_path / "m.npz")
    _, arrays, _ = rows_for(model, count=3)
    for wrong in ({"city": None}, arrays | {"größe": "very"}, arrays | {"city": ["Rome"]}):
        with pytest.raises(ValueError, match=r"takes the columns double \*/, .*") as caught:
            encode(loaded.about, wrong)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="takes numbers of"):  # as they are
        loaded(arrays)


def test_parts_of_dates_are_those_of_the_schema():
    days = [-700_000, -141_427, -1, 0, 11_016, 18_321, 18_322, 47_541]  # some are leap days
    times = pl.Series([day * DAY + 12_345_678_901 for day in days]).cast(pl.Datetime("us"))
    column = Column("t", "date").fit(times)
    parts = dict(zip(DATE_PARTS, date_parts(times.to_numpy()), strict=True))
    found = np.column_stack([parts[name] for name in column.parts])
    np.testing.assert_allclose(found, column.encode(times))


def _damaged(path, kind):
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "another":
        np.savez(path, x=np.zeros(3))
    elif kind in ("old", "pickled"):
        with np.load(path) as file:
            arrays = dict(file)
        about = arrays.pop("about3")
        old = {"about2": about}
        np.savez(path, **arrays, **(old if kind == "old" else {"about3": np.array([{}])}))
    else:
        with zipfile.ZipFile(path) as archive:
            offset = archive.getinfo("cells0.npy").header_offset + 200
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 255]) + content[offset + 1 :])


@pytest.mark.parametrize("kind", ["cut", "another", "old", "pickled", "a bit"])
def test_a_damaged_npz_is_refused_in_a_line(kind, tmp_path):
    path = tmp_path / "m.npz"
    export(mixed_model(), path)
    _damaged(path, kind)
    with pytest.raises(ValueError, match=r"cannot read .*: export it again") as caught:
        Model(path)
    gc.collect()  # which would warn of a file that is still open
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="No such file"):
        Model(tmp_path / "nothing.npz")


def test_onnx(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    export(model, tmp_path / "m.onnx")
    rows, arrays, expected = rows_for(model)
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    assert [one.name for one in session.get_inputs()] == list(model.schema.columns)
    given = {name: values[:, None] for name, values in arrays.items()}
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, given), strict=True))
    np.testing.assert_array_equal(found["outside_trained_range"][:, 0], far_rows(model, rows))
    if model.classes:
        assert names[1:] == ["y_predicted", "y_probability"]
        assert difference(found["y_probability"], expected) < EXACT
        assert found["y_predicted"][:, 0].tolist() == model.predict_class(rows).tolist()
    else:
        assert names[1:] == [f"{name}_predicted" for name in model.names]
        predicted = np.column_stack([found[name] for name in names[1:]])
        assert difference(predicted, expected) < EXACT
    about = session.get_modelmeta().custom_metadata_map
    assert "straight line" in about["outside"]
    assert json.loads(about["columns"])[2]["levels"] == sorted(["Rome", 'Lima "x"', "Oslo's"])


def test_onnx_gives_nothing_for_what_is_missing(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = mixed_model((Column("y", "class", levels=("a", "b")),), activation="classes")
    export(model, tmp_path / "m.onnx")
    _, arrays, _ = rows_for(model, count=2)
    arrays["double */"] = np.array([np.nan, 1.0])
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    given = {name: values[:, None] for name, values in arrays.items()}
    word, chance = session.run(["y_predicted", "y_probability"], given)
    assert word[0, 0] == ""
    assert word[1, 0] in ("a", "b")
    assert np.isnan(chance[0]).all()
    assert np.isfinite(chance[1]).all()


def test_an_old_onnxruntime_is_named(tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")

    def old(*rest, **options):
        raise RuntimeError("Opset 21 is under development\nsee ...")

    monkeypatch.setattr(runtime, "InferenceSession", old)
    with pytest.raises(
        KanExpError, match=r"onnxruntime .* cannot run .*pip install --upgrade"
    ) as caught:
        export(mixed_model(), tmp_path / "m.onnx")
    assert str(caught.value).isprintable()
    assert not [*tmp_path.iterdir()]


def _compiled(model, folder):
    """The function of a header for many rows."""
    export(model, folder / "m.h")
    run = '#include "m.h"\nvoid run(const m_row *rows, int n, double *y, char *far) {\n'
    run += "for (int i = 0; i < n; ++i) { m_predict(rows + i, y + i * m_OUTPUTS);\n"
    (folder / "run.c").write_text(run + "far[i] = (char)m_outside(rows + i); } }\n")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-O1", "-shared", "-fPIC"]
    command = [COMPILER, *flags, "-o", folder / "m.so", folder / "run.c", "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "m.so")).run


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_c(model, tmp_path):
    run = _compiled(model, tmp_path)
    rows, arrays, expected = rows_for(model)
    kinds = {"category": ctypes.c_char_p, "date": ctypes.c_int64}
    fields = [
        (f"f{k}", kinds.get(column.kind, ctypes.c_double))
        for k, column in enumerate(model.schema.inputs)
    ]
    row_type = type("Row", (ctypes.Structure,), {"_fields_": fields})
    given = (row_type * len(rows))()
    for (field, _), values in zip(fields, arrays.values(), strict=True):
        for row, value in zip(given, values.tolist(), strict=True):
            setattr(row, field, value.encode() if isinstance(value, str) else value)
    found, far = np.zeros_like(expected), np.zeros(len(rows), dtype=np.int8)
    run(
        given, len(rows), found.ctypes.data_as(ctypes.c_void_p), far.ctypes.data_as(ctypes.c_void_p)
    )
    assert difference(found, expected) < EXACT
    np.testing.assert_array_equal(far.astype(bool), far_rows(model, rows))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("size of it", "size_of_it"),
        ("2nd", "c_2nd"),
        ("Double", "c_Double"),
        ("", "c_"),
        ("ü", "c__"),
    ],
)
def test_names_in_c(text, name):
    assert identifier(text) == name
    assert identifier(text, [name]) == f"{name}2"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"outputs": (Column("y", "class", levels=("it's", "b")),), "activation": "classes"},
        {"outputs": (Column("y", scale="log1p"),), "kind": "KANInterpoLayer"},
    ],
    ids=["number", "classes", "log"],
)
@pytest.mark.parametrize("as_text", [False, True])  # as a table that was read from CSV
def test_sql(options, as_text, tmp_path):
    model = mixed_model(dates=False, **options)
    export(model, tmp_path / "m.sql", table="my table")
    rows, arrays, expected = rows_for(model, count=100)
    with sqlite3.connect(":memory:") as base:
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in ["id", *arrays])
        base.execute(f'CREATE TABLE "my table" ({names})')
        words = {None: "", True: "Yes", False: "no"}
        for number, row in enumerate(rows.rows()):
            if as_text:
                row = [words[one] if one in (None, True, False) else str(one) for one in row]
            base.execute(f'INSERT INTO "my table" VALUES (?{", ?" * len(row)})', [number, *row])
        answer = base.execute((tmp_path / "m.sql").read_text())
        found = pl.DataFrame(
            answer.fetchall(), [one[0] for one in answer.description], orient="row"
        )
    assert found["id"].to_list() == list(range(100))
    added = [name for name in found.columns if name.startswith("y_pr")]
    if model.classes:
        assert found[added.pop(0)].to_list() == model.predict_class(rows).tolist()
    assert difference(found.select(added).to_numpy(), expected) < EXACT
    assert found["outside_trained_range"].cast(bool).to_list() == far_rows(model, rows).tolist()


def test_sql_says_what_it_cannot_do(tmp_path):
    with pytest.raises(KanExpError, match="'when, it was' is a date"):
        export(mixed_model(), tmp_path / "m.sql")
    made = network("KANSplineLayer", [10, 40, 1], num_intervals=64)
    x = torch.randn(50, 10, generator=torch.Generator().manual_seed(1)).double()
    schema = Schema.of_numbers([f"x{k}" for k in range(10)], ["y"])
    with pytest.raises(KanExpError, match="more than 20,000: train a smaller one"):
        export(complete(made, schema, x), tmp_path / "m.sql")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("inputs", "target", "table", "added"),
    [
        (["a", "A"], "y", "t", "'a' and 'A' differ in case alone"),
        (["é", "x", "É"], "y", "t", "'é' and 'É' differ in case alone"),
        (["a", "b"], "y", "t\0", "null character"),
        (["a", "Y_Predicted"], "y", "t", ["y_predicted2", "outside_trained_range"]),
        (["Outside_Trained_Range", "b"], "y", "t", ["y_predicted", "outside_trained_range2"]),
    ],
)
def test_sql_tells_names_apart_as_databases_do(tmp_path, inputs, target, table, added):
    schema = Schema.of_numbers(inputs, [target])
    x = torch.randn(50, len(inputs), generator=torch.Generator().manual_seed(1)).double()
    model = complete(network("KANSplineLayer", [len(inputs), 1]), schema, x)
    if isinstance(added, str):
        with pytest.raises(KanExpError, match=added):
            export(model, tmp_path / "m.sql", table=table)
        return
    export(model, tmp_path / "m.sql", table=table)
    names = ", ".join(f'"{name}"' for name in inputs)
    with sqlite3.connect(":memory:") as base:
        base.execute(f"CREATE TABLE t ({names})")
        answer = base.execute((tmp_path / "m.sql").read_text())
        assert [one[0] for one in answer.description] == [*inputs, *added]


def test_torch(tmp_path):
    model = mixed_model(
        outputs=(Column("y", scale="log"),), smearing=(0.1,), kind="KANInterpoLayer"
    )
    lines = export(model, tmp_path / "m.pt2")
    assert any("cannot read texts, dates and gaps" in line for line in lines)
    rows, _, expected = rows_for(model, count=11)
    files = {"kan_exp.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=files)
    found = program.module()(torch.from_numpy(model.schema.encode(rows)))
    assert difference(found.detach().numpy(), expected) < EXACT
    assert json.loads(files["kan_exp.json"])["features"] == list(model.features)


@pytest.mark.parametrize(
    ("name", "options", "fragment"),
    [
        ("m.txt", {}, "does not end in one of .npz, .onnx, .pt2, .h, .sql"),
        ("m.npz", {"format": "onyx"}, "got 'onyx'. Did you mean 'onnx'?"),
        ("m.npz", {"dtype": "int8"}, "dtype must be float32 or int16, got 'int8'"),
        ("m.h", {"dtype": "int16"}, "dtype=int16 is for format=npz"),
        ("no/m.npz", {}, "there is no folder"),
        (".", {"format": "npz"}, "is a folder"),
    ],
)
def test_wrong_arguments_are_one_line(name, options, fragment, tmp_path):
    with pytest.raises(KanExpError) as caught:
        export(mixed_model(), tmp_path / name, **options)
    assert fragment in str(caught.value)
    assert str(caught.value).isprintable()
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "m.h").write_text("before")

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KanExpError, match=r"cannot write .*: No space left on device"):
        export(mixed_model(), tmp_path / "m.h")
    assert [path.name for path in tmp_path.iterdir()] == ["m.h"]
    assert (tmp_path / "m.h").read_text() == "before"


def test_another_file_with_the_evaluators_name_stays(tmp_path):
    (tmp_path / "kan_predict.py").write_text("mine = 1\n")
    with pytest.raises(KanExpError, match="is there and is another file"):
        export(mixed_model(), tmp_path / "m.npz")
    assert (tmp_path / "kan_predict.py").read_text() == "mine = 1\n"
    old = '"""Evaluates a network that kan_exp has exported as npz. It needs NumPy alone.\n"""\n'
    (tmp_path / "kan_predict.py").write_text(old)  # of another version
    export(mixed_model(), tmp_path / "m.npz")
    assert (tmp_path / "kan_predict.py").read_text() == EVALUATOR.read_text()


def test_a_network_with_other_modules_is_refused(tmp_path):
    model = mixed_model()
    model.network.append(torch.nn.Tanh())
    with pytest.raises(KanExpError, match="has a Tanh among its layers"):
        export(model, tmp_path / "m.npz")
