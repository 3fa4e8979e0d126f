"""A run's own configuration, not today's, is what it goes on with and is repeated with."""

from __future__ import annotations

import inspect
import json
import os
import socket
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kan_exp.cli import store_schema
from kan_exp.commandline.starting import RESUMED
from kan_exp.config import TrainConfig, config_folder
from kan_exp.errors import KanExpError
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.preparing.keys import run_key
from kan_exp.preparing.stored_config import REPEATED, from_folder, read_stored, unfinished

OVERRIDES = ["layer=interpo", "optimizer=adam", "layer.num_x=9", "seed=4", "steps=70"]


def composed(name: str, *overrides: str):
    store_schema("train_schema", TrainConfig)
    with initialize_config_dir(config_folder(), version_base=None):
        cfg = compose(name, overrides=list(overrides), return_hydra_config=True)
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), cfg.hydra


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """What Hydra leaves of a run's configuration, with a number that is no default of today's."""
    folder = tmp_path_factory.mktemp("run")
    cfg, hydra = composed("train", *OVERRIDES)
    cfg.gradient.batch_size = 77
    (folder / ".hydra").mkdir()
    parts = {"config": cfg, "overrides": OVERRIDES, "hydra": {"hydra": hydra}}
    for name, content in parts.items():
        OmegaConf.save(OmegaConf.create(content), folder / ".hydra" / f"{name}.yaml")
    return folder


@pytest.fixture
def run(stored, tmp_path):
    """The same in a folder that a test may change."""
    (tmp_path / ".hydra").mkdir()
    for path in (stored / ".hydra").iterdir():
        (tmp_path / ".hydra" / path.name).write_text(path.read_text())
    return tmp_path


def refusal(*arguments: str) -> str:
    with pytest.raises(KanExpError) as caught:
        from_folder(list(arguments))
    message = str(caught.value)
    assert message.isprintable()
    return message


def change(run: Path, **options) -> None:
    path = run / ".hydra" / "config.yaml"
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(path), options), path)


def write(run: Path, name: str, **content) -> None:
    (run / name).write_text(json.dumps(content))


def status(run: Path, **changes) -> None:
    about = {"state": "running", "reason": None, "overrides": [], "key": "k", "job": None}
    about |= {"pid": 1, "host": "elsewhere", "started": "2026-01-01T00:00:00+00:00"}
    write(run, "status.json", **(about | changes))


def test_other_command_lines_are_left_alone():
    arguments = ["layer=mlp", "-m", "seed=1,2", "target.formula=a=b"]
    assert from_folder(arguments) == ("train", arguments)


@pytest.mark.parametrize("typed", [["--from", "{}"], ["--from={}"]])
def test_a_repeated_run_has_the_numbers_of_then(stored, typed):
    name, rest = from_folder([text.format(stored) for text in typed])
    assert (name, rest) == (REPEATED, [])
    cfg, hydra = composed(name)
    then = OmegaConf.load(stored / ".hydra" / "config.yaml")
    assert OmegaConf.to_container(cfg) == OmegaConf.to_container(then)
    assert cfg.batch_size == 77  # a reference to what is not today's default
    assert hydra.overrides.task == OVERRIDES
    assert hydra.runtime.choices.layer == "interpo"
    assert hydra.job.name == "train"
    assert hydra.output_subdir == ".hydra"
    assert "fresh_folder" in hydra.callbacks


def test_a_job_of_a_sweep_goes_on_without_the_sweep(run):
    change(run, sweep={"resume": "somewhere", "metric": "val_rmse"})
    name, _ = from_folder([f"resume={run}"])
    assert composed(name)[0].sweep.resume is None


def test_a_group_without_a_choice_has_none(stored):
    assert "None" not in read_stored(stored).choices.values()
    assert "experiment" not in read_stored(stored).choices


def test_options_of_a_repeated_run_can_be_changed(stored):
    name, rest = from_folder(["seed=9", "--from", str(stored), "layer.num_x=5", "steps=30"])
    cfg, hydra = composed(name, *rest)
    assert (cfg.seed, cfg.layer.num_x, cfg.gradient.batch_size) == (9, 5, 77)
    assert cfg.scheduler.T_max == 30
    kept = ["layer=interpo", "optimizer=adam"]  # a folder is not named by what was replaced
    assert hydra.overrides.task == [*kept, "seed=9", "layer.num_x=5", "steps=30"]


def test_a_run_that_goes_on_writes_where_it_wrote(run):
    name, rest = from_folder([f"resume={run}"])
    assert (name, rest) == (RESUMED, [])
    _, hydra = composed(name)
    assert hydra.run.dir == str(run)
    assert hydra.output_subdir is None  # the configuration there stays as it is


def test_an_option_that_is_new_since_then_has_its_default_and_is_reported(run, capsys):
    path = run / ".hydra" / "config.yaml"
    then = OmegaConf.load(path)
    del then["evaluations"]
    OmegaConf.save(then, path)
    name, _ = from_folder(["--from", str(run)])
    assert composed(name)[0].evaluations == 10
    assert capsys.readouterr().err == "Note: new since then: evaluations=10\n"


def test_other_versions_are_reported(run, capsys):
    status(run, versions={"torch": "1.0"})
    from_folder(["--from", str(run)])
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("Note: torch ") and "1.0 then" in line for line in lines)


@pytest.mark.parametrize("prefix", ["resume=", "--from="])
@pytest.mark.parametrize("section", ["hydra", "defaults", "surprise"])
def test_a_stored_configuration_cannot_tell_hydra_what_to_do(run, prefix, section):
    change(run, **{section: {"callbacks": {"a": {"_target_": "os.system", "command": "x"}}}})
    assert f"there is no option '{section}'" in refusal(f"{prefix}{run}")


@pytest.mark.parametrize("prefix", ["resume=", "--from="])
def test_a_stored_configuration_calls_only_what_is_ours_or_named(run, prefix):
    change(run, layer={"_target_": "my_lab.MyLayer"})
    message = refusal(f"{prefix}{run}")
    assert message.startswith(f"{run}: layer: it would call 'my_lab.MyLayer'")
    assert "modules=[my_lab]" in message
    name, rest = from_folder([f"{prefix}{run}", "modules=[other,my_lab]"])
    assert rest == []
    assert composed(name)[0].layer._target_ == "my_lab.MyLayer"


def test_what_makes_no_sense_is_reported(run, tmp_path_factory):
    assert "there is no such folder" in refusal("resume=nowhere")
    empty = tmp_path_factory.mktemp("empty")
    assert "holds no run" in refusal("--from", str(empty))
    assert "--from needs the folder of a run" in refusal("--from")
    assert "'seed=3' cannot be set" in refusal(f"resume={run}", "seed=3")
    assert "keeps the run's own layer" in refusal("--from", str(run), "layer=spline")
    (run / ".hydra" / "config.yaml").write_text("a: [")
    assert "cannot be read" in refusal("--from", str(run))


def test_a_run_that_is_done_or_at_work_does_not_go_on(run):
    status(run, pid=os.getppid(), host=socket.gethostname(), started="2999-01-01T00:00:00+00:00")
    assert f"process {os.getppid()} is still running" in refusal(f"resume={run}")
    status(run)
    write(run, "metrics.json", stopped="converged (loss)")
    assert "the run is done (converged (loss))" in refusal(f"resume={run}")
    write(run, "metrics.json", stopped="interrupted")
    from_folder([f"resume={run}"])


def test_a_job_goes_on_where_the_same_one_had_begun(run):
    name, _ = from_folder(["--from", str(run)])
    key = run_key(composed(name)[0])
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert unfinished(run, key) is None
    status(run, key=key)
    assert unfinished(run, key) is None  # it had not got as far
    checkpoint.parent.mkdir()
    checkpoint.touch()
    assert unfinished(run, key) == checkpoint
    assert unfinished(run, "another") is None
    write(run, "metrics.json", stopped="steps")
    assert unfinished(run, key) is None


def test_a_sweep_of_a_repeated_run_varies_only_what_is_asked_now(stored):
    name, rest = from_folder(["--from", str(stored), "-m", "seed=1,2"])
    assert (name, rest) == (REPEATED, ["-m", "seed=1,2"])
    cfg, hydra = composed(name)
    assert cfg.batch_size == 77
    assert hydra.overrides.task == []


def without(run: Path, *names: str) -> None:
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    for name in names:
        *groups, option = name.split(".")
        node = config
        for group in groups:
            node = node[group]
        del node[option]
    OmegaConf.save(OmegaConf.create(config), path)


@pytest.mark.parametrize("prefix", ["resume=", "--from="])
def test_options_that_are_newer_than_a_run_are_those_of_the_configs(run, capsys, prefix):
    then = OmegaConf.load(run / ".hydra" / "config.yaml")
    new = ["layer.outside", "optimizer.fused", "refine.init_noise_std", "callbacks.figures.moments"]
    new += ["trainer.num_sanity_val_steps", "logger.flush_secs", "data.num_test", "target.noise"]
    without(run, *new)
    name, _ = from_folder([f"{prefix}{run}"])
    cfg, _ = composed(name)
    for option in new:
        assert OmegaConf.select(cfg, option) == OmegaConf.select(then, option)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Note: new since then: ")
    assert all(f"{option}=" in line for option in new)


def test_a_run_of_least_squares_from_before_qr_does_not_take_the_constructors_value(tmp_path):
    cfg, hydra = composed("train", "layer=spline", "optimizer=lm")
    (tmp_path / ".hydra").mkdir()
    parts = {"config": cfg, "overrides": ["optimizer=lm"], "hydra": {"hydra": hydra}}
    for name, content in parts.items():
        OmegaConf.save(OmegaConf.create(content), tmp_path / ".hydra" / f"{name}.yaml")
    without(tmp_path, "optimizer.qr")
    name, _ = from_folder(["--from", str(tmp_path)])
    assert composed(name)[0].optimizer.qr is False
    assert inspect.signature(LevenbergMarquardt).parameters["qr"].default is True


def test_options_of_a_kind_that_is_not_ours_are_left_alone(run, capsys):
    change(run, layer={"_target_": "my_lab.MyLayer"})
    without(run, "layer.outside")
    name, _ = from_folder([f"--from={run}", "modules=[my_lab]"])
    assert "outside" not in composed(name)[0].layer
    assert capsys.readouterr().err == ""
