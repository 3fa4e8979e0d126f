"""Wrong input: one line that says what to change, no traceback, nothing left behind."""

import subprocess

import pytest

from tests.conftest import COMMANDS, finish, start

LIGHT = [
    (["layer=interp"], ["layer=interp:", "Did you mean 'interpo'?", "mlp"]),
    (["dims=[3,1]"], ["target 'exp_sin_square' has 2 inputs", "set dims=[2,1]"]),
    (["dims=[2]"], ["dims=[2]:", "set dims=[auto,5,auto]"]),
    (["dims=[2,0,1]"], ["dims=[2,0,1]:", "at least 1"]),
    (["dims=[2,5,2]"], ["set dims=[2,5,1]"]),
    (["dims=[2,1"], ["dims=[2,1", "bracket"]),
    (["dim=[2,1]"], ["dim:", "Did you mean 'dims'?"]),
    (["seed=abc"], ["seed:", "abc"]),
    (["seed=-1"], ["seed must be at least 0 and at most"]),
    (["steps=0"], ["steps must be at least 1, got 0"]),
    (["layer.foo=1"], ["layer.foo:", "fcn_hidden"]),
    (["+layer.foo=1"], ["+layer.foo:", "no such option"]),
    (["+trainer.max_steps=9"], ["trainer.max_steps", "set steps=..."]),
    (["replicas=0"], ["replicas must be at least 1, got 0"]),
    (
        ["replicas=9", "layer=spline"],
        ["optimizer=lm", "num_candidates", "set optimizer=adam"],
    ),
    (["replicas=9", "optimizer=lbfgs"], ["LBFGS", "set optimizer=adam, adamw or sgd"]),
    (["trainer=ddp", "optimizer=adam", "callbacks=pruning"], ["pruned", "pruner=none"]),
    (["trainer.devices=2"], ["trainer.devices=2:", "set trainer=ddp or trainer.devices=1"]),
    (["trainer.precision=16-mixed"], ["trainer.precision must be 32-true", "16-mixed"]),
    (["penalty.rough=1"], ["penalty.rough:", "Did you mean 'roughness'?"]),
    (["optimizer=adan"], ["optimizer=adan:", "Did you mean 'adam'?"]),
    (["experiment=diabets"], ["experiment=diabets:", "Did you mean 'diabetes'?"]),
    (["data=table"], ["data.path is needed", "data.path=..."]),
    (["data=table", "data.path=a.csv", "data.target=y", "target=product"], ["no effect"]),
    (["target=formula"], ["target.formula is needed"]),
    (["target=formula", "target.formula=x^2"], ["x^2", "**"]),
    (["target=formula", "target.formula=__import__('os').system('x')"], ["target.formula"]),
    (["target.domain=[1,1]"], ["target.domain", "[1, 1]"]),
    (["sweep.resume=outputs"], ["sweep.resume=outputs", "no sweep is known there"]),
    (["sweep.resume=nowhere", "-m"], ["sweep.resume=nowhere", "no sweep", "sweep.json"]),
    (["sweep.most_stacked=0", "-m"], ["sweep.most_stacked must be a whole number", "got 0"]),
    (["hydra.launcher.workers=0", "-m"], ["hydra.launcher.workers must be a whole", "got 0"]),
    (["hydra.launcher.workers=x", "-m"], ["hydra.launcher.workers must be a whole", "got 'x'"]),
    (["sweep.metric=tset_rmse", "-m"], ["no such metric", "Did you mean 'test_rmse'?"]),
    (
        ["hydra.sweep.dir=a b"],
        ["'hydra.sweep.dir=", "has no effect", "'hydra.run.dir=", "or add -m"],
    ),
    (["hydra.run.dir=x", "-m", "seed=1,2"], ["no effect on a sweep: write hydra.sweep.dir=x."]),
    (["hydra.searchpath=[nowhere]"], ["hydra.searchpath nowhere: there is no such folder"]),
    (["hydra.searchpath=[file://no where]"], ["hydra.searchpath 'no where': there is no such"]),
    (["target._target_=nowhere.Target"], ["target._target_=nowhere.Target: cannot import it:"]),
    (["steps=9", "-m", "layer=mlp,interp"], ["layer=interp:", "Did you mean 'interpo'?"]),
]

# What is told without torch, of layers, penalties, numbers and tables.
LIGHT += [
    (["layer=interpo", "layer.num_x=1"], ["num_x", "at least 2, got 1"]),
    (["layer=interpo", "layer.x_min=3"], ["x_min < x_max", "3"]),
    (["layer.activation=sulu"], ["activation", "silu", "'sulu'"]),
    (["layers=[mlp]"], ["layers names 1 kinds", "2 layers"]),
    (["layers=[mlp,splin]"], ["layer=splin:", "Did you mean 'spline'?"]),
    (["layers=[mlp,{mlp:{fcn_hiden:8}}]"], ["layer.fcn_hiden:", "Did you mean 'fcn_hidden'?"]),
    (["layers=[mlp,{spline:{degree:9}}]"], ["degree", "1 to 5, got 9"]),
    (["layers=[mlp,{spline:8}]"], ["layers:", "layers=[spline,mlp]"]),
    (["layers=[mlp,spline]", "layer=interpo"], ["layer=interpo has no effect", "layers=null"]),
    (["points=100000"], ["100,000 points are many for least squares", "set optimizer=adam, or"]),
    (["points=1"], ["points must be a whole number of at least 2, got 1"]),
    (["data.num_test=0"], ["data.num_test must be a whole number of at least 2, got 0"]),
    (["data.seed=-1"], ["data.seed must be a whole number of at least 0, got -1"]),
    (["optimizer=adam", "batch_size=0"], ["batch_size must be at least 1"]),
    (["optimizer=adam", "steps=null"], ["steps is needed"]),
    (["refine.num_candidates=[1,2]"], ["refine.num_candidates must not rise"]),
    (["refine.grids=[4,6]", "layer=spline"], ["refine.grids", "multiple"]),
    (["refine.follow_every=0"], ["refine.follow_every must be at least 1, got 0"]),
    (["refine.max_rise=0.5"], ["refine.max_rise must be at least 1, got 0.5"]),
    (["refine.init_noise_std=nan"], ["refine.init_noise_std must be at least 0, got nan"]),
    (["refine.penalty_decay=-1"], ["refine.penalty_decay must be at least 0, got -1"]),
    (
        ["points=9999999999999999999"],
        ["points must be", "at least 2 and below 2**60"],
    ),
    (["dims=[2,2147483648,1]"], ["every width must be below 2,147,483,648"]),
    (
        ["layer=interpo", "optimizer=lm", "layer.num_x=1000001"],
        ["intervals", "parameters", "GB of memory", "optimizer=adam"],
    ),
    (["layers=[spline,{interpo:{num_x:8}}]"], ["7 and 64 intervals", "refine.grids"]),
    (["penalty.smooth=1"], ["penalty.smooth", "penalty.roughness"]),
    (["penalty.l1_edges=1", "layer=spline"], ["penalty.l1_edges does not go with optimizer=lm"]),
    (["penalty.roughness=-1"], ["penalty.roughness must be at least 0, got -1"]),
    (["data=table", "data.path=nope.csv", "data.target=y"], ["nope.csv", "data.path"]),
    (["data=sklearn", "data.name=iri"], ["data.name", "Did you mean 'iris'?"]),
    (["data=sklearn", "data.name=iris", "dims=[2,5,3]"], ["4 inputs", "set dims=[4,5,3]"]),
]
# What torch alone can tell, and Lightning.
WITH_TORCH = [
    (
        ["optimizer=adam", "optimizer.lr=-1"],
        ["optimizer: Invalid learning rate: -1", "optimizer.lr"],
    ),
    (["optimizer=adam", "+optimizer.foo=1"], ["optimizer:", "foo"]),
    (["optimizer.damping=0"], ["optimizer:", "damping above 0", "optimizer.damping"]),
    (["optimizer=adam", "scheduler=step", "scheduler.step_size=0"], ["scheduler:"]),
]
HEAVY = [
    (["data._target_=kan_exp.data.Nothing"], ["data._target_=kan_exp.data.Nothing: cannot import"]),
    (
        ["optimizer=adam", "replicas=9999999"],
        ["replicas=9999999 needs about", "GB are free: set replicas="],
    ),
    (["+trainer.foo=1"], ["trainer.foo:", "no such option"]),
]
RECTANGLES = "a,b,c,y\n" + "".join(f"{i},{i * i},1{i},{i % 7}\n" for i in range(40))
TABLES = [
    (["data.target=y", "dims=[2,5,1]"], ["3 inputs", "set dims=[3,5,7]"]),
    ([], ["data.target is needed", "data.target=y", "'a', 'b', 'c', 'y'"]),
    (["data.target=z"], ["no column 'z'", "'a', 'b', 'c', 'y'"]),
    (["data.target=[a,d]"], ["no column 'd', which data.target names"]),
    (["data.target=y", "data.features=a"], ["must be a list", "'data.features=[a]'"]),
    (["data.target=y", "data.features=5"], ["must be a list", "data.features="]),
    (["data.target=y", "data.features=[1,2]"], ["no columns '1', '2'", "data.features"]),
    (["data.target=y", "data.features=[y]"], ["'y' is data.target and among"]),
    (["data.target=y", "data.fractions=[1]"], ["data.fractions must be three"]),
    (["data.target=y", "data.fractions=[0.01,0.01,0.98]"], ["has 40 rows", "at least 1000"]),
    (["data.target=y", "data.separator=x"], ["data.separator must be one of ','"]),
    (["data.target=y", "data.missing=mean"], ["data.missing must be error or impute or drop"]),
    (["data.target=y", "data.seed=x"], ["data.seed must be a whole number"]),
]


@pytest.mark.parametrize(("arguments", "fragments"), LIGHT, ids=lambda part: " ".join(part))
def test_a_mistake_is_reported_in_one_line_before_torch_is_imported(
    light, tmp_path, arguments, fragments
):
    result = light("train", *arguments)
    _is_one_line(result, fragments)
    assert result.stdout.endswith("imported:\n"), "a mistyped option must answer at once"
    assert not list(tmp_path.rglob("metrics.json"))
    assert "-m" in arguments or not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "fragments"), TABLES, ids=lambda part: " ".join(part))
def test_a_mistake_with_a_table_is_reported_before_torch_is_imported(
    light, tmp_path, arguments, fragments
):
    (tmp_path / "my.csv").write_text(RECTANGLES)
    result = light("train", "data=table", "data.path=my.csv", *arguments)
    _is_one_line(result, fragments)
    assert result.stdout.endswith("imported:\n")
    assert [path.name for path in tmp_path.iterdir()] == ["my.csv"]


@pytest.mark.parametrize(("arguments", "fragments"), WITH_TORCH, ids=lambda part: " ".join(part))
def test_a_bad_optimizer_is_reported_before_lightning_is_imported(
    light, tmp_path, arguments, fragments
):
    result = light("train", *arguments, with_torch=True)
    _is_one_line(result, fragments)
    assert result.stdout.endswith("imported: torch\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "fragments"), HEAVY, ids=lambda part: " ".join(part))
def test_a_bad_value_is_reported_in_one_line_and_leaves_nothing(
    command, tmp_path, arguments, fragments
):
    result = command("train", *arguments)
    _is_one_line(result, fragments)
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_reported(command, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = command("train", "trainer=gpu")
    _is_one_line(result, ["trainer=gpu needs a GPU", "trainer=cpu"])
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_cannot_be_written_is_reported(command, tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    result = command("train", "steps=10")
    _is_one_line(result, ["outputs", "hydra.run.dir"])
    assert (tmp_path / "outputs").read_text().startswith("a file")


def test_a_refused_run_removes_nothing_of_the_users(command, tmp_path):
    for name in ("notes.txt", ".hydra/mine.yaml", "checkpoints_old/a.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    result = command("train", "hydra.run.dir=.", "optimizer=adam", "optimizer.lr=-1")
    _is_one_line(result, ["optimizer.lr"])
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [".hydra/mine.yaml", "checkpoints_old/a.ckpt", "notes.txt"]


def test_a_folder_that_holds_a_run_is_not_written_over(command, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "metrics.json").write_text("{}")
    result = command("train", "hydra.run.dir=here")
    _is_one_line(result, ["here holds a run already (metrics.json)", "hydra.run.dir=..."])
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["metrics.json"]


def test_a_traceback_is_there_for_those_who_ask(tmp_path):
    arguments = ["-m", "kan_exp.train", "dims=[3,1]"]
    result = finish(start(*arguments, cwd=tmp_path, server=COMMANDS, HYDRA_FULL_ERROR="1"))
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "set dims=[2,1]" in result.stderr


def test_help_is_ours_and_does_not_wait_for_torch(light, tmp_path):
    result = light("train", "--help")
    assert result.returncode == 0
    assert result.stdout.endswith("imported:\n")
    for text in (
        "layer: chebyshev, fourier",
        "optimizer: adam",
        "dims=[auto,5,auto]",
        "Examples",
        "-m",
    ):
        assert text in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("evaluate", ["run=null"]), ("predict", ["run=null", "input=a.csv", "output=b.csv"])],
)
def test_a_run_that_is_null_is_needed(light, name, arguments):
    _is_one_line(light(name, *arguments), ["run is needed: set it with run=..."])


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_the_other_commands_have_help(command, name):
    result = command(name, "--help")
    assert result.returncode == 0
    assert f"python -m kan_exp.{name} run=FOLDER" in result.stdout


def _is_one_line(result: "subprocess.CompletedProcess[str]", fragments: list[str]) -> None:
    assert result.returncode == 1, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    for fragment in fragments:
        assert fragment in lines[0]
