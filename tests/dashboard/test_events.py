"""What a run leaves for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import io

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from kan_exp.board import summaries
from kan_exp.board.events import EventFile, record
from kan_exp.board.summaries import Trial
from kan_exp.train import prepare
from tests.conftest import read_metrics
from tests.dashboard.conftest import SHORT, STEPS

SCALARS = {"loss/train", "loss/val", "lr", "error/train_rmse", "error/val_rmse", "error/val_r2"}
EDGES = ("edges/layer_1", "edges/layer_2")
RESULTS = ("result/loss", "result/network", "result/prediction")


def read(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("2026-01-02") / "03-04-05-678"
    folder.mkdir()
    prepare([*SHORT, "callbacks.figures.moments=1"], folder).run()
    return folder


@pytest.fixture(scope="module")
def events(run) -> EventAccumulator:
    return read(run)


def test_curves_run_over_optimizer_steps(events):
    assert set(events.Tags()["scalars"]) >= SCALARS
    for tag in SCALARS:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps))
        assert len(steps) == 4
        assert steps[-1] == STEPS


def test_edges_can_be_replayed(events):
    assert set(events.Tags()["images"]) == {*EDGES, *RESULTS}
    for tag in EDGES:
        images = events.Images(tag)
        assert [image.step for image in images] == [0, STEPS // 2, STEPS]
        assert len({image.encoded_image_string for image in images}) == 3


def test_least_squares_can_be_replayed_with_few_figures(tmp_path):
    prepare(["layer=spline", "dims=[2,1,1]", "points=200"], tmp_path).run()
    events = read(tmp_path)
    for tag in EDGES:
        steps = [image.step for image in events.Images(tag)]
        assert steps[0] == 0
        assert steps[-1] == read_metrics(tmp_path)["steps"]
        assert 3 <= len(steps) <= 4


def test_choices_and_results_stand_in_the_runs_folder(events, run):
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = parse_session_start_info_plugin_data(content)
    metrics = read_metrics(run)
    assert session.group_name.startswith("optimizer=adam, steps=200, ")
    assert session.group_name.endswith("/03-04-05-678)")
    chosen = {name: value for name, value in metrics["choices"].items() if value is not None}
    assert set(session.hparams) == set(chosen)
    assert session.hparams["steps"].number_value == STEPS
    assert session.hparams["dims"].string_value == "[2, 5, 1]"
    assert session.hparams["optimizer.fused"].string_value == "true"
    end = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert HParamsPluginData.FromString(end).session_end_info.status == 1  # success
    for name in ("test_rmse", "val_rmse", "parameters"):
        (shown,) = events.Scalars(f"result/{name}")
        assert (shown.step, shown.value) == (STEPS, pytest.approx(metrics[name]))


def test_names_tell_repeated_runs_apart(tmp_path):
    folders = [tmp_path / day / time for day in ("1", "2") for time in ("a", "b")]
    runs = [Trial(["seed=1"], folder, None, {}).name for folder in folders]
    jobs = [Trial(["seed=1"], folder / "0_x", 0, {}).name for folder in folders]
    assert len({*runs, *jobs}) == 8
    assert all(name.startswith("seed=1 (") for name in [*runs, *jobs])


def test_a_seed_of_a_stack_is_called_as_a_run_of_its_own(tmp_path):
    asked = ["layer=mlp", "seed=3", "replicas=4"]
    stack = Trial(asked, tmp_path, 5, {"layer": "mlp", "seed": 3, "replicas": 4})
    alone = Trial(["layer=mlp", "seed=4"], tmp_path, 5, {"layer": "mlp", "seed": 4})
    assert stack.of_seed(4) == alone


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 9])
def test_records_are_those_of_tensorboard(data):
    file = io.BytesIO()
    RecordWriter(file).write(data)
    assert record(data) == file.getvalue()


def test_events_can_be_read_while_the_file_is_open(tmp_path):
    file = EventFile(tmp_path / "run", flush_secs=1e9)
    file.add_event(Event(step=3, summary=summaries.scalars({"loss": 0.5})))
    assert not read(tmp_path / "run").Tags()["scalars"]
    file.flush()
    (event,) = read(tmp_path / "run").Scalars("loss")
    assert (event.step, event.value) == (3, 0.5)
    file.close()


def test_events_are_flushed_once_their_time_has_come(tmp_path):
    file = EventFile(tmp_path, flush_secs=0)
    file.add_event(Event(step=3, summary=summaries.scalars({"loss": 0.5})))
    assert len(read(tmp_path).Scalars("loss")) == 1
    file.close()


def test_files_of_one_process_are_read_in_the_order_they_were_opened(tmp_path):
    """A run that goes on at once writes a second file, of the same second as the first."""
    steps = list(range(12))  # any twelve counts include two of different lengths, unless padded
    for step in steps:
        file = EventFile(tmp_path, flush_secs=0)
        file.add_event(Event(step=step, summary=summaries.scalars({"loss": 0.5})))
        file.close()
    assert [event.step for event in read(tmp_path).Scalars("loss")] == steps
