"""The training command, run as a user would run it."""

import json
import re
import signal

import pytest
import torch

import kan_exp
from tests.conftest import (
    PATIENCE,
    read_metrics,
    run_command,
    run_folders,
    start_command,
    wait_until,
)

SHORT = ["steps=60", "evaluations=3", "log_every_n_steps=20", "data.num_train=500"]
PLAIN = [*SHORT, "~callbacks.figures"]


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """A run of a few steps: its process and its folder."""
    cwd = tmp_path_factory.mktemp("short")
    result = run_command("train", "optimizer=adam", "dims=[2,1,1]", *SHORT, cwd=cwd)
    assert result.returncode == 0, result.stderr
    (folder,) = run_folders(cwd)
    return result, folder


def test_a_run_leaves_one_folder_with_everything(short_run):
    _, folder = short_run
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", folder.parent.name)
    assert re.match(r"(\d\d-){3}\d{6}_optimizer-adam_dims-2-1-1_steps-60_", folder.name)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    events = {name for name in names if "tfevents" in name}
    assert len(events) == 1
    assert names - events == {
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "figures/layer_1.png",
        "figures/layer_2.png",
        "figures/loss.png",
        "figures/network.png",
        "figures/network.svg",
        "figures/prediction.png",
        "history.json",
        "metrics.json",
        "status.json",
        "train.log",
    }


def test_the_metrics_have_what_was_promised(short_run):
    _, folder = short_run
    metrics = read_metrics(folder)
    for name in ("rmse", "mae", "r2", "r"):
        assert isinstance(metrics[f"test_{name}"], float), name
    for name in ("train_seconds", "linear_r2", "val_rmse"):
        assert isinstance(metrics[name], float), name
    assert metrics["steps"] == 60
    assert metrics["stopped"] == "steps"
    assert metrics["parameters"] == 3 * (8 * 3 + 8 + 8 + 1)
    assert set(metrics["edge_r2"]) == {"x → h1", "y → h1", "h1 → f"}


def test_the_terminal_shows_a_short_table_and_nothing_else(short_run):
    result, folder = short_run
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) <= 15  # what, on which data, by which training, and twelve rows
    for text in ("mlp [2,1,1], 123 parameters", "10,000 test points", "test RMSE", "linear model"):
        assert text in result.stdout
    shown = folder.relative_to(folder.parents[2])
    assert f"python -m kan_exp.dashboard {shown}" in result.stdout
    assert str(shown / "figures") in result.stdout
    message = (folder / "train.log").read_text()
    assert all(line.strip() in message for line in lines if line.strip())


def test_a_loaded_network_scores_what_the_run_said(short_run):
    _, folder = short_run
    model = kan_exp.load(folder)
    assert isinstance(model.network, torch.nn.Sequential)
    assert not model.training
    x = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.no_grad():
        error = model(x)[:, 0] - torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)
    metrics = read_metrics(folder)
    assert error.square().mean().sqrt().item() == pytest.approx(metrics["test_rmse"], rel=0.1)


def test_checkpoints_hold_nothing_that_runs_code(short_run):
    _, folder = short_run
    for path in (folder / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["kan_exp"]["dims"] == [2, 1, 1]


def test_the_same_seed_gives_the_same_bits(tmp_path):
    options = ["layer=interpo", "optimizer=adam", "logger=none", *PLAIN]
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        arguments = [*options, f"seed={seed}", f"hydra.run.dir={name}"]
        done = run_command("train", *arguments, cwd=tmp_path, fresh=name == "second")
        assert done.returncode == 0, done.stderr
    first, second, other = (read_metrics(tmp_path / name) for name in ("first", "second", "other"))
    for metrics in (first, second, other):
        del metrics["train_seconds"]
    assert first == second
    assert first["test_rmse"] != other["test_rmse"]


@pytest.mark.parametrize(
    ("optimizers", "schedulers", "runs"),
    [
        # The one schedule that also changes momentum, which each optimizer keeps in its own way.
        ("adam,adamw,sgd,lbfgs", "onecycle", 4),
        ("lbfgs", "cosine,none,exponential,step", 4),
    ],
)
def test_every_choice_of_optimizer_and_scheduler_runs(
    command, tmp_path, optimizers, schedulers, runs
):
    every = [f"optimizer={optimizers}", f"scheduler={schedulers}", "logger=csv"]
    small = [
        "~callbacks.figures",
        "steps=4",
        "log_every_n_steps=2",
        "evaluations=2",
        "dims=[2,1]",
        "trainer=auto",
    ]
    small += ["data.num_train=50", "data.num_val=50", "data.num_test=50", "layer=interpo"]
    result = command("train", "-m", *every, *small)
    assert result.returncode == 0, result.stderr
    folders = run_folders(tmp_path)
    assert len(folders) == runs
    for folder in folders:
        assert read_metrics(folder)["steps"] == 4
        header, *rows = (folder / "metrics.csv").read_text().splitlines()
        assert {"step", "loss/train", "lr", "error/val_rmse"} <= set(header.split(","))
        assert rows


def test_a_formula_needs_no_second_pair_of_quotes(command, tmp_path):
    chosen = ["target=formula", "target.formula=sin(3*a)*b", "optimizer=adam", "logger=none"]
    result = command("train", *chosen, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert "sin(3*a)*b" in result.stdout
    (folder,) = run_folders(tmp_path)
    assert kan_exp.load(folder).features == ("a", "b")
    # PLAIN is without the callback that draws.
    assert not (folder / "figures").exists()
    assert "figures" not in result.stdout.replace("~callbacks.figures", "")


def test_noise_and_penalties_are_taken(command, tmp_path):
    weights = [f"penalty.{name}=0.01" for name in ("roughness", "smooth", "l1_edges", "l1_outputs")]
    chosen = ["layer=interpo", "optimizer=adam", "target.noise=0.5", "logger=csv"]
    result = command("train", *chosen, *weights, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert "noise 0.5" in result.stdout
    assert "did not find" not in result.stdout
    header = (run_folders(tmp_path)[0] / "metrics.csv").read_text().splitlines()[0]
    assert {f"penalty/{name.split('=')[0].split('.')[1]}" for name in weights} <= set(
        header.split(",")
    )


def test_a_run_that_misses_says_so(short_run):
    result, folder = short_run
    assert read_metrics(folder)["test_r2"] < 0.999, "the short run should not find the function"
    assert "did not find the function" in result.stdout


def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_the_last_good_network(command, tmp_path):
    result = command("train", "optimizer=sgd", "optimizer.lr=1e4", "seed=0", *SHORT)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert re.search(r"became NaN or infinite at step \d+: lower optimizer.lr", line)
    (folder,) = run_folders(tmp_path)
    metrics = read_metrics(folder)
    assert metrics["stopped"] == "diverged"
    assert metrics["steps"] < 60
    assert torch.isfinite(kan_exp.load(folder)(torch.zeros(1, 2))).all()
    assert (folder / "figures" / "layer_1.png").stat().st_size > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_kill_keep_what_there_is(tmp_path, number, code):
    arguments = ["optimizer=adam", "steps=10000000", "evaluations=100000", "checkpoint_seconds=0"]
    with start_command("train", *arguments, cwd=tmp_path) as process:
        try:
            best = (tmp_path / "outputs").glob
            wait_until(lambda: next(best("*/*/checkpoints/best.ckpt"), None), process)
            process.send_signal(number)
            message, complaint = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == code, complaint
    (folder,) = run_folders(tmp_path)
    assert read_metrics(folder)["stopped"] == "interrupted"
    assert "interrupted" in message
    assert "Traceback" not in complaint
    assert len(list((folder / "figures").iterdir())) == 6
    assert kan_exp.load(folder)(torch.zeros(1, 2)).shape == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "rmse"),
    [([], 0.001), (["dims=[2,1,1]"], 0.001), (["layer=interpo", "dims=[2,5,1]"], 0.003)],
    ids=["mlp 2,5,1", "mlp 2,1,1", "interpo 2,5,1"],
)
def test_the_defaults_find_the_function(command, tmp_path, arguments, rmse):
    result = command("train", *arguments, "logger=none", "~callbacks.figures")
    assert result.returncode == 0, result.stderr
    metrics = read_metrics(run_folders(tmp_path)[0])
    assert metrics["test_rmse"] <= rmse
    if "dims=[2,1,1]" in arguments:
        assert min(metrics["edge_r2"].values()) >= 0.999


def test_diabetes_is_read_without_a_download(command, tmp_path):
    result = command(
        "train", "experiment=diabetes", "steps=100", "logger=none", "~callbacks.figures"
    )
    assert result.returncode == 0, result.stderr
    assert "442 rows, 10 features" in result.stdout
    metrics = read_metrics(run_folders(tmp_path)[0])
    assert metrics["linear_r2"] == pytest.approx(0.625, abs=0.001)
    assert json.dumps(metrics["edge_r2"]) == "{}"


def test_an_option_may_refer_to_another(tmp_path):
    options = ["optimizer=adam", *PLAIN, "data.num_val=${.num_test}", "data.num_test=70"]
    result = run_command("train", *options, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "70 validation, 70 test points" in result.stdout
    (folder,) = run_folders(tmp_path)
    assert json.loads((folder / "status.json").read_text())["overrides"] == options
