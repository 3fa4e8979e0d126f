"""`kan_exp.explain run=FOLDER` and `explain=true`, with searches made by hand."""

from __future__ import annotations

import json
import logging
import os
import signal

import pytest

import kan_exp
from kan_exp.config import RunContext
from kan_exp.errors import KanExpError
from kan_exp.explain import explain
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.translation import run_config
from kan_exp.runs.cores import usable_cores
from kan_exp.symbolic import explaining
from kan_exp.symbolic.explanation import Explanation
from kan_exp.symbolic.expression import Call, exact
from kan_exp.train import prepare
from kan_exp.training.explaining import ExplainSink
from kan_exp.training.tensorboard import RunLogger
from tests.commands.in_process import composed
from tests.conftest import read_metrics, run_command
from tests.symbolic.made import searched, x, y

TABLE = "size,kind,x,price\n" + "".join(
    f"{k % 7},{'ab'[k % 2]},{k * k % 5},{k % 7 + k * k % 5}\n" for k in range(200)
)
SMALL = ["layer=interpo", "refine.num_candidates=[1]", "refine.steps=[2]", "logger=none"]
SMALL += ["~callbacks.figures", "smoothing.method=null", "dims=[auto,1]", "refine.grids=[4]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("trained")
    (cwd / "t.csv").write_text(TABLE)
    data = ["data=table", "data.path=t.csv", "data.target=price"]
    data += ["data.units={size: km**2, x: km**2, kind: 1}"]
    result = run_command("train", *data, *SMALL, "hydra.run.dir=run", cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd


@pytest.fixture
def told(trained, monkeypatch, caplog):
    """Explains the run; gives the lines of the log."""
    monkeypatch.chdir(trained)

    def run(*arguments):
        cfg = composed("explain", "run=run", *arguments)
        with caplog.at_level(logging.INFO):
            explain(cfg)
        return caplog.messages

    return run


def test_a_run_gets_its_formula(told, trained, monkeypatch):
    monkeypatch.setattr(explaining, "search", searched(x, x + y))
    lines = told()
    assert "  formula            price = size + x" in lines
    assert any(line.startswith("  network - data     RMSE ") for line in lines)
    assert any(line.split()[:2] == ["*", "3"] for line in lines)
    assert "Note: the formula has no columns but numbers: without kind." in lines
    run = trained / "run"
    explanation = Explanation.load(run)
    assert (explanation.formula, explanation.target, explanation.found) == (
        "size + x",
        "price",
        True,
    )
    assert explanation.fresh
    assert explanation.data_difference == 0
    metrics = read_metrics(run)
    assert metrics["formulas"] == [
        {"target": "price", "formula": "size + x", "found": True, "rmse": 0, "fresh": True}
    ]
    assert explanation.units == {"size": "km**2", "x": "km**2"}
    network = next(one for one in explanation.differences if one.between == "network - data")
    assert network.rmse == pytest.approx(metrics["test_rmse"], rel=1e-5)
    for name in ("formula.txt", "formula.tex", "figures/formula.png"):
        assert (run / name).stat().st_size > 0
    model = kan_exp.load(run / "formula")
    assert model.predict({"size": [3.0], "x": [4.0]}).tolist() == [[7.0]]
    assert model.features == explanation.names


def test_units_of_the_command_replace_those_of_the_run(told, trained, monkeypatch):
    asked = {}

    def search(at, values, **options):
        asked.update(options)
        return searched(x, x + y)(at, values)

    monkeypatch.setattr(explaining, "search", search)
    told("data.units={price: m}")
    assert asked["dimensions"].target == (1,)
    assert asked["dimensions"].inputs == (None, None)
    assert Explanation.load(trained / "run").units == {"price": "m"}
    with pytest.raises(KanExpError, match=r"^data\.units: there is no column 'weight' among size"):
        told("data.units={weight: kg}")


def test_units_are_checked_before_a_training(trained, monkeypatch):
    monkeypatch.chdir(trained)
    table = [*SMALL, "data=table", "data.path=t.csv", "data.target=price"]
    with pytest.raises(KanExpError, match=r"^data\.units: 'x' has the unit 'meters per'"):
        prepare([*table, "data.units={x: meters per}"], trained / "other")


def test_what_cannot_be_explained_is_refused(told, trained, monkeypatch):
    monkeypatch.setattr(explaining, "search", searched(x))
    with pytest.raises(KanExpError, match="seconds must be a number above 0, got -1"):
        told("seconds=-1")
    with pytest.raises(KanExpError, match="output='cost': the network has the outputs price"):
        told("output=cost")
    with pytest.raises(KanExpError, match="workers must be auto or a number of at least 1, got 0"):
        told("workers=0")
    with pytest.raises(KanExpError, match=r"data\.target: explain takes the run's own data"):
        told("+data.target=x")
    with pytest.raises(KanExpError, match="explain has no such option"):
        told("+second=3")
    (trained / "other.csv").write_text(f"{TABLE}1,a,1,1\n")
    with pytest.raises(KanExpError, match=r"data have changed since.*kan_exp\.explain\("):
        told("data.path=other.csv")


SAMPLED = [*SMALL, "points=200", "data.num_test=100", "explain=true", "explain.seconds=7"]


def test_a_training_ends_with_a_formula(tmp_path, monkeypatch):
    asked = {}

    def interrupted(at, values, **options):
        """Ctrl-C in the midst of a search, which then returns what it has."""
        asked.update(options, y=values)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10**7):
                pass
        except KeyboardInterrupt:
            asked["interrupted"] = True
        wave = Call("exp", Call("sin", exact(1, "pi") * x) + y**2)
        return searched(wave)(at, values)

    drawn = {}
    monkeypatch.setattr(RunLogger, "figure", lambda _, tag, png, step: drawn.update({tag: png}))
    monkeypatch.setattr(explaining, "search", interrupted)
    prepare([*SAMPLED, "logger=tensorboard"], tmp_path).run()
    assert asked["seconds"] == 7
    assert asked["interrupted"]
    explanation = Explanation.load(tmp_path)
    assert explanation.formula == "exp(y**2 + sin(pi*x))"
    assert explanation.data_difference < 1e-15  # sampled values are float32, but known in float64
    assert explanation.differences[0].points == 100
    assert read_metrics(tmp_path)["formulas"] == [explanation.summary()]
    assert drawn["result/formula"] == (tmp_path / "figures" / "formula.png").read_bytes()


def test_a_failing_explanation_is_a_note(tmp_path, monkeypatch, caplog):
    def broken(*_, **__):
        assert (tmp_path / "metrics.json").is_file()  # the run is done whatever happens here
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(explaining, "search", broken)
    with caplog.at_level(logging.INFO):
        prepare(SAMPLED, tmp_path).run()
    assert "Note: no formula: oops." in caplog.messages
    assert json.loads((tmp_path / "metrics.json").read_text())["test_r2"] is not None
    assert not (tmp_path / "formula.json").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("explain.seconds=0", "must be above 0, got 0"),
        ("explain.workers=many", "explain.workers must be auto or a number of at least 1"),
    ],
)
def test_options_of_a_training_are_checked_before_it(tmp_path, option, said):
    with pytest.raises(KanExpError, match=said):
        prepare([*SMALL, option], tmp_path)


@pytest.mark.parametrize(
    ("job", "workers", "count"), [(None, "auto", usable_cores()), (3, "auto", 1), (3, 2, 2)]
)
def test_jobs_of_a_sweep_share_the_cores(tmp_path, job, workers, count):
    config = run_config([*SAMPLED, f"explain.workers={workers}"], str(tmp_path))
    experiment = make_experiment(config, tmp_path, RunContext(job=job))
    (sink,) = (sink for sink in experiment.sinks if isinstance(sink, ExplainSink))
    assert sink.workers == count
