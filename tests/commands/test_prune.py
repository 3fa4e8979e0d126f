"""The command that prunes a run, from the folder of the run to that of the smaller network."""

from __future__ import annotations

import kan_exp
from tests.conftest import read_metrics, run_command

TRAIN = ["layer=spline", "layer.num_intervals=8", "refine.grids=[4,8]", "refine.steps=[10]"]
TRAIN += ["refine.num_candidates=[4,2]", "points=150", "data.num_val=100", "data.num_test=100"]
TRAIN += ["dims=[2,3,1]", "logger=none"]


def test_a_run_is_pruned_into_a_folder_of_its_own(tmp_path):
    result = run_command("train", *TRAIN, "hydra.run.dir=run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = run_command("prune", "run=run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.glob("outputs/*/*_pruned")
    before, after = read_metrics(tmp_path / "run"), read_metrics(folder)
    edges = after["pruning"]["edges"]
    assert 3 <= edges[1] < edges[0] == 9
    assert f"Pruned: {edges[1]} of 9 edges are left" in result.stdout
    assert after["val_rmse"] <= 1.02 * before["val_rmse"]
    assert after["stopped"] == before["stopped"]
    assert (folder / "edges.csv").is_file()
    assert (folder / "figures" / "loss.png").is_file()
    assert sum(int(layer.mask.sum()) for layer in kan_exp.load(folder).network) == edges[1]
    assert kan_exp.load(tmp_path / "run").network[0].mask is None
    again = run_command("prune", f"run={folder}", "pruning.seconds=1", cwd=tmp_path)
    assert again.returncode == 0, again.stderr  # the network of a pruned run is pruned further
    assert f" of {edges[1]} edges are left" in again.stdout
