"""A table with text, dates and gaps: the schema of the training rows serves all commands."""

from __future__ import annotations

import csv
import json
import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

import kan_exp
from kan_exp import evaluate as evaluation
from kan_exp.data import TableData
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError
from kan_exp.models.loading import read_checkpoint
from kan_exp.predict import predict
from kan_exp.train import prepare

SHORT = ["layer=linear", "optimizer=adam", "dims=[auto,1]", "steps=60", "logger=none"]
TOWNS = ("Oslo", "Bergen", "Bodø")


def rows(count=300):
    for k in range(count):
        day = date(2023, 1, 1) + timedelta(days=2 * k)
        size = "" if k % 11 == 3 else f"{1000 + 7.5 * (k * 37 % 100):,.2f} m²"
        yield [
            f"id {k}",
            size,
            TOWNS[k // 2 % 3],
            day.isoformat(),
            "yes" if k % 4 else "no",
            3,
            k % 29,
        ]


HEADER = ["name", "size", "town", "day", "garden", "floors", "price"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([HEADER, *rows()])
    data = ["data=table", f"data.path={folder / 't.csv'}", "data.target=price", "data.drop=[name]"]
    more = ["data.missing=impute", "~callbacks.figures", "task=regression"]
    prepare([*SHORT, *data, *more], folder / "run").run()
    return folder / "run"


def write(path, header, *lines):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])


def asked(run, source, output, missing="error"):
    options = {"run": str(run), "input": str(source), "output": str(output), "missing": missing}
    predict(OmegaConf.create({**options, "separator": None, "modules": []}))
    with output.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_schema_is_that_of_the_training_rows(run):
    schema = Schema.restore(read_checkpoint(run)["kan_exp"])
    assert schema.columns == ("size", "town", "day", "garden")
    assert schema.features == (
        *("size", "size=missing", "town=Bergen", "town=Bodø", "town=Oslo", "day.year"),
        *("day.dayofyear_sin", "day.dayofyear_cos", "day.weekday_sin", "day.weekday_cos", "garden"),
    )
    options = {"drop": ["name"], "missing": "impute"}
    points = TableData(run.parent / "t.csv", "price", None, [0.7, 0.15, 0.15], 0, **options).test
    metrics = json.loads((run / "metrics.json").read_text())
    predicted = kan_exp.load(run).predict(points.x)
    rmse = (predicted - points.y).square().mean().sqrt().item()
    assert rmse == pytest.approx(metrics["test_rmse"], rel=1e-5)


def test_predictions_evaluations_and_loaded_models_agree(run, tmp_path, told, monkeypatch):
    # Which looks at the options of the last command, here of the training.
    monkeypatch.setattr(evaluation, "_check_unused", lambda cfg: None)
    header = ["day", "garden", "town", "size", "price"]
    new = [
        ["2024-02-29", "yes", "Oslo", "1.234,5", "1"],
        ["2023-06-01", "no", "Bodø", "", "2"],
        ["2023-06-02", "NO", "Mars", "1.000", "3"],
    ]
    write(tmp_path / "new.csv", header, *new)
    found = [
        float(row["price_predicted"])
        for row in asked(run, tmp_path / "new.csv", tmp_path / "o.csv")
    ]
    (line,) = [line for line in told() if "levels" in line]
    assert "column 'town' has levels in 1 row that are not in the training rows ('Mars')" in line
    model = kan_exp.load(run)
    mapping = {
        "size": [1234.5, math.nan, 1000.0],
        "town": ["Oslo", "Bodø", "Mars"],
        "day": [date(2024, 2, 29), date(2023, 6, 1), date(2023, 6, 2)],
        "garden": [True, False, False],
    }
    frames = [
        mapping,
        pl.DataFrame(mapping),
        pl.DataFrame({**mapping, "garden": [1, 0, 0], "x": 1}),
    ]
    pandas = pytest.importorskip("pandas")
    frames += [pandas.DataFrame(mapping), pandas.DataFrame(mapping).convert_dtypes()]
    frames[-1]["town"] = frames[-1]["town"].astype("category")
    frames[-1]["day"] = pandas.to_datetime(frames[-1]["day"])
    for frame in frames:
        np.testing.assert_allclose(model.predict(frame)[:, 0], found, rtol=1e-5)
    encoded = model.schema.encode(
        pl.DataFrame(
            {
                "size": [1234.5],
                "town": ["Oslo"],
                "day": pl.Series([date(2024, 2, 29)]).cast(pl.Datetime("us")),
                "garden": [1.0],
            }
        )
    )
    np.testing.assert_allclose(model.predict(encoded)[0, 0], found[0], rtol=1e-5)
    data = {
        "_target_": "kan_exp.data.TableData",
        "path": str(tmp_path / "new.csv"),
        "target": "price",
    }
    options = {"features": None, "separator": None, "missing": "error"}
    evaluation.evaluate(
        OmegaConf.create(
            {
                "run": str(run),
                "target": None,
                "data": {**data, **options},
                "modules": [],
                "points": 1,
            }
        )
    )
    rmse = np.sqrt(np.mean((np.array(found) - [1, 2, 3]) ** 2))
    (line,) = [line for line in told() if "RMSE" in line]
    assert f"{rmse:.3g}" in line


@pytest.mark.parametrize(
    ("column", "field", "fragment"),
    [
        ("garden", "perhaps", "text in column 'garden' ('perhaps' in row 2, line 3)"),
        ("garden", "", None),
        ("day", "tomorrow", "text in column 'day' ('tomorrow' in row 2, line 3)"),
        ("size", "big", "text in column 'size' ('big' in row 2, line 3)"),
        ("size", "1e999", "infinite values in column 'size' ('1e999' in row 2, line 3)"),
        ("town", "=cmd|' /C calc'!A0", None),
    ],
)
def test_fields_that_are_not_of_the_columns_kind_are_named(run, tmp_path, column, field, fragment):
    good = {"size": "1000", "town": "Oslo", "day": "2024-02-29", "garden": "yes"}
    write(tmp_path / "new.csv", [*good], [*good.values()], [*{**good, column: field}.values()])
    if fragment is None:
        assert len(asked(run, tmp_path / "new.csv", tmp_path / "o.csv")) == 2
        return
    with pytest.raises(KanExpError) as caught:
        asked(run, tmp_path / "new.csv", tmp_path / "o.csv")
    assert fragment in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]
    with pytest.raises(KanExpError, match=f"in column '{column}', got"):
        kan_exp.load(run)(
            {name: [value, field if name == column else value] for name, value in good.items()}
        )


def test_units_are_compared_and_missing_columns_are_named(run, tmp_path):
    good = {"size": "1000 ft²", "town": "Oslo", "day": "2024-02-29", "garden": "yes"}
    write(tmp_path / "new.csv", [*good], [*good.values()])
    with pytest.raises(
        KanExpError, match="another unit in column 'size' \\('ft²', trained on 'm²'"
    ):
        asked(run, tmp_path / "new.csv", tmp_path / "o.csv")
    with pytest.raises(
        KanExpError, match="takes the columns size, town, day, garden, but x lacks day"
    ):
        kan_exp.load(run)({"size": [1.0], "town": ["Oslo"], "garden": [True]})
    assert kan_exp.load(run)({**{k: [v] for k, v in good.items()}, "size": [1.0]}).shape == (1, 1)


def test_rows_with_gaps_have_no_prediction_if_that_is_wanted(tmp_path, told):
    lines = [[math.sin(k), "uvw"[k % 3], k % 17 + 0.5] for k in range(60)]
    write(tmp_path / "t.csv", ["a", "k", "y"], *lines, ["", "u", 3], [1, "", 2], [1, "u", ""])
    data = ["data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y", "data.missing=drop"]
    prepare([*SHORT, *data, "~callbacks.figures"], tmp_path / "run").run()
    assert "Note: 3 of 63 rows with gaps are left out." in told()
    found = asked(tmp_path / "run", tmp_path / "t.csv", tmp_path / "o.csv", missing="drop")
    assert [row["y_predicted"] == "" for row in found] == [False] * 60 + [True, True, False]
    with pytest.raises(KanExpError, match=r"cells in column 'a' \(row 61.*set missing=drop"):
        asked(tmp_path / "run", tmp_path / "t.csv", tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_a_target_on_a_logarithmic_scale_is_predicted_by_its_mean(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 400)
    noise = rng.normal(scale=0.8, size=400)
    write(tmp_path / "t.csv", ["x", "y"], *zip(x, np.exp(3 + x + noise), strict=True))
    data = ["data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y", "steps=2000"]
    words = [*SHORT, *data, "data.scale={y: log}", "~callbacks.figures", "optimizer.lr=0.05"]
    result = prepare(words, tmp_path / "run").run()
    model = kan_exp.load(tmp_path / "run")
    points = result.data.train
    slope, constant = np.polyfit(points.x[:, 0], points.y[:, 0], 1)
    fitted = constant + slope * points.x[:, 0].numpy()
    smear = np.exp(points.y[:, 0].numpy() - fitted).mean()
    assert 1.2 < smear < 1.6  # exp(0.8^2 / 2) is 1.38
    expected = smear * np.exp(constant + slope * 0.5)
    assert model.predict([[0.5]]).item() == pytest.approx(expected, rel=0.02)
    assert torch.equal(result.predictions, model.predict(result.data.test.x))
    truth = np.exp(result.data.test.y.numpy())
    np.testing.assert_allclose(result.truth, truth)
    rmse = np.sqrt(np.mean((result.predictions.numpy() - truth) ** 2))
    assert result.metrics["test_rmse"] == pytest.approx(rmse, rel=1e-5)
    assert result.metrics["linear_rmse"] == pytest.approx(rmse, rel=0.02)
