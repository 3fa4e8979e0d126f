"""The same sweep by launchers of others, one of whose processes is killed."""

import json
import os
import signal
from importlib.util import find_spec

import pytest
from omegaconf import OmegaConf

from kan_exp.errors import KanExpError
from kan_exp.sweeps import launching
from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command, start_command, until_it_trains

SHORT = ["layer=interpo", "optimizer=adam", "dims=[2,1,1]", "evaluations=2", "logger=none"]
SHORT += ["data.num_train=100", "data.num_test=100", "checkpoint_seconds=0", "~callbacks.figures"]
# One that does not end by itself, one that still runs as that is killed, and one that is refused.
SWEPT = "steps=100000000,2000,0"
ONE_WORKER = {"joblib": "hydra.launcher.n_jobs=1", "ray": "hydra.launcher.ray.init.num_cpus=1"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The test RMSE of the run of 2000 steps by itself."""
    folder = tmp_path_factory.mktemp("alone")
    prepare([*SHORT, "steps=2000"], folder).run()
    return read_metrics(folder)["test_rmse"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_killed_worker_is_reported_and_the_rest_is_run_or_resumed(launcher, alone, tmp_path):
    if find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher") is None:
        pytest.skip("the launcher is not installed")
    arguments = [*SHORT, SWEPT, f"hydra/launcher={launcher}"]
    with start_command("train", "-m", *arguments, cwd=tmp_path) as process:
        try:
            os.kill(until_it_trains(tmp_path, 0, process), signal.SIGKILL)
            output, errors = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 1
    (summary,) = tmp_path.glob("outputs/sweeps/*/*/sweep.json")
    rows = json.loads(summary.read_text())["jobs"]
    assert rows[0]["state"] == "failed"
    assert rows[0]["reason"].startswith("its process ended without a word")
    assert " of 3 jobs failed:" in errors
    assert "Traceback" not in errors
    if launcher == "submitit_local":  # whose jobs do not depend on each other
        assert [row["state"] for row in rows] == ["failed", "done", "failed"]
        assert sum(line.partition("/3  ")[1] != "" for line in output.splitlines()) == 3
    else:
        resume = ["-m", f"sweep.resume={summary.parent}", "steps=2000,0", ONE_WORKER[launcher]]
        resumed = run_command("train", *resume, cwd=tmp_path)
        assert "1 of 2 jobs failed:" in resumed.stderr
        rows = [None, *json.loads(summary.read_text())["jobs"]]
    assert rows[1]["test_rmse"] == alone
    assert "steps must be at least 1" in rows[2]["reason"]


def test_a_missing_launcher_is_an_error_with_what_to_install(monkeypatch):
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: None)
    target = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
    hydra = {"launcher": {"_target_": target}, "runtime": {"choices": {"hydra/launcher": "ray"}}}
    needed = "^hydra/launcher=ray needs: pip install hydra-ray-launcher ray$"
    with pytest.raises(KanExpError, match=needed):
        launching.check_installed(OmegaConf.create({"hydra": hydra}))
