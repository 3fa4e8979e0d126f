"""A run on a source of data that a user wrote: trained, and scored on data that are named."""

from __future__ import annotations

import pytest

from tests.conftest import read_metrics, run_folders

SOURCE = """
import torch
from kan_exp.data import ExperimentData, Schema, Split, measure_scaling


class Products(ExperimentData):
    schema = Schema.of_numbers(["x", "y"], ["product"])
    summary = "products of two numbers"

    def __init__(self, seed):
        super().__init__(seed)
        generator = torch.Generator().manual_seed(seed)
        points = [torch.rand(60, 2, generator=generator) for _ in range(3)]
        self.train, self.val, self.test = (Split(x, x.prod(1, keepdim=True)) for x in points)
        self.scaling = measure_scaling(self.train)
"""


def test_it_trains_and_is_scored_on_the_data_that_are_named(command, tmp_path):
    (tmp_path / "own_source.py").write_text(SOURCE)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "own.yaml").write_text("_target_: own_source.Products\nseed: 0\n")
    own = ["--config-dir", "conf", "data=own"]
    options = ["layer=linear", "optimizer=adam", "steps=50", "logger=none", "~callbacks.figures"]
    result = command("train", *own, *options, "dims=[2,3,1]")
    assert result.returncode == 0, result.stderr
    assert "products of two numbers" in result.stdout
    (folder,) = run_folders(tmp_path)

    refused = command("evaluate", f"run={folder}")
    (line,) = refused.stderr.strip().splitlines()
    assert refused.returncode == 1
    assert "own_source.Products" in line
    assert line.endswith("Or score it on data=...")

    scored = command("evaluate", *own, f"run={folder}")
    assert scored.returncode == 0, scored.stderr
    row = next(text for text in scored.stdout.splitlines() if "RMSE" in text)
    assert float(row.split()[1]) == pytest.approx(read_metrics(folder)["test_rmse"], rel=5e-3)
