"""The C code is compiled once, anew when it must be, and never needed."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import stat
import subprocess
import sys

import pytest
import torch

from kan_exp.layers import KANSplineLayer
from kan_exp.layers.kernels import compiler, native_sum
from kan_exp.layers.kernels.compiler import load_library

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
FLOAT = {"REAL": "float"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing told or loaded before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiler, "_told", set())
    native_sum._library.cache_clear()
    yield tmp_path / "cache" / "kan_exp"
    native_sum._library.cache_clear()


def fake_compiler(folder, monkeypatch, script):
    """Puts a compiler of one's own before all others."""
    path = folder / "fakecc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(path))


@needs_compiler
def test_it_is_compiled_once_and_found_again(cache, tmp_path, monkeypatch):
    count = tmp_path / "count"
    fake_compiler(tmp_path, monkeypatch, f'echo >> "{count}"; exec {COMPILER} "$@"')
    for _ in range(3):
        assert isinstance(load_library("spline_sum.c", FLOAT), ctypes.CDLL)
    assert len(count.read_text().splitlines()) == 1
    assert len(list(cache.iterdir())) == 1
    assert cache.stat().st_mode & 0o077 == 0  # nobody else may put code there


@needs_compiler
def test_another_processor_gets_code_of_its_own(cache, monkeypatch):
    load_library("spline_sum.c", FLOAT)
    monkeypatch.setattr(compiler, "_processor", lambda: "another")
    load_library("spline_sum.c", FLOAT)
    assert len(list(cache.iterdir())) == 2


@needs_compiler
def test_a_compiler_that_does_not_know_the_processor_still_serves(cache, tmp_path, monkeypatch):
    refuse = 'for a in "$@"; do [ "$a" = "-march=native" ] && exit 1; done'
    fake_compiler(tmp_path, monkeypatch, f'{refuse}; exec {COMPILER} "$@"')
    assert load_library("spline_sum.c", FLOAT) is not None


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="folders without write permission")
def test_without_a_folder_to_write_to_it_is_compiled_for_this_process(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")  # no folder can be made below a file, not even by root
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert load_library("spline_sum.c", FLOAT) is not None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo spline_sum.c: no >&2; exit 1", "spline_sum.c: no"),
        ("exit 3", "3"),
        ('while [ "$1" != "-o" ]; do shift; done; echo junk > "$2"', "loaded"),
    ],
)
def test_a_compiler_that_fails_is_told_once(script, reason, tmp_path, monkeypatch, caplog):
    fake_compiler(tmp_path, monkeypatch, script)
    with caplog.at_level(logging.INFO):
        assert load_library("spline_sum.c", FLOAT) is None
        assert load_library("spline_sum.c", FLOAT) is None
    (line,) = caplog.messages
    assert reason in line
    assert "\n" not in line


def test_without_a_compiler_layers_work_and_one_line_says_so(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    layer = KANSplineLayer(3, 4, generator=torch.Generator().manual_seed(0))
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with caplog.at_level(logging.INFO):
        layer(x).sum().backward()
        torch.testing.assert_close(layer(x), layer.edges(x).sum(1), rtol=1e-4, atol=1e-5)
    assert len(caplog.messages) == 1
    assert "no C compiler was found" in caplog.text
    assert x.grad.isfinite().all()


def test_it_can_be_switched_off_without_a_word(monkeypatch, caplog):
    monkeypatch.setenv("KAN_EXP_NATIVE", "0")
    with caplog.at_level(logging.INFO):
        assert load_library("spline_sum.c", FLOAT) is None
    assert not caplog.messages


@needs_compiler
def test_processes_that_compile_at_the_same_time_do_not_disturb_each_other(cache):
    code = (
        "from kan_exp.layers.kernels.compiler import load_library\n"
        "assert load_library('spline_sum.c', {'REAL': 'double'}) is not None"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert len(list(cache.iterdir())) == 1


@needs_compiler
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    """Those of the parent do not exist there, and waiting for them would never end."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    code = """
import os, torch
from kan_exp.layers import KANInterpoLayer
from kan_exp.layers.kernels import native_sum
native_sum.LEAST_WORK = 1
torch.set_num_threads(2)
layer, x = KANInterpoLayer(3, 4), torch.ones(100, 3)
layer(x)
child = os.fork()
if child == 0:
    layer(x)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "7", done.stderr
