"""The C code is compiled once, anew when it must be, and never needed."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import stat
import weakref

import pytest
import torch

from kan_exp.layers import KANSplineLayer
from kan_exp.layers.kernels import compiler, native_sum
from kan_exp.layers.kernels.compiler import load_library
from tests.conftest import COMMANDS, finish, start

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
FLOAT = {"REAL": "float"}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A compiler that hands out what the real one has made of `spline_sum.c` for float."""
    if COMPILER is None:
        return None
    folder = tmp_path_factory.mktemp("compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("CC", COMPILER)
        patch.setattr(compiler, "MAX_SECONDS", 3600.0)  # however busy the machine is
        assert load_library("spline_sum.c", FLOAT) is not None
    (made,) = (folder / "cache" / "kan_exp").iterdir()
    return write_script(
        folder / "cc", f'while [ "$1" != "-o" ]; do shift; done; exec cp "{made}" "$2"'
    )


@pytest.fixture(autouse=True)
def cache(stand_in, tmp_path, monkeypatch):
    """An empty cache, nothing told or loaded before, and a compiler that takes no time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", stand_in or "")
    monkeypatch.setattr(compiler, "MAX_SECONDS", 3600.0)
    monkeypatch.setattr(compiler, "_logged", set())
    native_sum._library.cache_clear()
    yield tmp_path / "cache" / "kan_exp"
    native_sum._library.cache_clear()


def write_script(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def fake_compiler(folder, monkeypatch, script):
    """Puts a compiler of one's own before all others."""
    monkeypatch.setenv("CC", write_script(folder / "fakecc", script))


def run_code(code, cwd):
    done = finish(start("-c", code, cwd=cwd, server=COMMANDS))
    return done.returncode, done.stdout, done.stderr


@needs_compiler
def test_it_is_compiled_once_and_found_again(cache, stand_in, tmp_path, monkeypatch):
    count = tmp_path / "count"
    fake_compiler(tmp_path, monkeypatch, f'echo >> "{count}"; exec {stand_in} "$@"')
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
def test_a_compiler_that_does_not_know_the_processor_still_serves(stand_in, tmp_path, monkeypatch):
    refuse = 'for a in "$@"; do [ "$a" = "-march=native" ] && exit 1; done'
    fake_compiler(tmp_path, monkeypatch, f'{refuse}; exec {stand_in} "$@"')
    assert load_library("spline_sum.c", FLOAT) is not None


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="folders without write permission")
def test_without_a_folder_to_write_to_it_is_compiled_for_this_process(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")  # no folder can be made below a file, not even by root
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert load_library("spline_sum.c", FLOAT) is not None


@needs_compiler
def test_a_file_that_was_cut_short_is_compiled_anew(cache, tmp_path):
    """Loading it would end the process, without a word."""
    code = (
        "from kan_exp.layers.kernels.compiler import load_library\n"
        "assert load_library('spline_sum.c', {'REAL': 'float'}) is not None"
    )
    assert load_library("spline_sum.c", FLOAT) is not None
    (library,) = cache.iterdir()
    whole = library.read_bytes()
    library.unlink()  # it stays in this process's memory
    library.write_bytes(whole[:4096])
    assert run_code(code, tmp_path) == (0, "", "")
    assert library.read_bytes() == whole


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="folders with owners")
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_code_is_not_taken_from_a_folder_that_others_can_write_to(mode, cache):
    cache.mkdir(parents=True)
    cache.chmod(mode)
    assert load_library("spline_sum.c", FLOAT) is not None
    assert not list(cache.iterdir())


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="folders with owners")
def test_code_is_not_taken_from_a_folder_of_somebody_else(cache, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert load_library("spline_sum.c", FLOAT) is not None
    assert not list(cache.iterdir())


@needs_compiler
@pytest.mark.parametrize("cache_home", ["", "relative"])
def test_the_cache_is_at_home_if_no_other_place_is_given(cache_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load_library("spline_sum.c", FLOAT) is not None
    assert len(list((tmp_path / "home/.cache/kan_exp").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@needs_compiler
def test_a_user_without_a_home_is_served(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiler.Path, "home", no_home)
    assert load_library("spline_sum.c", FLOAT) is not None


@needs_compiler
def test_a_compiler_may_have_arguments(stand_in, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    fake_compiler(tmp_path, monkeypatch, f'echo "$1" > "{seen}"; shift; exec {stand_in} "$@"')
    monkeypatch.setenv("CC", f"'{os.environ['CC']}' --first")
    assert load_library("spline_sum.c", FLOAT) is not None
    assert seen.read_text() == "--first\n"


@pytest.mark.parametrize(
    ("chosen", "reason"), [("no-such-cc -m64", "(no-such-cc -m64)"), ("'", "quot")]
)
def test_a_chosen_compiler_that_is_not_there_is_told(chosen, reason, monkeypatch, caplog):
    monkeypatch.setenv("CC", chosen)
    with caplog.at_level(logging.INFO):
        assert load_library("spline_sum.c", FLOAT) is None
    (line,) = caplog.messages
    assert reason in line


def test_a_compiler_that_hangs_is_given_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(compiler, "MAX_SECONDS", 0.2)
    fake_compiler(tmp_path, monkeypatch, "exec sleep 60")
    with caplog.at_level(logging.INFO):
        assert load_library("spline_sum.c", FLOAT) is None
    assert caplog.text.endswith("the C compiler took more than 0.2 s.\n")


def test_a_source_that_is_not_there_is_told(caplog):
    """As in a program that was packed without its C files."""
    with caplog.at_level(logging.INFO):
        assert load_library("missing.c", FLOAT) is None
    assert "missing.c" in caplog.text or "no C compiler" in caplog.text


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (r"printf '\377 bad' >&2; exit 1", "bad"),
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
    monkeypatch.delenv("CC")
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
def test_processes_that_compile_at_the_same_time_do_not_disturb_each_other(
    cache, stand_in, tmp_path, monkeypatch
):
    """None ends before all have begun to compile."""
    wait = f'echo >> "{tmp_path}/begun"; while [ "$(wc -l < "{tmp_path}/begun")" -lt 3 ]; do'
    fake_compiler(tmp_path, monkeypatch, f'{wait} sleep 0.05; done; exec {stand_in} "$@"')
    code = (
        "from kan_exp.layers.kernels import compiler\n"
        "compiler.MAX_SECONDS = 3600\n"
        "assert compiler.load_library('spline_sum.c', {'REAL': 'float'}) is not None"
    )
    running = [start("-c", code, cwd=tmp_path, server=COMMANDS) for _ in range(3)]
    for process in running:
        with process:
            assert process.communicate() == ("", "")
            assert process.returncode == 0
    assert len(list(cache.iterdir())) == 1


@needs_compiler
def test_a_forked_process_has_threads_of_its_own(tmp_path):
    """Those of the parent do not exist there, and waiting for them would never end."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    code = """
import os, torch, warnings
from kan_exp.layers import KANInterpoLayer
warnings.simplefilter("ignore")  # Python's about such forks
from kan_exp.layers.kernels import native_sum
native_sum.MIN_WORK = 1
torch.set_num_threads(2)
layer, x = KANInterpoLayer(3, 4), torch.ones(100, 3)
layer(x)
child = os.fork()
if child == 0:
    layer(x)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_code(code, tmp_path) == (0, "7\n", "")


@needs_compiler
def test_layers_work_while_the_program_ends(tmp_path):
    """In what `atexit` calls, and in a user's threads that outlive the main one."""
    code = """
import atexit, torch
from kan_exp.layers import KANInterpoLayer
from kan_exp.layers.kernels import native_sum
native_sum.MIN_WORK = 1
torch.set_num_threads(2)
layer, x = KANInterpoLayer(3, 4), torch.ones(100, 3)
layer(x)
atexit.register(lambda: print(*layer(x).shape))
"""
    assert run_code(code, tmp_path) == (0, "100 4\n", "")


@needs_compiler
def test_threads_write_to_memory_that_is_held(monkeypatch):
    """After Ctrl-C nothing else may hold the gradients that they have not finished."""
    left = []
    monkeypatch.setattr(native_sum, "_share", lambda call, count, work: left.append(call))
    x, table, grid = KANSplineLayer(3, 4)._read(torch.zeros(5, 3))
    sums = weakref.ref(native_sum.forward(x, table, grid)[0])
    wanted = weakref.ref(
        native_sum.backward(x, table, grid, torch.ones(5, 4), [], [False, True])[1]
    )
    assert sums() is not None
    assert wanted() is not None
    left.clear()
    assert sums() is None
    assert wanted() is None
