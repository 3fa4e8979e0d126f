"""A streamed table gives the statistics of all its rows, and the same batches again."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch

from kan_exp.data import StreamData, stream
from kan_exp.data import large_table as reading
from kan_exp.data.base import ChunkLoader
from kan_exp.data.large_table import LargeTable
from kan_exp.data.reading import read_table
from kan_exp.data.stream import Moments, StreamLoader
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError
from kan_exp.train import prepare

ROWS = 1000


@pytest.fixture
def frame():
    draw = np.random.default_rng(0)
    x = draw.normal([1e6, 0], [3, 1e-4], (ROWS, 2))
    return pl.DataFrame({"n": np.arange(ROWS), "a": x[:, 0], "b": x[:, 1], "y": x.sum(1)})


@pytest.fixture
def folder(frame, tmp_path, monkeypatch):
    """The table in three files of unequal lengths, read in small blocks."""
    monkeypatch.setattr(reading, "BLOCK", 64)
    parts = tmp_path / "parts"
    (parts / "deep").mkdir(parents=True)
    frame[:100].write_parquet(parts / "a.parquet")
    frame[100:101].select("y", "b", "a", "n").write_parquet(parts / "b.parquet")
    frame[101:].write_parquet(parts / "deep" / "c.parquet")
    return parts


def made(path, memory=1e9, **changes) -> StreamData:
    options = {"target": "y", "features": ["n", "a", "b"], "fractions": [0.8, 0.1, 0.1], "seed": 1}
    return StreamData(str(path), separator=",", memory=memory, **{**options, **changes})


def held(data):
    return {*data.val.x[:, 0].long().tolist()}, {*data.test.x[:, 0].long().tolist()}


def test_statistics_are_those_of_all_training_rows(folder, frame):
    data = made(folder)
    val, test = held(data)
    assert (len(val), len(test)) == (len(data.val.x), len(data.test.x))
    assert abs(len(val) - 100) < 40 > abs(len(test) - 100)
    assert not val & test
    rows = frame.filter(~pl.col("n").is_in(list(val | test))).to_numpy()
    assert data.rows == ROWS == len(rows) + len(val) + len(test)
    scaling = [part.numpy() for part in data.scaling]
    np.testing.assert_allclose(np.r_[scaling[0], scaling[2]], rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(np.r_[scaling[1], scaling[3]], rows.std(0), rtol=1e-9)
    np.testing.assert_array_equal(data.bounds, np.stack([rows.min(0), rows.max(0)], 1)[:3])
    assert torch.equal(data.train.x, torch.from_numpy(rows[:, :3]))
    assert held(made(folder)) == (val, test) != held(made(folder, seed=2))


def test_a_csv_file_a_folder_and_a_pattern_hold_the_same(folder, frame, tmp_path):
    frame.write_csv(tmp_path / "t.csv")
    found = [made(path) for path in (tmp_path / "t.csv", folder, folder / "**" / "*.parquet")]
    for data in found[1:]:
        torch.testing.assert_close(data.scaling.x_std, found[0].scaling.x_std)
    assert len({data.fingerprint for data in found}) == 1


def test_rows_that_fit_into_memory_are_batched_as_those_of_any_table(folder):
    data = made(folder)
    data.plan(16, 10, 4, 1, torch.Generator().manual_seed(3))
    expected = ChunkLoader(
        data.scaling.standardize(data.train), 16, 10, 4, 10, torch.Generator().manual_seed(3)
    )
    for chunk, own in zip(data.train_dataloader(), expected, strict=True):
        torch.testing.assert_close(chunk.x, own.x)
        torch.testing.assert_close(chunk.y, own.y)


def buffered(data: StreamData, steps: int, seed: int = 3, chunk: int = 3) -> StreamLoader:
    """With a buffer of 100 rows."""
    generator = torch.Generator().manual_seed(seed)
    return StreamLoader(data.training_rows, (3, 1), 100, 16, steps, chunk, steps, generator)


def numbers(data, chunks):
    """Which rows each step takes."""
    x = torch.cat([chunk.x for chunk in chunks])
    return (x[..., 0].double() * data.scaling.x_std[0] + data.scaling.x_mean[0]).round().long()


def test_a_buffer_draws_each_row_once_an_epoch(folder):
    data = made(folder)
    count = data.rows - len(data.val.x) - len(data.test.x)
    steps = 3 * count // 16
    found = numbers(data, buffered(data, steps)).flatten().tolist()
    train = sorted(data.train.x[:, 0].long().tolist())
    first, second = found[:count], found[count : 2 * count]
    assert sorted(first) == sorted(second) == train
    assert first != second != train
    early = [place for place, row in enumerate(first) if row < 50]
    assert max(early) > 100  # far from where they are in the file
    assert max(Counter(found[: 2 * count + 16]).values()) == 3


def test_the_same_seed_gives_the_same_batches_whatever_the_chunks(folder, monkeypatch):
    data = made(folder)
    expected = numbers(data, buffered(data, 100))
    assert torch.equal(numbers(data, buffered(data, 100, chunk=7)), expected)
    assert not torch.equal(numbers(data, buffered(data, 100, seed=4)), expected)


@pytest.mark.parametrize("done", [0, 3, 51, 57, 99])
def test_a_restored_loader_goes_on_with_the_same_batches(folder, done):
    data = made(folder)
    expected = numbers(data, buffered(data, 120))
    loader = buffered(data, 120)
    chunks = list(itertools.islice(loader, done // 3 + 1)) if done else []
    assert len(chunks) in (0, done // 3 + 1)  # a chunk ahead, as trainers draw
    position = loader.position(done)
    assert position is not None
    again = buffered(data, 120, seed=9)
    again.restore(position)
    assert torch.equal(numbers(data, again), expected[done:])


def test_a_loader_is_restored_block_by_block(folder, monkeypatch):
    monkeypatch.setattr(stream, "BLOCK", 8)
    data = made(folder)
    expected = numbers(data, buffered(data, 60))
    loader, again = buffered(data, 60), buffered(data, 60)
    list(itertools.islice(loader, 11))
    position = loader.position(30)
    assert position is not None
    counts, take = [], again._take
    monkeypatch.setattr(again, "_take", lambda count: counts.append(count) or take(count))
    again.restore(position)
    assert max(counts) == 8
    assert torch.equal(numbers(data, again), expected[30:])


def test_a_table_larger_than_its_memory_is_buffered(folder, monkeypatch):
    monkeypatch.setattr(stream, "MIN_MEMORY", 1)
    data = made(folder, memory=8000, fractions=[0.9, 0.05, 0.05])
    assert data.buffer_rows == 250
    assert data.summary.endswith("through a buffer of 250 rows")
    data.plan(16, 10, 5, 2, torch.Generator().manual_seed(0))
    assert isinstance(data.train_dataloader(), StreamLoader)
    with pytest.raises(KanExpError, match=r"do not fit into data\.memory=8000"):
        data.plan(None, 10, 5, 2, torch.Generator())


def test_a_sample_stands_for_many_training_rows(folder, monkeypatch):
    monkeypatch.setattr(stream, "SAMPLE", 100)
    data = made(folder)
    assert 50 < len(data.train.x) <= 200
    rows = data.train.x[:, 0]
    assert rows.unique().tolist() == rows.tolist()
    assert abs(float(rows.mean()) - ROWS / 2) < 80


def test_moments_of_blocks_are_those_of_the_whole():
    values = np.random.default_rng(1).normal(1e9, 1, (97, 2))
    moments = Moments(2)
    for part in np.split(values, [1, 1, 50]):
        moments.add(part)
    np.testing.assert_allclose(moments.std, values.std(0), rtol=1e-6)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-15)


@pytest.mark.parametrize(
    ("row", "name", "value", "said"),
    [
        (812, "a", "", "column 'a' has no value in row 813: a streamed table takes finite"),
        (5, "b", "n/a", "column 'b' has 'n/a' in row 6"),
        (999, "y", "inf", "column 'y' has 'inf' in row 1,000"),
    ],
)
def test_a_fault_names_file_column_and_row(folder, frame, tmp_path, row, name, value, said):
    path = tmp_path / "t.csv"
    lines = frame.write_csv().splitlines()
    fields = lines[row + 1].split(",")
    fields[frame.columns.index(name)] = value
    path.write_text("\n".join([*lines[: row + 1], ",".join(fields), *lines[row + 2 :]]))
    with pytest.raises(KanExpError) as error:
        made(path)
    assert str(error.value).startswith(f"{path}: {said}")
    assert "\n" not in str(error.value)


def test_a_gap_in_a_later_file_is_named(folder, frame):
    holes = frame[101:].with_columns(b=pl.when(pl.col("n") == 700).then(None).otherwise("b"))
    holes.write_parquet(folder / "deep" / "c.parquet")
    with pytest.raises(KanExpError, match=r"c\.parquet: column 'b' has no value in row 600:"):
        made(folder)


TEXTS = ["town", "ok", "day", "gap"]


@pytest.fixture
def texts(frame, tmp_path, monkeypatch):
    """A table of columns of all kinds, as a file and as Parquet files, read in small blocks."""
    monkeypatch.setattr(reading, "BLOCK", 64)
    draw = np.random.default_rng(1)
    towns = ["Oslo", "Bergen", "=cmd|'/C calc'!A0", "Bodø, north"]
    table = frame.with_columns(
        town=pl.Series(draw.choice(towns, ROWS)),
        ok=pl.Series(draw.choice(["yes", "no"], ROWS)),
        day=pl.date(2020, 1, 1) + pl.duration(days=pl.Series(draw.integers(0, 900, ROWS))),
        gap=pl.when(pl.col("n") % 9 == 4).then(None).otherwise(pl.col("a") - 1e6),
    )
    table.write_csv(tmp_path / "texts.csv")
    (tmp_path / "texts").mkdir()
    table[:300].write_parquet(tmp_path / "texts" / "a.parquet")
    table[300:].write_parquet(tmp_path / "texts" / "b.parquet")
    return table


@pytest.mark.parametrize("path", ["texts.csv", "texts"])
def test_columns_that_are_no_numbers_are_those_of_a_table_in_memory(texts, tmp_path, path):
    data = made(tmp_path / path, features=["n", *TEXTS], missing="impute")
    treatment = Treatment(missing="impute")
    table = read_table(str(tmp_path / "texts.csv"), ["n", *TEXTS], "y", treatment=treatment)
    held_out = np.concatenate([data.val.x[:, 0], data.test.x[:, 0]])
    rows = table.frame.filter(~pl.col("n").is_in(held_out))
    fitted = table.schema.fit(rows)
    assert [one.kind for one in data.schema.inputs] == [
        "number",
        "category",
        "boolean",
        "date",
        "number",
    ]
    assert data.schema.features == fitted.features
    assert "town==cmd|'/C calc'!A0" in data.features
    encoded = fitted.encode(rows)
    np.testing.assert_array_equal(data.train.x, encoded)
    np.testing.assert_allclose(data.scaling.x_mean, encoded.mean(0), rtol=1e-9, atol=1e-12)
    standardized = data.scaling.standardize(data.train)
    kept = torch.cat(list(data.training_rows()))
    torch.testing.assert_close(kept, torch.cat([standardized.x, standardized.y], 1))


@pytest.mark.parametrize(
    ("name", "value", "missing", "said"),
    [
        (
            "ok",
            "maybe",
            "impute",
            "'maybe' in row 813: a streamed table takes words for yes",
        ),
        ("day", "soon", "impute", "'soon' in row 813: a streamed table takes dates of one format"),
        ("gap", "many", "impute", "'many' in row 813: a streamed table takes finite numbers alone"),
        (
            "town",
            "",
            "error",
            "no value in row 813: a streamed table takes texts alone; set data.missing",
        ),
        (
            "y",
            "",
            "impute",
            "no value in row 813: a streamed table takes finite numbers alone; mend",
        ),
    ],
)
def test_a_field_of_another_kind_is_named(texts, tmp_path, name, value, missing, said):
    path, row = tmp_path / "odd.csv", pl.col("n") == 812
    odd = texts.with_columns(pl.when(row).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))
    odd.write_csv(path)
    features = [one for one in TEXTS if missing == "impute" or one != "gap"]
    with pytest.raises(KanExpError, match=f"^{path}: column '{name}' has {said}") as error:
        made(path, features=features, missing=missing)
    assert "\n" not in str(error.value)


def test_a_stream_of_texts_becomes_a_model_that_reads_them(texts, tmp_path):
    options = ["data=stream", f"data.path={tmp_path / 'texts.csv'}", "data.target=n", "steps=60"]
    options += ["data.features=[town,ok,day]", "dims=[auto,1]", "data.fractions=[0.8,0.1,0.1]"]
    model = prepare([*options, "layer=spline", "logger=none"], tmp_path / "run").fit().model
    rows = {"town": ["Oslo", "elsewhere"], "ok": ["yes", "no"], "day": ["2020-05-01", "2021-05-01"]}
    assert model.predict(pl.DataFrame(rows)).isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "z"}, "has no column 'z', which data.target names; columns: 'n', 'a', 'b'"),
        ({"features": ["a", "c"]}, "has no column 'c', which data.features names"),
        ({"target": None}, "data.target is needed, the column to learn, such as data.target=y"),
        ({"memory": 1000}, "data.memory must be at least 10,000,000 bytes, got 1000"),
        ({"fractions": [0.999, 0.0005, 0.0005]}, "raise their data.fractions"),
        ({"path": "gone.csv"}, "gone.csv: no such file"),
        ({"path": "semicolons.csv"}, "Is it separated by ';'? Set 'data.separator=\";\"'"),
        ({"path": "semicolons.csv", "target": None}, "Is it separated by ';'?"),
        ({"path": "twice.csv"}, "twice.csv: has several columns 'a': rename all but one"),
        ({"path": "empty"}, "empty: has no .parquet file in it"),
        ({"path": "t.txt"}, "t.txt: data=stream reads .csv, .tsv, .parquet"),
        ({"path": "broken.parquet"}, "broken.parquet: cannot be read"),
        ({"path": "*.csv"}, "b.csv: has no column 'a', which a.csv has"),
        ({"missing": "drop"}, "data.missing must be error or impute, got 'drop'"),
        ({"path": "flat.csv"}, "column 'a' has one value throughout in its training rows"),
    ],
    ids=str,
)
def test_what_cannot_be_streamed_is_one_line(folder, frame, tmp_path, monkeypatch, change, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("t.txt", "broken.parquet"):
        (tmp_path / name).write_text("n,a,b,y\n")
    frame.write_csv("a.csv")
    frame.drop("a").write_csv("b.csv")
    (tmp_path / "flat").mkdir()
    (tmp_path / "text").mkdir()
    frame.write_csv("text/semicolons.csv", separator=";")
    (tmp_path / "text" / "twice.csv").write_text("n,a,a,b,y\n1,2,3,4,5\n")
    frame.with_columns(a=pl.lit(2)).write_csv("flat/flat.csv")
    change = {**change}
    path = change.pop("path", folder)
    folders = {"flat.csv": "flat", "semicolons.csv": "text", "twice.csv": "text"}
    path = f"{folders[path]}/{path}" if path in folders else path
    with pytest.raises(KanExpError) as error:
        made(path, **change)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_large_table_knows_its_columns_before_it_is_read(folder):
    table = LargeTable(str(folder), ["y", "b"], None, ",")
    assert table.schema.features == ("n", "a")
    assert table.schema.targets == ("y", "b")


def test_an_index_without_a_name_is_not_learned_from(frame, tmp_path):
    text = frame.with_row_index("").write_csv()
    (tmp_path / "t.csv").write_text(text)
    assert LargeTable(str(tmp_path / "t.csv"), "y", None, ",").schema.features == ("n", "a", "b")


def test_batches_have_the_scaling_of_the_task(folder):
    data = made(folder)
    data.scaling = data.scaling._replace(y_mean=torch.zeros(1), y_std=torch.full((1,), 2.0))
    rows = torch.cat(list(data.training_rows()))
    held_out = data.val.y.sum() + data.test.y.sum()
    whole = sum(torch.from_numpy(block[:, 3]).sum() for block in data.table.blocks())
    torch.testing.assert_close(rows[:, 3].double().sum(), (whole - held_out) / 2, rtol=1e-6, atol=0)
