"""Compiled sums of splines and torch's round in another order: a run says which it has."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
import torch

from kan_exp.layers.kernels import compiler, kernel_name, native_sum
from kan_exp.layers.kernels.compiler import load_library
from kan_exp.runs import read_status, write_status
from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command

SMALL = ["optimizer=adam", "dims=[2,1]", "steps=20", "evaluations=2", "log_every_n_steps=5"]
SMALL += ["data.num_train=50", "data.num_val=20", "data.num_test=20", "logger=none"]
SMALL += ["~callbacks.figures"]


@pytest.fixture
def by_torch(monkeypatch):
    monkeypatch.setenv("KAN_EXP_NATIVE", "0")
    native_sum._library.cache_clear()
    yield
    native_sum._library.cache_clear()


def test_a_compiler_that_hangs_once_is_told_as_a_warning(tmp_path, monkeypatch, caplog):
    """The next run may find it fast enough, and get other digits."""
    monkeypatch.setattr(compiler, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(compiler, "_logged", set())
    slow = tmp_path / "cc"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o700)
    monkeypatch.setenv("CC", str(slow))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        assert load_library("spline_sum.c", {"REAL": "float"}) is None
    assert "the C compiler took more than 0.2 s" in caplog.text


def test_other_devices_and_dtypes_take_torch(by_torch):
    assert kernel_name(torch.zeros(1)) == "torch"
    assert kernel_name(torch.zeros(1, dtype=torch.float16)) == "torch"
    assert kernel_name(torch.zeros(1, device="meta")) == "torch"


@pytest.mark.parametrize(
    ("options", "sums"),
    [
        (["layer=interpo"], True),
        (["layer=spline", "replicas=2"], True),
        (["layer=mlp", "layer.table_points=8", "optimizer=adam"], True),
        (["layer=mlp"], False),
        (["layers=[mlp,spline]", "dims=[2,2,1]"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_sums_splines_is_recorded_where_there_are_any(tmp_path, by_torch, options, sums):
    versions = prepare([*SMALL, *options], tmp_path).versions
    assert versions.get("kernel") == ("torch" if sums else None)


def test_a_run_that_goes_on_with_another_kernel_says_so(tmp_path, monkeypatch):
    native_sum._library.cache_clear()
    if kernel_name(torch.zeros(1)) != "native":
        pytest.skip("no C compiler here")
    with monkeypatch.context() as patch:
        patch.setenv("KAN_EXP_NATIVE", "0")
        options = [*SMALL, "layer=interpo", "checkpoint_seconds=0", "hydra.run.dir=run"]
        first = run_command("train", *options, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    run = tmp_path / "run"
    assert read_metrics(run)["versions"]["kernel"] == "torch"
    status = read_status(run)
    assert status.versions["kernel"] == "torch"
    write_status(run, replace(status, state="interrupted"))  # as after kill -9
    (run / "metrics.json").unlink()
    second = run_command("train", "resume=run", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    notes = [line for line in second.stdout.splitlines() if line.startswith("Note: ")]
    assert notes == ["Note: kernel native now, torch then"]
    assert json.loads((run / "status.json").read_text())["versions"]["kernel"] == "native"
