"""An experiment that is prepared from Python is the one that the command runs."""

from __future__ import annotations

import pytest

from kan_exp.errors import KanExpError
from kan_exp.preparing.translation import composed
from kan_exp.train import prepare
from tests.conftest import read_metrics


def test_it_ends_with_what_the_command_ends_with(command, tmp_path):
    options = ["layer=interpo", "dims=[2,1,1]", "points=100", "seed=3", "logger=none"]
    options += ["refine.num_candidates=[2]", "refine.steps=[2]"]
    assert command("train", *options, f"hydra.run.dir={tmp_path / 'a'}").returncode == 0
    prepare(options, tmp_path / "b").run()
    theirs, ours = (read_metrics(tmp_path / name) for name in "ab")
    assert ours["test_rmse"] == theirs["test_rmse"]
    assert ours["steps"] == theirs["steps"]


@pytest.mark.parametrize(
    ("option", "mended"),
    [("dims=[3,1]", "dims="), ("+layer.typo=1", "typo"), ("seed=-1", "seed must be")],
)
def test_what_is_wrong_is_reported_as_the_command_tells_it(tmp_path, option, mended):
    with pytest.raises(KanExpError, match=mended):
        prepare([option], tmp_path)


@pytest.mark.parametrize("folder", ["a, b (1)=c", "it's ${seed}"])
def test_the_folder_may_have_any_name(folder):
    with composed([], folder) as (_, hydra):
        assert hydra.runtime.output_dir == folder
