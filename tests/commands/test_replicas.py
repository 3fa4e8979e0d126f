"""Many seeds in one run, from the command to what it leaves."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import kan_exp
from tests.conftest import read_metrics, run_command, run_folders

OPTIONS = ["layer=interpo", "optimizer=adam", "dims=[2,2,1]", "steps=60", "evaluations=3"]
OPTIONS += ["log_every_n_steps=20", "data.num_train=500", "data.num_test=500"]


@pytest.fixture(scope="module")
def stacked_run(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("stacked")
    result = run_command("train", "seed=7", "replicas=3", *OPTIONS, cwd=cwd)
    assert result.returncode == 0, result.stderr
    (folder,) = run_folders(cwd)
    return result, folder


def test_the_terminal_tells_the_spread_in_one_line(stacked_run):
    result, folder = stacked_run
    assert result.stderr == ""
    found = read_metrics(folder)["replicas"]
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("  replicas"))
    for name in ("median", "best", "worst"):
        assert f"{name} {found[name]:.3g}" in line
    assert "0 of 3 diverged" in line
    assert "3 replicas, seeds 7 to 9" in result.stdout


def test_each_replica_scores_what_the_run_of_its_seed_does(stacked_run, tmp_path):
    _, folder = stacked_run
    found = read_metrics(folder)
    each = {one["seed"]: one for one in found["replicas"]["each"]}
    assert list(each) == [7, 8, 9]
    assert run_command("train", "seed=8", *OPTIONS, cwd=tmp_path).returncode == 0
    alone = read_metrics(run_folders(tmp_path)[0])
    for name in ("test_rmse", "val_rmse", "best_step"):
        assert each[8][name] == pytest.approx(alone[name], rel=1e-3), name
    errors = sorted(one["test_rmse"] for one in each.values())
    spread = [found["replicas"][name] for name in ("best", "median", "worst")]
    assert spread == pytest.approx(errors)
    kept = min(each.values(), key=lambda one: one["val_rmse"])
    assert found["replicas"]["kept_seed"] == kept["seed"]
    assert found["test_rmse"] == pytest.approx(kept["test_rmse"], rel=1e-6)


def test_the_best_and_every_other_come_back(stacked_run):
    _, folder = stacked_run
    found = read_metrics(folder)["replicas"]
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    best = kan_exp.load(folder, replica=found["kept_seed"] - 7)
    assert torch.equal(kan_exp.load(folder).predict(x), best.predict(x))
    predicted = [kan_exp.load(folder, replica=k).predict(x) for k in range(3)]
    assert not torch.allclose(predicted[0], predicted[1])
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["replicas"]["seeds"] == [7, 8, 9]
    assert last["replicas"]["best"]["0.values"].shape == (3, 2, 65, 2)
    assert last["global_step"] == 60


def test_the_dashboard_shows_the_band_and_the_figure(stacked_run):
    _, folder = stacked_run
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    assert "result/replicas" in tags["images"]
    assert (folder / "figures" / "replicas.png").is_file()
    for name in ("loss/train", "loss/val", "error/train_rmse", "error/val_rmse"):
        band = [
            [scalar.value for scalar in events.Scalars(f"{name}/{part}")]
            for part in ("best", "lower_quartile", "median", "upper_quartile", "worst")
        ]
        assert all(list(values) == sorted(values) for values in zip(*band, strict=True))
        assert [scalar.step for scalar in events.Scalars(f"{name}/median")] == [20, 40, 60]
