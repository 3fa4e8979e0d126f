"""The result comes first: nothing that is shown or drawn after it can cost it."""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kan_exp.errors import DivergedError, KanExpError
from kan_exp.preparing.stored_config import check_unfinished, how_it_ended, unfinished
from kan_exp.runs import StatusFile, close_status, read_status, write_status
from kan_exp.runs.files import replacing
from kan_exp.runs.records import DONE, read_records
from kan_exp.sweeps.jobs import Job, make_job_group
from kan_exp.sweeps.outcomes import outcomes
from kan_exp.tasks import Scoring
from kan_exp.train import prepare
from kan_exp.training.callbacks import EdgeFigures
from kan_exp.training.experiment import Experiment
from kan_exp.training.tensorboard import RunLogger

SMALL = ["optimizer=adam", "layer=interpo", "layer.num_x=5", "dims=[2,2,1]", "steps=6"]
SMALL += ["points=40", "data.num_val=20", "data.num_test=20", "evaluations=2"]
SMALL += ["log_every_n_steps=3", "batch_size=16", "scheduler=none"]
RESULTS = ("metrics.json", "history.json", "checkpoints/best.ckpt")


def has_result(folder: Path) -> bool:
    return all((folder / name).is_file() for name in RESULTS)


def raises(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


@pytest.fixture
def run(tmp_path, caplog):
    """Runs an experiment; gives its folder and the notes it wrote."""
    caplog.set_level("INFO")

    def go(*options: str) -> tuple[Path, list[str]]:
        prepare([*SMALL, *options], tmp_path).run()
        said = [record.getMessage() for record in caplog.records]
        return tmp_path, [text for text in said if text.startswith("Note: ")]

    return go


@pytest.mark.parametrize("options", [[], ["replicas=2"]], ids=["one", "replicas"])
def test_the_result_is_there_before_anything_is_drawn_or_shown(run, tmp_path, monkeypatch, options):
    done = []

    def look(name):
        def note(*_, **__):
            assert has_result(tmp_path)
            done.append(name)

        return note

    sinks = "kan_exp.training.sinks"
    monkeypatch.setattr(f"{sinks}.save_png", look("figure"))
    monkeypatch.setattr(f"{sinks}.TerminalSink.write", look("table"))
    monkeypatch.setattr(RunLogger, "conclude", look("TensorBoard"))
    monkeypatch.setattr(RunLogger, "figure", look("TensorBoard"))
    monkeypatch.setattr(EdgeFigures, "_log", lambda *_: None)  # during the training
    _, notes = run(*options)
    count = 5 + len(options)  # two layers, the network, loss and prediction
    assert done == ["table", *["figure"] * count, *["TensorBoard"] * (count + 1)]
    assert notes == []


ODD = ValueError("\n$cost_$\n     ^\nParseException: Expected end of text")
FAILURES = {
    "kan_exp.training.sinks.history_figure": "figures/loss.png could not be drawn",
    "kan_exp.plots.prediction.new_figure": "figures/prediction.png could not be drawn",
    "kan_exp.training.sinks.replicas_figure": "figures/replicas.png could not be",
    "kan_exp.training.result.linear_predictions_by": "the linear model could not be fitted",
    "kan_exp.training.sinks.result_rows": "the table of the result could not be shown",
    "kan_exp.training.tensorboard.RunLogger.conclude": "the result could not be written to Tens",
    "kan_exp.training.tensorboard.RunLogger.graph": "TensorBoard's graph could not be drawn",
    "kan_exp.training.tensorboard.RunLogger.describe": "the run could not be described in Tens",
    "kan_exp.plots.edges.LayerFigure.update": "the edges could not be drawn during the training",
}


CASES = [(name, ODD) for name in FAILURES]
CASES += [(next(iter(FAILURES)), one) for one in (OSError(28, "No space left"), MemoryError())]


@pytest.mark.parametrize(("name", "error"), CASES)
def test_what_fails_after_the_result_is_one_note(run, monkeypatch, name, error):
    monkeypatch.setattr(name, raises(error))
    folder, notes = run("replicas=2")
    assert has_result(folder)
    told = [note for note in notes if note.startswith(f"Note: {FAILURES[name]}")]
    assert len(told) == 1, notes
    assert all(note.isprintable() and note.endswith(".") for note in notes)
    layers = {"figures/layer_1.png", "figures/layer_2.png"}
    every = {f"figures/{n}.png" for n in ("network", "loss", "prediction", "replicas")} | layers
    missing = {figure for figure in every if not (folder / figure).is_file()}
    assert missing == {figure for figure in every if any(figure in note for note in notes)}
    assert len(missing) == (2 if "Layer" in name else len(told) if "_figure" in name else 0)
    assert len(notes) == 1 + ("Layer" in name)


def test_a_disk_that_is_full_costs_the_figures_alone(run, monkeypatch):
    @contextmanager
    def full(path):
        with replacing(path) as file:
            yield file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("kan_exp.plots.saving.replacing", full)
    folder, notes = run("logger=none")
    assert has_result(folder)
    names = ("layer_1", "layer_2", "network", "loss", "prediction")
    every = ", ".join(f"figures/{name}.png" for name in names)
    assert notes == [f"Note: {every} could not be drawn: {os.strerror(errno.ENOSPC)}."]
    assert list((folder / "figures").iterdir()) == []  # no half of a figure


def test_ctrl_c_while_drawing_keeps_the_result(run, tmp_path, monkeypatch):
    monkeypatch.setattr("kan_exp.training.sinks.history_figure", raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run()
    assert has_result(tmp_path)


def test_a_diverged_run_has_its_result_before_its_figures(run, tmp_path, monkeypatch):
    monkeypatch.setattr("kan_exp.training.sinks.history_figure", raises(ODD))
    with pytest.raises(DivergedError):
        run("optimizer=sgd", "optimizer.lr=1e9", "steps=60")
    assert has_result(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["stopped"] == "diverged"


def test_errors_that_are_no_numbers_are_a_result_too(run, monkeypatch):
    """Such as predictions beyond the largest float32 on a far row of a table."""

    values = {"rmse": torch.inf, "mae": torch.inf, "r2": -torch.inf, "r": torch.nan}
    values["max_error"] = torch.inf
    train = Experiment.train

    def train_and_patch(experiment):
        diverged = train(experiment)
        monkeypatch.setattr(Scoring, "score", lambda *_, **__: values)
        return diverged

    monkeypatch.setattr(Experiment, "train", train_and_patch)
    folder, notes = run()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [metrics[f"test_{n}"] for n in ("rmse", "mae", "r2", "r", "max_error")] == [None] * 5
    assert notes == []


# What others make of a run that was killed or interrupted while it drew


def leave(folder: Path, stopped: str, state: str, pid: int) -> None:
    """A run's folder, as a process that is gone has left it."""
    folder.mkdir()
    with StatusFile(folder, ["layer=mlp"], "key", 0, str):
        pass
    status = read_status(folder)
    assert status is not None
    write_status(folder, replace(status, state=state, pid=pid, seconds=None))
    metrics = {"stopped": stopped, "test_rmse": 0.5, "train_seconds": 3.0, "choices": {"seed": 0}}
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="session")
def gone() -> int:
    """The number of a process that is no more."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.parametrize("stopped", ["steps", "converged (gradient)", "overfitting", "pruned"])
def test_a_run_that_was_killed_while_it_drew_is_done_for_everybody(tmp_path, gone, stopped):
    job = Job(0, ("layer=mlp",), "key", "layer=mlp", 0)
    stack = make_job_group([job], tmp_path)
    leave(stack.folder, stopped, "running", gone)
    status = read_status(stack.folder)
    assert status is not None
    assert status.state == "done"
    (outcome,) = outcomes(stack)
    assert (outcome.state, outcome.metrics["test_rmse"], outcome.seconds) == ("done", 0.5, 3.0)
    close_status(stack.folder)  # as of a process that is gone
    assert outcomes(stack)[0].state == "done"
    (record,) = read_records([tmp_path]).records
    assert (record.state, record.reason) == (DONE, None)
    assert how_it_ended(stack.folder) == stopped
    assert unfinished(stack.folder, "key") is None
    with pytest.raises(Exception, match="the run is done"):
        check_unfinished(stack.folder)


@pytest.mark.parametrize("stopped", ["interrupted", "diverged"])
def test_a_result_that_does_not_count_does_not_make_a_run_done(tmp_path, gone, stopped):
    leave(tmp_path / "run", stopped, "running", gone)
    assert read_status(tmp_path / "run").state == "running"
    assert read_records([tmp_path]).records[0].state == stopped


def test_a_run_that_still_draws_still_runs(tmp_path):
    leave(tmp_path / "run", "steps", "running", os.getpid())
    assert read_status(tmp_path / "run").state == "running"


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(130), RuntimeError("late"), DivergedError("nan")],
)
@pytest.mark.parametrize(
    ("stopped", "began", "state"),
    [("steps", True, "done"), ("steps", False, "cut"), ("interrupted", True, "cut")],
)
def test_the_status_of_a_run_with_its_result_is_done(tmp_path, error, stopped, began, state):
    def run():
        with StatusFile(tmp_path, [], "key", None, str) as status:
            status.began = began  # else the result is another's
            (tmp_path / "metrics.json").write_text(json.dumps({"stopped": stopped}))
            raise error

    with pytest.raises(type(error)):
        run()
    cuts = {RuntimeError: "failed", DivergedError: "diverged"}
    cut = cuts.get(type(error), "interrupted")
    assert json.loads((tmp_path / "status.json").read_text())["state"] == (
        "done" if state == "done" else cut
    )


def test_a_run_that_a_callback_ends_does_not_say_that_its_steps_are_done(run):
    folder, _ = run(
        "steps=60",
        "evaluations=20",
        "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping",
        "+callbacks.stop.monitor=error/chosen_by",
        "+callbacks.stop.patience=1",
        "+callbacks.stop.min_delta=1000",
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["steps"] < 60
    assert metrics["stopped"] == "ended by a callback"


def test_what_a_callback_of_lightnings_lacks_is_one_line(run):
    with pytest.raises(KanExpError, match="a callback refused: Early stopping conditioned on"):
        run(
            "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping",
            "+callbacks.stop.monitor=nothing",
        )
