"""A forked command cannot be told from one in an interpreter of its own."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import COMMANDS, finish, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")

HOW_IT_STARTS = """
import os, signal, sys, threading, zlib
print(os.getcwd(), sys.argv, sys.path[0], __name__, __file__ if "__file__" in dir() else None)
print(sorted(os.listdir("/proc/self/fd")), threading.active_count())
# Their checksums, since not every value may be shown.
given = [(name, value) for name, value in os.environ.items() if "TORCH" not in name]  # sets its own
print([(name, zlib.crc32(value.encode())) for name, value in sorted(given)])
# Not SIGINT: a shell that starts tests in the background has them ignore it, forks never do.
print([signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGCHLD)])
print(repr(sys.stdin.read()), sys.stdout.isatty(), sys.stdout.line_buffering, sys.stdout.encoding)
print(sys.modules["__main__"].__dict__ is globals(), os.getpgrp(), os.nice(0))
"""
HOW_IT_ENDS = [
    "",
    "import sys; sys.exit(3)",
    "import sys; sys.exit('reason')",
    "import sys; print('end'); sys.exit(None)",
    "import sys; sys.exit(259)",
    "import sys; sys.exit(-1)",
    "print('before'); 1 / 0",
    "raise KeyboardInterrupt",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "import os; print('lost'); os._exit(4)",
    "import atexit; atexit.register(print, 'at exit'); print('end')",
    "import atexit; atexit.register(print, 'at exit'); print('end'); 1 / 0",
    "import logging.handlers as h; a = h.MemoryHandler(9, target=h.logging.StreamHandler())\n"
    "a.emit(h.logging.makeLogRecord({'msg': 'late'}))",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print(1))).start()",
    "import sys; sys.stdout.write('a\\r\\nb\\rc'); sys.stderr.write('d')",
    "import subprocess, sys; subprocess.run(['sh', '-c', 'echo out; echo err >&2'])",
]


def outcome(cwd, code, server):
    with start("-c", code, "a", "b=1", cwd=cwd, server=server) as process:
        stdout, stderr = process.communicate()
    return process.returncode, stdout, stderr.splitlines()[-1:]


@pytest.mark.parametrize("code", [HOW_IT_STARTS, *HOW_IT_ENDS])
def test_it_starts_and_ends_as_in_an_interpreter_of_its_own(tmp_path, code):
    assert outcome(tmp_path, code, COMMANDS) == outcome(tmp_path, code, None)


def test_nothing_is_left_of_one_for_the_next(tmp_path):
    change = "import os, sys; os.environ['A'] = sys.a = 'b'; os.chdir('/'); os.umask(0)"
    assert outcome(tmp_path, change, COMMANDS)[0] == 0
    look = "import os, sys; print('A' in os.environ, hasattr(sys, 'a'), os.getcwd(), os.umask(0))"
    assert outcome(tmp_path, look, COMMANDS) == outcome(tmp_path, look, None)


def test_what_it_imports_before_is_no_command(tmp_path):
    code = "import sys; print({'kan_exp.train', 'kan_exp.report'} & set(sys.modules))"
    assert outcome(tmp_path, code, COMMANDS) == (0, "set()\n", [])
    code = "import sys; print('torch' in sys.modules)"
    assert outcome(tmp_path, code, COMMANDS) == (0, "True\n", [])


def test_signals_reach_it_while_it_runs(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with start("-c", code, cwd=tmp_path, server=COMMANDS) as process:
        assert process.poll() is None
        assert int(process.stdout.readline()) == process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == process.poll() == -signal.SIGTERM
    process.kill()  # it is gone, and nobody else is hit


def test_it_has_the_environment_of_the_test(tmp_path, monkeypatch):
    importlib.import_module("lightning.pytorch")  # sets some
    monkeypatch.setenv("KAN_EXP_OF_THIS_TEST", "1")
    monkeypatch.delenv("HOME", raising=False)
    code = "import os, sys; print(os.environ['KAN_EXP_OF_THIS_TEST'], 'torch' in sys.modules)\n"
    code += "import subprocess; print('HOME' in os.environ, subprocess.getoutput('echo $HOME'))"
    assert outcome(tmp_path, code, COMMANDS) == (0, "1 True\nFalse \n", [])


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "PYTHONUTF8", "LC_ALL"])
def test_what_counts_at_the_start_gets_an_interpreter_of_its_own(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "1" if os.environ.get(name) != "1" else "0")
    code = f"import os, sys; print({name!r} in os.environ, 'torch' in sys.modules)"
    assert outcome(tmp_path, code, COMMANDS) == (0, "True False\n", [])


def composition(overrides):
    from omegaconf import OmegaConf

    from kan_exp.preparing.translation import composed

    with composed(overrides, "run") as (cfg, hydra):
        return OmegaConf.to_yaml(cfg) + OmegaConf.to_yaml(hydra)


@pytest.mark.parametrize("groups", [["layer=spline", "optimizer=lm"], ["data=table", "~scheduler"]])
def test_a_composition_from_memory_is_that_of_hydra(tmp_path, monkeypatch, groups):
    monkeypatch.chdir(tmp_path)
    overrides = [*groups, "seed=3", "+layer.more=[1,{a: b}]", "dims=[2,5,1]"]
    composition([*groups, "seed=4"])
    remembered = composition(overrides)
    code = f"{inspect.getsource(composition)}\nprint(composition({overrides}))"
    done = finish(start("-c", code, cwd=tmp_path, server=None))
    assert done.stdout == remembered + "\n"
