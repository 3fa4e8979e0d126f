"""A cross-validation is one run: its result, its files, its resumption."""

from __future__ import annotations

import csv
import json
import logging
import signal
import statistics

import numpy as np
import polars as pl
import pytest
import torch

import kan_exp
from kan_exp.data import TableData
from kan_exp.errors import KanExpError
from kan_exp.preparing import experiment as preparing
from kan_exp.tasks import Regression
from kan_exp.train import prepare
from kan_exp.training.fold_stack import FoldsModule
from kan_exp.training.folds import CrossValidation, FoldResult, fold_metrics, fold_table

TASK = Regression(["rmse", "r2"], "rmse")


@pytest.fixture
def table(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, 2, generator=generator, dtype=torch.float64)
    y = x[:, 0] ** 2 - x[:, 1] + 0.05 * torch.randn(50, generator=generator, dtype=torch.float64)
    path = tmp_path / "t.csv"
    lines = [f"{a!r},{b!r},{c!r}" for (a, b), c in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["a,b,y", *lines]))
    return path


def overrides(table, *more: str) -> list[str]:
    return [
        *("data=table", f"data.path={table}", "data.target=y", "data.folds=3", "dims=[2,1]"),
        *("layer=spline", "layer.num_intervals=4", "optimizer=adam", "steps=30", "logger=none"),
        *("callbacks=default", "callbacks.figures=null", "callbacks.progress=null", *more),
    ]


def read_rows(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_is_predicted_by_the_network_that_has_not_seen_it(table, tmp_path):
    folder = tmp_path / "run"
    result = prepare(overrides(table), folder).run()
    rows = read_rows(folder)
    assert [int(row["row"]) for row in rows] == [*range(1, 51)]
    truth = [float(line.split(",")[2]) for line in table.read_text().splitlines()[1:]]
    assert [float(row["y"]) for row in rows] == pytest.approx(truth, abs=1e-8)
    errors = []
    for fold in range(1, 4):
        own = [row for row in rows if int(row["fold"]) == fold]
        squares = [(float(row["y"]) - float(row["y_predicted"])) ** 2 for row in own]
        errors.append(statistics.fmean(squares) ** 0.5)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [one["test_rmse"] for one in metrics["folds"]["each"]] == pytest.approx(errors)
    assert metrics["test_rmse"] == pytest.approx(statistics.fmean(errors))
    assert metrics["folds"]["std"]["test_rmse"] == pytest.approx(statistics.stdev(errors))
    assert metrics["test_rmse_se"] == pytest.approx(statistics.stdev(errors) / 3**0.5)
    data = TableData(str(table), "y", None, [0.7, 0.15, 0.15], 0, ",", folds=3)
    tested = [{*data.fold(number).parts.test} for number in range(3)]
    assert tested == [{int(r["row"]) - 1 for r in rows if r["fold"] == f} for f in "123"]
    # The run's own network has seen all rows, and is the one that is loaded.
    assert {*data.parts.train, *data.parts.val} == {*range(50)}
    assert torch.equal(kan_exp.load(folder).predict(data.test.x), result.model.predict(data.test.x))
    assert not (folder / "folds").exists()


def test_rows_with_gaps_are_in_no_fold(table, tmp_path):
    lines = table.read_text().splitlines()
    lines[4] = "," + lines[4].partition(",")[2]
    table.write_text("\n".join(lines))
    prepare(overrides(table, "data.missing=drop", "steps=2"), tmp_path / "run").run()
    assert [int(row["row"]) for row in read_rows(tmp_path / "run")] == [1, 2, 3, *range(5, 51)]


def test_repeats_predict_each_row_again(table, tmp_path):
    folder = tmp_path / "run"
    prepare(overrides(table, "data.repeats=2", "steps=3"), folder).run()
    rows = read_rows(folder)
    places = [(int(row["row"]), int(row["repeat"])) for row in rows]
    assert places == [(row, repeat) for row in range(1, 51) for repeat in (1, 2)]
    assert len(json.loads((folder / "metrics.json").read_text())["folds"]["each"]) == 6


def test_folds_that_are_done_are_not_trained_again(table, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "MAX_STACKED", 1)
    prepare(overrides(table), tmp_path / "whole").run()
    folder, trained = tmp_path / "run", []
    whole_run = CrossValidation.run

    def run(self, scoring):
        fit = self.fit

        def counted(folds):
            trained.extend(tuple(data.parts.test.tolist()) for data in folds)
            if len(trained) == 2:  # Ctrl-C in the second fold
                experiment.stop.received = signal.SIGINT
            return fit(folds)

        self.fit = counted
        return whole_run(self, scoring)

    monkeypatch.setattr(CrossValidation, "run", run)
    experiment = prepare(overrides(table), folder)
    with pytest.raises(SystemExit):
        experiment.run()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stopped"] == "interrupted"
    assert len(metrics["folds"]["each"]) == 1
    trained.append(None)  # so that no fold is the second again
    experiment = prepare(overrides(table), folder, resume=True)
    experiment.run()
    assert len({*trained[:2], *trained[3:]}) == 3
    assert len(trained) == 5
    found, expected = (
        json.loads((path / "metrics.json").read_text()) for path in (folder, tmp_path / "whole")
    )
    for metrics in (found, expected):
        del metrics["train_seconds"]
        for one in metrics["folds"]["each"]:
            del one["train_seconds"]
    assert found == expected
    texts = [(path / "predictions.csv").read_text() for path in (folder, tmp_path / "whole")]
    assert texts[0] == texts[1]


def test_weights_of_classes_change_neither_a_fold_nor_its_digest(table):
    lines = table.read_text().splitlines()
    rows = [line.rsplit(",", 1)[0] for line in lines[1:]]
    rows = [f"{row},{'yes' if k % 3 else 'no'}" for k, row in enumerate(rows)]
    table.write_text("\n".join([lines[0], *rows]))
    options = ["task=classification", "task.class_weights=balanced", "steps=2"]
    experiment = prepare(overrides(table, *options), table.parent / "run")
    folds, seen = experiment.folds, []
    assert folds is not None
    folds._known = lambda number, digest: seen.append(digest)  # type: ignore[func-returns-value]
    folds._keep = lambda number, digest, result: seen.append(digest)
    folds.run(experiment.module.task)
    assert seen == 2 * [experiment.data.fold(k).training_fingerprint for k in range(3)]
    given = experiment.data.fold(0)
    next(folds.fit([given]))
    assert given.train.weight is None
    assert given.training_fingerprint == seen[0]


def run_folds(options, folder, monkeypatch, at_once):
    monkeypatch.setattr(preparing, "MAX_STACKED", at_once)
    experiment = prepare(options, folder)
    assert experiment.folds is not None
    return experiment, experiment.folds.run(experiment.module.task)


@pytest.mark.parametrize(
    "options",
    [
        # Folds of other numbers of rows, where the last validation is not the best of all folds.
        ["layer=interpo", "optimizer.lr=0.3"],
        ["layer=chebyshev", "data.weight=b", "dims=[1,1]", "optimizer=adamw"],
        ["layer=chebyshev", "data.split=order", "optimizer=sgd", "penalty.roughness=1"],
        ["layer=spline", "smoothing.method=linear", "dims=[2,3,1]"],
    ],
)
def test_folds_that_are_trained_together_are_those_trained_one_by_one(
    table, tmp_path, monkeypatch, caplog, options
):
    caplog.set_level(logging.INFO)
    given = [text for text in overrides(table) if not text.startswith("layer.")]
    options = [*given, "batch_size=4", "steps=12", *options]
    _, alone = run_folds(options, tmp_path / "alone", monkeypatch, 1)
    assert "together" not in caplog.text
    _, stacked = run_folds(options, tmp_path / "stacked", monkeypatch, 10)
    assert "3 folds are trained together" in caplog.text
    for one, other in zip(alone, stacked, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.truth, other.truth)
        assert torch.allclose(one.predictions, other.predictions, rtol=1e-4, atol=1e-5)
        numbers = [
            {k: v for k, v in fold.metrics.items() if k not in ("train_seconds", "stopped")}
            for fold in (one, other)
        ]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-5)
        assert one.metrics["stopped"] == other.metrics["stopped"] == "steps"


@pytest.mark.parametrize("option", ["batch_size=null", "optimizer=lbfgs", "data.drop=[]"])
def test_folds_of_other_shapes_are_trained_one_by_one(table, tmp_path, monkeypatch, caplog, option):
    caplog.set_level(logging.INFO)
    if option.startswith("data"):  # a level of a column that only one fold's test rows have
        lines = table.read_text().splitlines()
        rows = [f"{'rst'[k % 3] if k > 4 else 'u'},{line}" for k, line in enumerate(lines[1:])]
        table.write_text("\n".join([f"c,{lines[0]}", *rows]))
        option = "dims=[auto,1]"
    more = [option, "steps=3", "data.split=order"]
    _, found = run_folds([*overrides(table), *more], tmp_path / "run", monkeypatch, 10)
    assert len(found) == 3
    assert "together" not in caplog.text


def test_a_fold_that_diverges_leaves_the_others_as_they_are(table, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    options = overrides(table, "batch_size=8", "evaluations=6", "steps=12")
    _, whole = run_folds(options, tmp_path / "whole", monkeypatch, 10)
    validate = FoldsModule.validation_step

    def validation_step(self, split, number):
        if self.global_step == 6:
            next(self.stack.parameters()).data[1] = torch.nan
        validate(self, split, number)

    monkeypatch.setattr(FoldsModule, "validation_step", validation_step)
    _, found = run_folds(options, tmp_path / "run", monkeypatch, 10)
    assert [one.metrics["stopped"] for one in found] == ["steps", "diverged", "steps"]
    assert found[1].metrics["best_step"] <= 4
    assert found[1].predictions.isfinite().all()
    assert caplog.text.count(", diverged") == 1
    for k in (0, 2):
        assert torch.equal(found[k].predictions, whole[k].predictions)


def test_folds_that_were_stopped_together_begin_anew(table, tmp_path, monkeypatch):
    options = overrides(table, "steps=12", "data.repeats=2", "batch_size=8")
    _, whole = run_folds(options, tmp_path / "whole", monkeypatch, 3)
    started = []
    begin = FoldsModule.on_train_start

    def on_train_start(self):
        started.append(self.count)
        if len(started) == 2:  # Ctrl-C in the second repeat
            self.folds[0].stop.received = signal.SIGINT
            self.ask_to_stop()
        begin(self)

    monkeypatch.setattr(FoldsModule, "on_train_start", on_train_start)
    experiment, found = run_folds(options, tmp_path / "run", monkeypatch, 3)
    assert len(found) == 3
    experiment.stop.received = None
    again = experiment.folds.run(experiment.module.task)
    assert started == [3, 3, 3]
    for one, other in zip(again, whole, strict=True):
        assert torch.equal(one.predictions, other.predictions)


def results(*errors: float | None) -> list[FoldResult]:
    empty = torch.empty(0, 1)
    return [
        FoldResult(
            {"test_rmse": e, "linear_rmse": 1.0, "test_r2": 0.5, "linear_r2": 0.4},
            torch.arange(7),
            empty,
            empty,
        )
        for e in errors
    ]


def test_repeats_do_not_lower_the_standard_error():
    once, twice = (fold_metrics(results(*[1.0, 3.0] * n), TASK, 2, n) for n in (1, 2))
    assert once["test_rmse"] == twice["test_rmse"] == 2
    assert once["test_rmse_se"] == pytest.approx(2**0.5 / 2**0.5)
    assert twice["test_rmse_se"] == pytest.approx((4 / 3) ** 0.5 / 2**0.5)


def test_a_fold_without_a_finite_error_has_no_mean():
    found = fold_metrics(results(1.0, None), TASK, 2, 1)
    assert found["test_rmse"] is found["test_rmse_se"] is None
    assert found["test_r2"] == 0.5
    none = fold_metrics([], TASK, 2, 1)
    assert none["test_rmse"] is None


def test_the_table_of_folds():
    lines = fold_table(fold_metrics(results(1.0, 3.0), TASK, 2, 1), TASK)
    assert [line.split() for line in lines] == [
        ["rows", "RMSE", "R²", "linear", "RMSE"],
        ["fold", "1", "7", "1", "0.500", "1"],
        ["fold", "2", "7", "3", "0.500", "1"],
        ["mean", "2", "0.5", "1"],
        ["standard", "deviation", "1.41", "0", "0"],
    ]


@pytest.mark.parametrize("option", ["replicas=2", "trainer=ddp"])
def test_what_does_not_go_with_folds_is_one_line(table, tmp_path, option):
    with pytest.raises(KanExpError, match=r"does not go with data\.folds"):
        prepare(overrides(table, option), tmp_path / "run")


def test_metrics_of_each_output_take_the_weights_of_their_rows(tmp_path):
    draw = np.random.default_rng(0)
    x, w = draw.uniform(-1, 1, 60), np.arange(60) % 3
    columns = {"x": x, "y": x + draw.normal(size=60), "z": x**2 + draw.normal(size=60), "w": w}
    pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
    options = ["data.target=[y,z]", "data.weight=w", "data.folds=3", "dims=[auto,auto]"]
    common = ["data=table", f"data.path={tmp_path / 't.csv'}", "layer=linear", "logger=none"]
    result = prepare([*common, *options], tmp_path / "run").fit()
    for k, name in enumerate("yz"):
        errors = (result.predictions[:, k].numpy() - columns[name]) ** 2
        expected = np.sqrt(np.average(errors, weights=w))
        assert result.metrics["outputs"][name]["RMSE"] == pytest.approx(expected)
